"""Every model family trains in miniature, from its own encoders' cache to a LoRA file, with the same loop."""

import pytest
import torch
from PIL import Image
from safetensors import safe_open

from blissmask.cachefile.read_file import read_tensors
from blissmask.errors import CacheError, UsageError
from blissmask.events import Measured, Noted
from blissmask.families.files.part import Part
from blissmask.tasks.run.plan import RunContext
from blissmask.tasks.train import train_lora
from blissmask.tasks.train.plan import plan as plan_training
from blissmask.training.data.cached_set import remembered_family
from tests.builders.cached_families import write_cache
from tests.builders.families import NAMES, PLAIN, TASKS, TINY, family_of
from tests.builders.recorder import Recorder
from tests.builders.training import ALL_LAYERS, train_config


@pytest.mark.parametrize(("name", "task"), TASKS, ids=lambda value: value)
def test_a_family_trains_with_masks_and_every_adapter_gets_a_gradient(tmp_path, name, task):
    cache = write_cache(tmp_path / "cache", family_of(name, task))
    recorder = Recorder()
    config = train_config(
        cache,
        tmp_path / "out",
        arch=None,
        use_mask_loss=True,
        prior_preservation_weight=0.5,
        max_train_steps=3,
        datasets=[{"cache_directory": cache, "batch_size": 2}],
        **ALL_LAYERS,
    )
    plan = plan_training(config)
    assert (plan.family.name, plan.family.task_name) == (name, task)
    train_lora.run(plan, RunContext(recorder))
    assert [event.step for event in recorder.of(Measured)] == [1, 2, 3]
    assert not [event.text for event in recorder.of(Noted) if "never get a gradient" in event.text]
    (file,) = plan.names.lora_files()
    with safe_open(file, framework="pt") as lora:
        matrices = {key: lora.get_tensor(key) for key in lora.keys() if key.endswith("lora_B.weight")}  # noqa: SIM118
    still = [key for key, matrix in matrices.items() if not matrix.abs().max() > 0]
    assert matrices
    assert not still


@pytest.mark.parametrize("name", NAMES)
def test_a_dry_run_needs_no_model_files_and_says_so(tmp_path, name):
    cache, prompts = write_cache(tmp_path / "cache", family_of(name)), tmp_path / "prompts.txt"
    Image.new("RGB", (32, 32)).save(tmp_path / "shown.png")
    pictures = family_of(name).preview_pipeline().pictures[0]
    prompts.write_text("kyla --w 64 --h 64" + pictures * f" --ci {tmp_path / 'shown.png'}")
    settings = {"arch": name, "model": None, "sample_prompts": prompts, "sample_every_n_steps": 1}
    plan = plan_training(train_config(cache, tmp_path / "out", dry_run=True, **settings))
    told = [warning.what for warning in plan.warnings]
    assert [what for what in told if "the model is not here yet" in what]
    assert "previews need model files that are not given" in told
    with pytest.raises(UsageError, match="previews need model files that are not given"):
        plan_training(train_config(cache, tmp_path / "out", **settings))


def test_a_dry_run_goes_on_where_a_family_does_not_say_how_large_its_model_is(tmp_path, monkeypatch):
    monkeypatch.setattr(Part, "published_shapes", lambda part: [])
    config = train_config(write_cache(tmp_path / "cache", family_of(PLAIN)), tmp_path / "out", model=None, dry_run=True)
    assert [
        warning for warning in plan_training(config).warnings if "memory that it needs is not known" in warning.what
    ]


MOST_OFF = {"int8_base": 0.02, "fp8_base": 0.1, "nf4_base": 0.3}
"""How far the gradient of a family may be off, by how the base is kept; examples/memory.md tells what `-rP` prints here."""


DENOISERS = {family_of(*case).experts[0].part.identity(TINY): case for case in reversed(TASKS)}
"""One task of each denoiser: it is the denoiser whose weights are rounded, and several tasks may share one."""


@pytest.mark.parametrize(("name", "task"), DENOISERS.values(), ids=lambda value: value)
def test_rounded_weights_give_a_family_nearly_the_same_gradient(tmp_path, with_package_of, name, task):
    with_package_of(MOST_OFF)
    cache = write_cache(tmp_path / "cache", family_of(name, task))
    # With plain SGD from zero, B is minus its gradient.
    options = {
        "optimizer_type": "SGD",
        "learning_rate": 1.0,
        "weight_decay": 0.0,
        "max_grad_norm": 0.0,
        "max_train_steps": 1,
        **ALL_LAYERS,
    }
    steps = {}
    for base in ("", *MOST_OFF):
        rounded = {base: True} if base else {}
        config = train_config(cache, tmp_path / f"out-{base}", arch=None, **rounded, **options)
        plan = plan_training(config)
        train_lora.run(plan, RunContext(Recorder()))
        tensors = read_tensors(plan.names.lora_files()[0])
        steps[base] = torch.cat([tensor.flatten() for key, tensor in tensors.items() if key.endswith("lora_B.weight")])
    whole = steps.pop("")
    off = {base: float((step - whole).norm() / whole.norm()) for base, step in steps.items()}
    print(f"{name} {task}:", *(f"{base} {error:.1%}" for base, error in off.items()))
    assert all(0 < error < MOST_OFF[base] for base, error in off.items()), off
    assert sorted(off, key=off.__getitem__) == list(MOST_OFF)


def test_families_may_share_a_cache_folder(tmp_path):
    # Families of one kind of latents have one name for their files.
    first, second, *_ = {family.cache_suffix: family for family in map(family_of, NAMES)}.values()
    for family in (first, second):
        write_cache(tmp_path, family)
    assert remembered_family([tmp_path], named=first.name) == (first.name, first.task_name)
    assert remembered_family([tmp_path], named=second.name) == (second.name, second.task_name)
    with pytest.raises(CacheError, match="different model families"):
        remembered_family([tmp_path])
