"""When blocks are compiled though nobody said so."""

import pytest
import torch

from blissmask.tasks.train.memory import compile_rule as rules
from blissmask.training.cost import CARDS
from blissmask.training.memory.options import MemoryOptions

FASTEST = max(CARDS, key=lambda card: card.teraflops)
SECOND = FASTEST.teraflops * 1e12 * 0.4
"""Operations that the fastest card does in a second, at the share of its peak that is counted on."""


@pytest.fixture
def decide(monkeypatch):
    """Decide for a GPU that is named ``card``; triton and a compiler are there."""
    monkeypatch.setattr(rules.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(rules, "has_cpp_compiler", lambda: True)

    def decided(
        given=None, options=None, *, device="cuda", card=FASTEST.name, operations=SECOND, steps=2400, before=None
    ):
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"NVIDIA {card}")
        return rules.compile_rule(
            options or MemoryOptions(),
            given=given,
            device=torch.device(device),
            operations=operations,
            steps=steps,
            before=before,
        )

    return decided


def test_a_run_is_compiled_once_it_saves_twice_what_compiling_costs(decide):
    assert decide(steps=2400) == rules.CompileRule(
        compiles=True, reason="on: about 4.0 minutes saved, 2.0 minutes of compiling; `--no-compile` turns it off"
    )
    assert decide(steps=2399) == rules.CompileRule(
        compiles=False, reason="off: about 4.0 minutes saved, 2.0 minutes of compiling"
    )


def test_a_slower_card_has_more_to_save_and_an_unknown_one_counts_as_the_fastest(decide):
    assert decide(card="GeForce RTX 4090", steps=500).compiles
    assert not decide(card="B300", steps=500).compiles


def test_a_run_that_goes_on_does_as_before_unless_the_user_or_the_machine_says_otherwise(decide):
    assert decide(steps=1, before=True).compiles
    assert not decide(steps=1_000_000, before=False).compiles
    assert decide(True, before=False) == rules.CompileRule(compiles=True)
    assert decide(device="cpu", before=True) == rules.CompileRule(compiles=False)
    assert not decide(options=MemoryOptions(int8_base=True), before=True).compiles


@pytest.mark.parametrize("given", [True, False])
def test_the_user_decides_without_a_word(decide, given: bool):
    assert decide(given) == rules.CompileRule(given)


def test_nothing_is_compiled_unasked_on_a_cpu(decide):
    assert decide(device="cpu", steps=1_000_000) == rules.CompileRule(compiles=False)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"blocks_to_swap": 2, "gradient_checkpointing": True}, "weights that move"),
        ({"fsdp": True}, "weights that move"),
        ({"offload_inactive_dit": True}, "weights that move"),
        ({"int8_base": True}, "rounded weights"),
        ({"nf4_base": True}, "rounded weights"),
    ],
)
def test_what_nobody_tried_is_not_compiled_by_rule(decide, options: dict, reason: str):
    rule = decide(options=MemoryOptions(**options), steps=1_000_000)
    assert not rule.compiles
    assert reason in rule.reason


def test_an_unknown_model_or_missing_tools_leave_it_off(decide, monkeypatch):
    assert decide(operations=0.0).reason == "off: the size of the model is not known"
    monkeypatch.setattr(rules, "has_cpp_compiler", lambda: False)
    assert decide().reason == "off: there is no C compiler"
    monkeypatch.setattr(rules.importlib.util, "find_spec", lambda name: None)
    assert decide().reason == "off: there is no triton"
