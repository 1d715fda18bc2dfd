"""Two processes under torchrun train as one process with all micro-batches does, to a millionth."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from blissmask.cachefile.read import read_tensors
from blissmask.training.checkpoint import find_states
from blissmask.training.loss import item_coefficients, mass_counts
from blissmask.training.metrics import read_log
from blissmask.training.processes import Processes
from tests.training_builders import stripes, weights_of, write_entry

pytestmark = pytest.mark.slow
WORKER = """
import sys
from tests.training_builders import train_config
from blissmask.tasks.train import train_lora
from blissmask.tasks.plan import RunContext
from blissmask.events import NullReporter
from pathlib import Path
import json
import os
options = json.loads(sys.argv[2])
folder = Path(sys.argv[1])
config = train_config(folder / "cache", folder / sys.argv[3], **options)
kept = []

def load(*arguments):
    result = genuine(*arguments)
    kept.extend(result[0])
    return result

genuine, train_lora.load_learners = train_lora.load_learners, load
train_lora.run(train_lora.plan(config), RunContext(NullReporter()))
frozen = [p for p in kept[0].denoiser.module.parameters() if not p.requires_grad]
own = sum(getattr(p, "to_local", lambda p=p: p)().numel() for p in frozen)
(folder / sys.argv[3] / f"kept-{os.environ.get('RANK', 0)}.json").write_text(json.dumps([own, sum(p.numel() for p in frozen)]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Eight items whose masks have very different masses, one of them empty."""
    folder = tmp_path_factory.mktemp("processes")
    shares = stripes(1, 4, 4)
    for number in range(8):
        weights = weights_of(shares) * (0.0 if number == 5 else 0.7**number)
        write_entry(folder / "cache", f"kyla{number}", weights=weights, regions=shares, seed=number)
    (folder / "worker.py").write_text(WORKER, encoding="utf-8")
    return folder


def train(folder, name, *, processes, **options):
    """Train in ``processes`` processes; return the LoRA's tensors and the log."""
    options = {"use_mask_loss": True, "prior_preservation_weight": 0.5, "optimizer_type": "SGD", "max_grad_norm": 0.0, **options}
    command = [str(folder / "worker.py"), str(folder), json.dumps({"learning_rate": 1.0, "weight_decay": 0.0, **options}), name]
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run([sys.executable, *launcher, *command], env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    return read_tensors(folder / name / "kyla.safetensors"), read_log(folder / name / "kyla-log.jsonl")


@pytest.mark.parametrize("mean", ["global", "sample", "batch"])
def test_two_processes_of_two_micro_batches_step_like_one_process_of_four(folder, mean):
    one, log_of_one = train(folder, f"one-{mean}", processes=1, mask_mean=mean, gradient_accumulation_steps=4)
    two, log_of_two = train(folder, f"two-{mean}", processes=2, mask_mean=mean, gradient_accumulation_steps=2)
    assert one.keys() == two.keys()
    moved = {key: value for key, value in one.items() if key.endswith("lora_B.weight")}
    # With SGD, B is minus the sum of its gradients.
    assert error_of(two, moved) < 1e-6
    assert len(log_of_one) == len(log_of_two) == 2
    for ours, theirs in zip(log_of_one, log_of_two, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        # Below the gate the base model is not asked, and with an empty mask there is nothing to learn: one process needs fewer passes.
        {"mask_mean": "global", "save_every_n_steps": 1, "prior_min_timestep": 700},
        {"mask_mean": "sample", "gradient_checkpointing": True, "int8_base": True, "validation_split": 0.4},
        {"mask_mean": "batch", "use_dora": True, "prior_preservation_weight": 0.0, "compile": True, "compile_backend": "aot_eager"},
    ],
    ids=lambda options: options["mask_mean"],
)
def test_two_processes_that_keep_half_of_the_base_each_step_like_one_that_keeps_all(folder, options):
    name = f"sharded-{options['mask_mean']}"
    one, log_of_one = train(folder, f"{name}-one", processes=1, max_train_steps=4, gradient_accumulation_steps=2, **options)
    two, log_of_two = train(folder, name, processes=2, max_train_steps=4, fsdp=True, **options)
    moved = {key: value for key, value in one.items() if key.endswith("lora_B.weight")}
    assert error_of(two, moved) < 1e-6
    for ours, theirs in zip(log_of_one, log_of_two, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)
    for rank in range(2):
        own, whole = json.loads((folder / name / f"kept-{rank}.json").read_text())
        assert own == pytest.approx(whole / 2, rel=0.02)
    assert find_states(folder / name, "kyla").newest


def error_of(tensors, expected):
    """Return how far ``tensors`` are from ``expected``, relative to the size of all of these together."""
    error = torch.cat([(tensors[key] - value).flatten() for key, value in expected.items()]).norm()
    return error / torch.cat([value.flatten() for value in expected.values()]).norm()


def test_processes_and_steps_never_share_a_micro_batch():
    numbers = [n for step in range(3) for rank in range(2) for n in Processes(rank, 2).micro_batches(step, 2)]
    assert numbers == list(range(12))


@pytest.mark.parametrize("mean", ["global", "sample", "batch"])
def test_coefficients_of_split_steps_are_those_of_the_whole(mean):
    masses = [
        torch.tensor([3.0, 0.0]).double(),
        torch.tensor([0.5]).double(),
        torch.tensor([0.0]).double(),
        torch.tensor([2.0, 8.0]).double(),
    ]
    counts = mass_counts(masses[:2]) + mass_counts(masses[2:])
    split = [*item_coefficients(masses[:2], mean=mean, counts=counts), *item_coefficients(masses[2:], mean=mean, counts=counts)]
    assert all(torch.allclose(a, b, rtol=1e-12) for a, b in zip(split, item_coefficients(masses, mean=mean), strict=True))
