"""What a user can do to make a training smaller; who loads the model and who estimates its memory read the same."""

from __future__ import annotations

from dataclasses import dataclass

_IN_WORDS = ("gradient_checkpointing", "offload_inactive_dit", "int8_base", "fp8_base", "nf4_base")


@dataclass(frozen=True, slots=True)
class MemoryOptions:
    """The names are those of the options, so that a plan can print them.

    Attributes:
        gradient_checkpointing: recompute activations in the backward pass.
        offload_inactive_dit: with two experts, keep the one that rests in CPU memory.
        int8_base, fp8_base: keep the frozen weights in one byte each.
        nf4_base: keep them in half a byte each.
        blocks_to_swap: blocks whose frozen weights rest in CPU memory, >= 0.
        fsdp: spread the frozen weights over the processes.
        compile_backend: compiler of the repeated blocks, as ``torch.compile`` names it; None compiles nothing.
    """

    gradient_checkpointing: bool = False
    offload_inactive_dit: bool = False
    int8_base: bool = False
    fp8_base: bool = False
    nf4_base: bool = False
    blocks_to_swap: int = 0
    fsdp: bool = False
    compile_backend: str | None = None

    @property
    def rounds_base(self) -> bool:
        """Return whether the frozen weights are kept in fewer bits than they are computed in."""
        return self.int8_base or self.fp8_base or self.nf4_base

    def describe(self) -> str:
        """Return the options that save memory in words, for the plan."""
        names = [name for name in _IN_WORDS if getattr(self, name)]
        if self.blocks_to_swap:
            names.append(f"blocks_to_swap = {self.blocks_to_swap}")
        return ", ".join(names) or "nothing is needed"
