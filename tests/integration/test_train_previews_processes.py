"""Under torchrun the first process draws; where the base is in shards all pass through it together, and the first one writes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training_builders import write_masked_set

pytestmark = pytest.mark.slow
WORKER = """
import json
import os
import sys
from pathlib import Path

from blissmask.archs.drawing import Painter
from blissmask.events import NullReporter
from blissmask.tasks.plan import RunContext
from blissmask.tasks.train import train_lora
from tests.training_builders import train_config

drawn, genuine = [], Painter.draw
Painter.draw = lambda painter, denoisers, shot: drawn.append(shot.seed) or genuine(painter, denoisers, shot)
folder = Path(sys.argv[1])
options = {"sample_prompts": folder / "prompts.txt", "sample_every_n_steps": 2, "sample_at_first": True, **json.loads(sys.argv[2])}
config = train_config(folder / "cache", folder / sys.argv[3], arch="wan22", **options)
train_lora.run(train_lora.plan(config), RunContext(NullReporter()))
(folder / sys.argv[3] / f"drawn-{os.environ.get('RANK', 0)}.json").write_text(json.dumps(drawn))
"""


def train(folder, name, *, processes, **options):
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    command = [sys.executable, *launcher, str(folder / "worker.py"), str(folder), json.dumps(options), name]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    drawn = [json.loads((folder / name / f"drawn-{rank}.json").read_text()) for rank in range(processes)]
    return {path.name: path.read_bytes() for path in (folder / name / "sample").iterdir()}, drawn


def test_processes_draw_the_pictures_that_one_draws(tmp_path):
    write_masked_set(tmp_path / "cache")
    (tmp_path / "prompts.txt").write_text("a portrait --s 2 --fs 3 --d 1\na clip --f 5 --s 2 --fs 3 --d 2\n", encoding="utf-8")
    (tmp_path / "worker.py").write_text(WORKER, encoding="utf-8")
    one, _ = train(tmp_path, "one", processes=1, gradient_accumulation_steps=2)
    whole, drawn = train(tmp_path, "whole", processes=2)
    assert drawn == [[1, 2, 1, 2], []]
    sharded, drawn = train(tmp_path, "sharded", processes=2, fsdp=True)
    assert drawn == [[1, 2, 1, 2]] * 2
    assert one.keys() == whole.keys() == sharded.keys()
    assert len(one) == 4
    firsts = [name for name in one if "_000000_" in name]
    # Later ones differ by what the sums of gradients round differently.
    assert all(one[name] == whole[name] == sharded[name] for name in firsts)
