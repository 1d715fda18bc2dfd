"""Whether blocks are compiled where nobody said: on a GPU, in a run that is long enough to pay for it.

No figure here is from a GPU yet; ``bash tests/gpu/run.sh`` measures them ("compiled" against "as it is").
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

import torch

from blissmask.training.cost import CARDS, Card, seconds_of
from blissmask.training.memory.blocks import has_cpp_compiler
from blissmask.training.memory.options import MemoryOptions

_SAVED = 0.1
"""Share of a step that compiled blocks save. What can be fused (norms, modulation, rotation, activations) is a fifth of
a step in miniature on a CPU, by PyTorch's profiler; half of it is counted on."""
_COMPILING_SECONDS = 120
"""An assumption: one kind of block, forwards and backwards, with and without gradients, for a few shapes."""
_PAYS = 2.0
"""How many times the seconds of compiling must be saved: both figures above are uncertain."""

_AS_BEFORE = {
    True: "on: as in the steps before; `--no-compile` turns it off",
    False: "off: as in the steps before; `--compile` turns it on",
}


@dataclass(frozen=True, slots=True)
class CompileRule:
    """What was decided.

    Attributes:
        compiles: whether blocks are compiled.
        reason: for the overview; empty where the user decided, and on a CPU, where nothing is compiled unasked.
    """

    compiles: bool
    reason: str = ""

    @property
    def by_rule(self) -> bool:
        """Whether it was weighed up, and the user said nothing."""
        return bool(self.reason)

    def rows(self) -> list[tuple[str, str]]:
        """Return the row of the overview."""
        return [("compile", self.reason)] if self.reason else []


def compile_rule(
    options: MemoryOptions,
    *,
    given: bool | None,
    device: torch.device,
    operations: float,
    steps: int,
    before: bool | None,
) -> CompileRule:
    """Return whether to compile: as the user says, else by what it saves.

    Args:
        options: what the run uses, ``memory = "auto"`` included.
        given: what the user says; None leaves it to the rule.
        device: of the denoiser.
        operations: floating-point operations of a step; 0 where they are not known.
        steps: of the whole run.
        before: what the steps before did, in a run that goes on: compiled blocks round otherwise, so what this rule
            decided stays, though the card or the number of steps is another. None where there are none, or the user
            decided.
    """
    if given is not None or device.type != "cuda":
        return CompileRule(bool(given))
    hindrance = _hindrance(options)
    if hindrance:
        return CompileRule(compiles=False, reason=f"off: {hindrance}")
    if before is not None:
        return CompileRule(before, reason=_AS_BEFORE[before])
    if not operations:
        return CompileRule(compiles=False, reason="off: the size of the model is not known")
    card = card_named(torch.cuda.get_device_name(device))
    saved = _SAVED * steps * seconds_of(operations, card)
    figures = f"about {_minutes(saved)} saved, {_minutes(_COMPILING_SECONDS)} of compiling"
    if saved < _PAYS * _COMPILING_SECONDS:
        return CompileRule(compiles=False, reason=f"off: {figures}")
    return CompileRule(compiles=True, reason=f"on: {figures}; `--no-compile` turns it off")


def card_named(name: str) -> Card:
    """Return the card of this name, the fastest where there is none: it has the least to save."""
    found = [card for card in CARDS if card.name in name]
    return found[0] if found else max(CARDS, key=lambda card: card.teraflops)


def _hindrance(options: MemoryOptions) -> str:
    """Return what speaks against compiling, however long the run is."""
    if options.blocks_to_swap or options.fsdp or options.offload_inactive_dit:
        return "weights that move"
    if options.rounds_base:
        return "rounded weights, of which nobody measured it"
    if importlib.util.find_spec("triton") is None:
        return "there is no triton"
    if not has_cpp_compiler():
        return "there is no C compiler"
    return ""


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} minutes"
