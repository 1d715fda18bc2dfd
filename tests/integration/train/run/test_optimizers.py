"""Every optimiser trains, and a run that was stopped ends with the weights of one that was not, whatever the optimiser remembers."""

import importlib

import pytest
import torch

from blissmask.errors import StoppedError
from blissmask.training.optim.optimizer import OptimizerOptions, build_optimizer
from tests.builders.training import run, tensors_of, train_config

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


pytestmark = pytest.mark.usefixtures("packages_aside")


@pytest.mark.parametrize(
    ("name", "arguments", "package"), OPTIMISERS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_four_steps_a_stop_and_four_more_give_the_weights_of_eight(cache, tmp_path, name, arguments, package):
    pytest.importorskip(package)
    options = {"optimizer_type": name, "optimizer_args": arguments, "max_train_steps": 8}
    # Saving and looking at what is held out must not change what comes after.
    run(train_config(cache, tmp_path / "whole", save_every_n_steps=2, **options))
    with pytest.raises(StoppedError):
        run(train_config(cache, tmp_path / "parts", **options), stop_after=4)
    run(train_config(cache, tmp_path / "parts", **options))
    expected, found = (tensors_of(tmp_path / part / "kyla.safetensors") for part in ("whole", "parts"))
    assert any(value.abs().max() > 0 for key, value in expected.items() if key.endswith("lora_B.weight"))
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    assert (tmp_path / "whole" / "kyla-log.jsonl").read_bytes() == (tmp_path / "parts" / "kyla-log.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("name", "arguments", "package"), OPTIMISERS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_name_makes_the_class_of_its_package_with_its_arguments(tmp_path, name, arguments, package):
    pytest.importorskip(package)
    options = OptimizerOptions(name=name, arguments=arguments, weight_decay=0.125)
    optimizer = build_optimizer([("x.lora_A", torch.nn.Parameter(torch.ones(2, 2)))], options)
    assert type(optimizer).__module__.split(".")[0] == package
    assert isinstance(optimizer, torch.optim.Optimizer)
    assert optimizer.param_groups[0]["weight_decay"] == 0.125
    assert importlib.import_module(package)
