"""Two processes under torchrun train as one process with all micro-batches does, to a millionth, and draw the previews that one draws.

The first process draws; where the base is in shards all pass through it together, and the first one writes.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from blissmask.cachefile.read_file import read_tensors
from blissmask.events import NullReporter
from blissmask.processes import Processes
from blissmask.tasks.run.plan import RunContext
from blissmask.tasks.train import train_lora
from blissmask.tasks.train.plan import plan as plan_training
from blissmask.training.record.metrics import read_log
from blissmask.training.record.states.find import find_states
from blissmask.training.record.states.load import load_state
from blissmask.training.weighting.loss import item_coefficients, mass_counts
from tests.builders.families import TWO_EXPERTS
from tests.builders.torchrun import launch
from tests.builders.training import FEWER_LAYERS, stripes, train_config, weights_of, write_entry

pytestmark = pytest.mark.slow
WORKER = """
import json
import os

from blissmask.families.previews.sampler import PreviewSampler
from blissmask.events import NullReporter
from blissmask.tasks.run.plan import RunContext
from blissmask.tasks.train import train_lora
from blissmask.tasks.train.plan import plan as plan_training
from tests.builders.torchrun import jobs_in_turn
from tests.builders.training import train_config

kept, drawn = [], []

def load(*arguments):
    result = load_learners(*arguments)
    kept[:] = result[0]
    return result

def sample(sampler, denoisers, prompt):
    drawn.append(prompt.settings.seed)
    return genuine_sample(sampler, denoisers, prompt)

load_learners, train_lora.load_learners = train_lora.load_learners, load
genuine_sample, PreviewSampler.sample = PreviewSampler.sample, sample
for folder, name, options in jobs_in_turn():
    drawn.clear()
    config = train_config(folder / "cache", folder / name, **options)
    train_lora.run(plan_training(config), RunContext(NullReporter()))
    frozen = [p for p in kept[0].denoiser.module.parameters() if not p.requires_grad]
    own = sum(getattr(p, "to_local", lambda p=p: p)().numel() for p in frozen)
    told = {"kept": own, "frozen": sum(p.numel() for p in frozen), "drawn": drawn}
    (folder / name / f"process-{os.environ['RANK']}.json").write_text(json.dumps(told))
"""
PROMPTS = "a portrait --s 2 --fs 3 --d 1\na clip --f 5 --s 2 --fs 3 --d 2\n"
# With SGD, B is minus the sum of its gradients.
COMMON = {
    "use_mask_loss": True,
    "prior_preservation_weight": 0.5,
    "optimizer_type": "SGD",
    "learning_rate": 1.0,
    "weight_decay": 0.0,
    "max_grad_norm": 0.0,
}
MEANS = ("global", "sample", "batch")
HELD = {"trigger_free_weight": 0.3, "trigger_free_share": 0.7}
CONTINUOUS = {"prior_mask": "continuous", "prior_decay": "cosine", "prior_warmup_steps": 3, "prior_share": 0.4}
TWO = {"global": HELD, "sample": {**CONTINUOUS, **HELD, "ema_decay": 0.5}, "batch": CONTINUOUS}
WITH_OTHERS = ("two-sample", "two-batch")
"""Jobs with a second data set that is only held to the base model."""
SHARDED = {
    # Below the gate the base model is not asked, with an empty mask there is nothing to learn, and captions without the trigger hold nothing: one
    # process needs fewer passes.
    "global": {"save_every_n_steps": 1, "prior_min_timestep": 700, **HELD},
    "sample": {"gradient_checkpointing": True, "int8_base": True, "validation_split": 0.4, "prior_share": 0.4},
    # What is not adapted makes the graphs smaller: tracing them is what takes the time.
    "batch": {
        "use_dora": True,
        "prior_preservation_weight": 0.0,
        "compile": True,
        "compile_backend": "aot_eager",
        **FEWER_LAYERS,
    },
}
JOBS = {
    **{f"two-{mean}": {**COMMON, **TWO[mean], "mask_mean": mean, "gradient_accumulation_steps": 2} for mean in MEANS},
    **{
        f"sharded-{mean}": {**COMMON, "mask_mean": mean, "max_train_steps": 4, "fsdp": True, **SHARDED[mean]}
        for mean in MEANS
    },
    "previews": {},
    "previews-sharded": {"fsdp": True},
}


def previews(folder):
    """Return the options of a training that draws two previews before the first step and two at the end."""
    return {
        "arch": TWO_EXPERTS,
        "sample_prompts": str(folder / "prompts.txt"),
        "sample_every_n_steps": 2,
        "sample_at_first": True,
    }


def sets_of(folder, name):
    """Return the data sets of a job as options; none where it has the one of all jobs."""
    if name not in WITH_OTHERS:
        return {}
    words = {"trigger": "ohwx", "class_word": "woman"}
    held = {"cache_directory": str(folder / "others"), "prior": True}
    return {"datasets": [{"cache_directory": str(folder / "cache"), **words}, held]}


@dataclass(frozen=True)
class Launched:
    """What two processes left in ``folder``, a training in each of its folders, and what they said."""

    folder: Path
    said: str

    def told(self, name):
        """Return what each of the processes told of itself at the end of its training."""
        told = [self.folder / name / f"process-{rank}.json" for rank in range(2)]
        assert all(path.is_file() for path in told), self.said
        return [json.loads(path.read_text()) for path in told]


@pytest.fixture(scope="module")
def launched(tmp_path_factory, warm_python):
    """Two processes that train on eight items whose masks have very different masses, one of them empty."""
    folder = tmp_path_factory.mktemp("processes")
    shares = stripes(1, 4, 4)
    for number in range(8):
        weights = weights_of(shares) * (0.0 if number == 5 else 0.7**number)
        captions = {"caption": f"ohwx {number}", "class_caption": f"woman {number}"} if number % 3 else {}
        write_entry(folder / "cache", f"kyla{number}", weights=weights, regions=shares, seed=number, **captions)
    for number in range(3):
        write_entry(folder / "others", f"other{number}", seed=20 + number)
    (folder / "prompts.txt").write_text(PROMPTS, encoding="utf-8")
    jobs = {
        name: {**(previews(folder) if name.startswith("previews") else sets_of(folder, name)), **options}
        for name, options in JOBS.items()
    }
    return Launched(folder, launch(WORKER, folder, jobs, python=warm_python))


@pytest.fixture
def compiler():
    """Forget what was compiled before and after."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def train_alone(folder, output, **options):
    """Train in this process."""
    config = train_config(folder / "cache", output, **options)
    train_lora.run(plan_training(config), RunContext(NullReporter()))


def outcome(output):
    """Return the LoRA's tensors and the log."""
    return read_tensors(output / "kyla.safetensors"), read_log(output / "kyla-log.jsonl")


@pytest.mark.parametrize("mean", MEANS)
def test_two_processes_of_two_micro_batches_step_like_one_process_of_four(launched, tmp_path, mean):
    options = {**COMMON, **TWO[mean], **sets_of(launched.folder, f"two-{mean}"), "mask_mean": mean}
    train_alone(launched.folder, tmp_path, **options, gradient_accumulation_steps=4)
    assert launched.told(f"two-{mean}")
    (one, log_of_one), (two, log_of_two) = outcome(tmp_path), outcome(launched.folder / f"two-{mean}")
    assert one.keys() == two.keys()
    moved = {key: value for key, value in one.items() if key.endswith("lora_B.weight")}
    assert error_of(two, moved) < 1e-6
    assert len(log_of_one) == len(log_of_two) == 2
    for ours, theirs in zip(log_of_one, log_of_two, strict=True):
        # What holds the LoRA to the base model begins at 0: the difference of two equal predictions, 4e-8 after a step.
        assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-10)
    items_of_one, items_of_two = items_seen(tmp_path), items_seen(launched.folder / f"two-{mean}")
    assert items_of_one.keys() == items_of_two.keys()
    for name, seen in items_of_one.items():
        assert items_of_two[name] == pytest.approx(seen, rel=1e-5), name


def items_seen(output):
    """Return how often each item was drawn, and its summed loss, by the last state."""
    return load_state(find_states(output, "kyla").newest).numbers["items"]


def test_accelerate_launch_trains_as_torchrun_does(launched, tmp_path, warm_python):
    jobs = {"two-global": JOBS["two-global"]}
    shutil.copytree(launched.folder / "cache", tmp_path / "cache")
    said = launch(WORKER, tmp_path, jobs, python=warm_python, launcher="accelerate")
    (theirs, _), (ours, _) = outcome(launched.folder / "two-global"), outcome(tmp_path / "two-global")
    assert all(torch.equal(ours[key], value) for key, value in theirs.items()), said


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
@pytest.mark.parametrize("mean", MEANS)
def test_two_processes_that_keep_half_of_the_base_each_step_like_one_that_keeps_all(launched, compiler, tmp_path, mean):
    options = {**COMMON, "mask_mean": mean, "max_train_steps": 4, **SHARDED[mean]}
    train_alone(launched.folder, tmp_path, gradient_accumulation_steps=2, **options)
    told = launched.told(f"sharded-{mean}")
    (one, log_of_one), (two, log_of_two) = outcome(tmp_path), outcome(launched.folder / f"sharded-{mean}")
    moved = {key: value for key, value in one.items() if key.endswith("lora_B.weight")}
    assert error_of(two, moved) < 1e-6
    for ours, theirs in zip(log_of_one, log_of_two, strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            # The prior's loss is the square of what two nearly equal predictions differ by, and a product and a sum that
            # are compiled round otherwise.
            tolerance = 1e-3 if name == "prior/loss" else 1e-5
            assert value == pytest.approx(theirs[name], rel=tolerance), name
    for process in told:
        assert process["kept"] == pytest.approx(process["frozen"] / 2, rel=0.02)
    assert find_states(launched.folder / f"sharded-{mean}", "kyla").newest


def test_processes_draw_the_pictures_that_one_draws(launched, tmp_path):
    train_alone(launched.folder, tmp_path, gradient_accumulation_steps=2, **previews(launched.folder))
    # The seeds of what each process drew: where each has the whole base, only the first draws.
    assert [process["drawn"] for process in launched.told("previews")] == [[1, 2, 1, 2], []]
    assert [process["drawn"] for process in launched.told("previews-sharded")] == [[1, 2, 1, 2]] * 2
    one, whole, sharded = (
        pictures(path) for path in (tmp_path, launched.folder / "previews", launched.folder / "previews-sharded")
    )
    assert one.keys() == whole.keys() == sharded.keys()
    assert len(one) == 4
    firsts = [name for name in one if "_000000_" in name]
    # Later ones differ by what the sums of gradients round differently.
    assert all(one[name] == whole[name] == sharded[name] for name in firsts)


def pictures(output):
    return {path.name: path.read_bytes() for path in (output / "sample").iterdir()}


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
    split = [
        *item_coefficients(masses[:2], mean=mean, counts=counts),
        *item_coefficients(masses[2:], mean=mean, counts=counts),
    ]
    assert all(
        torch.allclose(a, b, rtol=1e-12) for a, b in zip(split, item_coefficients(masses, mean=mean), strict=True)
    )
