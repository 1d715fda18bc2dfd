"""Every optimiser trains, and a run that was stopped ends with the weights of one that was not, whatever the optimiser remembers."""

import importlib

import pytest
import torch

from blissmask.cachefile.read import read_tensors
from blissmask.errors import StoppedError
from blissmask.events import Measured
from blissmask.tasks.plan import RunContext
from blissmask.tasks.train import train_lora
from blissmask.training.optimizer import build_optimizer
from tests.training_builders import Recorder, train_config, write_masked_set

OPTIMISERS = [
    ("adamw", [], "torch"),
    # It keeps small tensors in full otherwise, and all of these are small.
    ("adamw8bit", ["min_8bit_size=1"], "bitsandbytes"),
    ("adafactor", [], "transformers"),
    ("prodigy", ["safeguard_warmup=True"], "prodigyopt"),
    ("schedulefree", ["warmup_steps=2"], "schedulefree"),
    ("torch.optim.RAdam", ["betas=(0.8,0.9)", "decoupled_weight_decay=True"], "torch"),
    ("schedulefree.RAdamScheduleFree", [], "schedulefree"),
]


@pytest.fixture
def cache(tmp_path):
    return write_masked_set(tmp_path / "cache")


def run(config, *, stop_after=None):
    recorder = Recorder()

    def stop_signal():
        return 15 if stop_after is not None and len(recorder.of(Measured)) >= stop_after else 0

    plan = train_lora.plan(config)
    train_lora.run(plan, RunContext(recorder, stop_signal=stop_signal))
    return plan


@pytest.mark.parametrize(("name", "arguments", "package"), OPTIMISERS, ids=lambda value: value if isinstance(value, str) else "")
def test_four_steps_a_stop_and_four_more_give_the_weights_of_eight(cache, tmp_path, name, arguments, package):
    pytest.importorskip(package)
    options = {"optimizer_type": name, "optimizer_args": arguments, "max_train_steps": 8}
    # Saving and looking at what is held out must not change what comes after.
    whole = run(train_config(cache, tmp_path / "whole", save_every_n_steps=2, **options))
    with pytest.raises(StoppedError):
        run(train_config(cache, tmp_path / "parts", **options), stop_after=4)
    parts = run(train_config(cache, tmp_path / "parts", **options))
    expected, found = (read_tensors(plan.names.lora_files()[0]) for plan in (whole, parts))
    assert any(value.abs().max() > 0 for key, value in expected.items() if key.endswith("lora_B.weight"))
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    assert whole.names.log.read_bytes() == parts.names.log.read_bytes()


@pytest.mark.parametrize(("name", "arguments", "package"), OPTIMISERS, ids=lambda value: value if isinstance(value, str) else "")
def test_a_name_makes_the_class_of_its_package_with_its_arguments(tmp_path, name, arguments, package):
    pytest.importorskip(package)
    section = train_config(tmp_path, tmp_path, optimizer_type=name, optimizer_args=arguments, weight_decay=0.125).train
    optimizer = build_optimizer([("x.lora_A", torch.nn.Parameter(torch.ones(2, 2)))], section)
    assert type(optimizer).__module__.split(".")[0] == package
    assert isinstance(optimizer, torch.optim.Optimizer)
    assert optimizer.param_groups[0]["weight_decay"] == 0.125
    assert importlib.import_module(package)
