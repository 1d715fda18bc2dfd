"""Optimisers by name, and their arguments."""

import pytest
import torch

from blissmask.errors import MissingPackageError, UsageError
from blissmask.training.optim.optimizer import OptimizerOptions, build_optimizer, check_optimizer


def parameters():
    return [
        ("x.lora_A.default.weight", torch.nn.Parameter(torch.ones(2))),
        ("x.lora_B.default.weight", torch.nn.Parameter(torch.ones(2))),
    ]


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


@pytest.mark.parametrize("device", [None, torch.device("cpu")])
def test_a_class_of_a_package_that_this_machine_lacks_may_be_there_on_another(device):
    with pytest.raises(MissingPackageError, match="there is no package `no_such` on this machine") as caught:
        check_optimizer(OptimizerOptions(name="no_such.CAME"), device=device)
    assert "adamw8bit" in caught.value.problems[0].fix, "the name may be misspelt"


@pytest.mark.parametrize(
    "name", ["torch.optim.NoSuch", "torch.no_such.Class", "NoSuch", "os.system", "torch.nn.Linear", "..AdamW", ""]
)
def test_an_unknown_optimiser_names_those_there_are(name):
    with pytest.raises(UsageError) as caught:
        build_optimizer(parameters(), OptimizerOptions(name=name))
    assert "adamw8bit" in caught.value.problems[0].fix


@pytest.mark.parametrize(
    ("name", "arguments", "said", "fix"),
    [
        (
            "adamw",
            ["weight-decay=0.1"],
            "`torch.optim.AdamW` does not take `weight-decay`",
            "did you mean `weight_decay`?",
        ),
        ("adamw", ["no_such=1"], "`torch.optim.AdamW` does not take `no_such`", "it takes betas, eps, weight_decay"),
        ("adamw", ["params=[]"], "does not take `params`", "it takes betas"),
        ("adamw", ["betas=(0.9,)"], "does not take these arguments: tuple index out of range", "check"),
        ("adamw", ["fused=true", "foreach=true"], "`fused` and `foreach` cannot be `True` together", "check"),
        ("adamw", ["lr=0.1"], "gives `lr`, which is an option of its own", "set `learning_rate`"),
        ("adamw", ["eps=1e-8", "eps=1e-6"], "gives `eps` twice", "leave one of the two out"),
        ("adamw", ["betas"], "must be written KEY=VALUE", "e.g. `betas=0.9,0.99`"),
        ("Rprop", [], "`Rprop` has no weight decay", "set `weight_decay = 0`"),
    ],
)
def test_arguments_the_optimiser_does_not_take_are_refused_with_what_it_takes(name, arguments, said, fix):
    with pytest.raises(UsageError) as caught:
        build_optimizer(parameters(), OptimizerOptions(name=name, arguments=arguments))
    [problem] = caught.value.problems
    assert said in problem.what
    assert problem.fix.startswith(fix)


def test_an_optimiser_without_weight_decay_needs_none():
    assert build_optimizer(parameters(), OptimizerOptions(name="Rprop", weight_decay=0)).param_groups[0]["lr"] == 2e-4


def test_an_optimiser_that_cannot_take_a_step_is_refused_where_its_device_is_here():
    options = OptimizerOptions(arguments=["capturable=true"])
    check_optimizer(options, device=None)
    with pytest.raises(UsageError, match="`adamw` cannot train with these settings"):
        check_optimizer(options, device=torch.device("cpu"))


def test_no_optimiser_is_made_for_a_device_that_is_elsewhere(monkeypatch):
    made = []
    monkeypatch.setattr(torch.optim.Rprop, "__init__", lambda *_, **given: made.append(given))
    check_optimizer(OptimizerOptions(name="Rprop", weight_decay=0), device=None)
    assert made == []
    with pytest.raises(UsageError, match="does not take `beta`"):
        check_optimizer(OptimizerOptions(arguments=["beta=1"]), device=None)


def test_what_an_optimiser_prints_is_kept_off_stdout(capsys):
    pytest.importorskip("prodigyopt")
    build_optimizer(parameters(), OptimizerOptions(name="prodigy"))
    assert capsys.readouterr().out == ""
