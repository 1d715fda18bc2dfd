"""Optimisers by name, arguments as text, and learning rates over the steps."""

import pytest
import torch

from blissmask.errors import MissingPackageError, UsageError
from blissmask.training.optim.optimizer import (
    OptimizerOptions,
    ScheduleOptions,
    build_optimizer,
    build_scheduler,
    count_steps,
    parse_arguments,
)


def parameters():
    return [
        ("x.lora_A.default.weight", torch.nn.Parameter(torch.ones(2))),
        ("x.lora_B.default.weight", torch.nn.Parameter(torch.ones(2))),
    ]


@pytest.mark.parametrize(("text", "steps"), [("0", 0), ("100", 100), ("0.05", 50), ("5%", 50), ("1000", 1000)])
def test_step_counts_are_numbers_fractions_or_percentages(text, steps):
    assert count_steps(text, 1000, name="lr_warmup_steps") == steps


@pytest.mark.parametrize("text", ["many", "1001", "-1", "120%"])
def test_step_counts_that_make_no_sense_are_refused_by_name(text):
    with pytest.raises(UsageError, match="--lr_warmup_steps"):
        count_steps(text, 1000, name="lr_warmup_steps")


def test_arguments_are_literals_or_text_and_may_hold_equals_signs():
    parsed = parse_arguments(["betas=(0.9, 0.99)", "fused=False", "name=a=b"])
    assert parsed == {"betas": (0.9, 0.99), "fused": False, "name": "a=b"}
    with pytest.raises(UsageError, match="KEY=VALUE"):
        parse_arguments(["betas"])


def test_the_optimiser_gets_the_learning_rate_and_its_arguments():
    options = OptimizerOptions(learning_rate=0.01, weight_decay=0.1, arguments=["betas=(0.5,0.6)"])
    group = build_optimizer(parameters(), options).param_groups[0]
    assert (group["lr"], group["weight_decay"], group["betas"]) == (0.01, 0.1, (0.5, 0.6))


def test_loraplus_gives_b_a_higher_rate():
    groups = build_optimizer(parameters(), OptimizerOptions(learning_rate=0.01, loraplus_lr_ratio=4.0)).param_groups
    assert [group["lr"] for group in groups] == [0.01, 0.04]


def test_an_optimiser_of_a_package_that_is_missing_says_how_to_get_it(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "prodigyopt", None)
    with pytest.raises(MissingPackageError, match="prodigyopt"):
        build_optimizer(parameters(), OptimizerOptions(name="prodigy"))


@pytest.mark.parametrize("name", ["torch.optim.NoSuch", "no.such.Class", "NoSuch", "os.system", "torch.nn.Linear"])
def test_an_unknown_optimiser_names_those_there_are(name):
    with pytest.raises(UsageError) as caught:
        build_optimizer(parameters(), OptimizerOptions(name=name))
    assert "adamw8bit" in caught.value.problems[0].fix


def test_arguments_the_optimiser_does_not_take_are_refused():
    with pytest.raises(UsageError, match="does not take"):
        build_optimizer(parameters(), OptimizerOptions(arguments=["no_such=1"]))


@pytest.mark.filterwarnings("ignore:Detected call of")
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"name": "constant", "warmup_steps": "2"}, [0.0, 0.5, 1.0, 1.0]),
        ({"name": "constant_with_warmup", "warmup_steps": "2"}, [0.0, 0.5, 1.0, 1.0]),
        ({"name": "constant_with_warmup"}, [1.0, 1.0, 1.0, 1.0]),
        ({"name": "linear"}, [1.0, 0.75, 0.5, 0.25]),
        ({"name": "cosine"}, [1.0, 0.853553, 0.5, 0.146447]),
        (
            {"name": "warmup_stable_decay", "decay_steps": "3", "min_lr_ratio": 0.2},
            [1.0, 1.0, 0.8, 0.4],
        ),
        (
            {"name": "polynomial", "power": 2.0, "arguments": ["lr_end=0.0"]},
            [1.0, 0.5625, 0.25, 0.0625],
        ),
    ],
)
def test_learning_rates_follow_the_schedule(fields, expected):
    optimizer = build_optimizer(parameters(), OptimizerOptions(learning_rate=1.0))
    scheduler = build_scheduler(optimizer, ScheduleOptions(**fields), steps=4)
    rates = []
    for _ in expected:
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx(expected, abs=1e-6)
