"""How long a step takes: the operations of a denoiser, and the share of a GPU's peak that training reaches.

A forecast for who has no card or no model files yet; where a run is at hand, its own steps say more.
"""

from __future__ import annotations

from dataclasses import dataclass

from blissmask.training.memory.estimate import ModelSize

SHARE_OF_PEAK = 0.4
"""Share of a card's peak that a training step reaches.

Llama 3 was trained at 38 to 43 % ("The Llama 3 Herd of Models", table 4); smaller batches and cards reach less.
"""
_FLASH_BACKWARD = 2.5
"""The backward pass of attention computes five products of matrices, the forward pass two (FlashAttention)."""


@dataclass(frozen=True, slots=True)
class Card:
    """A GPU.

    Attributes:
        name: as its maker sells it.
        gib: its memory.
        teraflops: its peak in bfloat16 with float32 sums, without sparsity.
    """

    name: str
    gib: int
    teraflops: float


CARDS = (
    Card("RTX 4070", 12, 58.3),
    Card("RTX 4080", 16, 97.5),
    Card("RTX 4090", 24, 165.2),
    Card("RTX 5090", 32, 209.5),
    Card("L40S", 48, 362.0),
    Card("H100", 80, 989.4),
)
"""One card of each usual size. Peaks: NVIDIA's papers on the Ada and the RTX Blackwell architecture, data sheets."""


def operations(size: ModelSize, *, tokens: int, items: int, recomputes: bool, prior: bool) -> float:
    """Return the floating-point operations of one micro-batch; two for each product that is summed.

    Frozen weights get no gradient, so that the backward pass of a linear layer costs as much as its forward pass. What
    LoRA adds, a few hundredths, is left out.

    Args:
        size: of the denoiser.
        tokens: of the whole micro-batch.
        items: that share the tokens; each sees its own alone.
        recomputes: whether checkpointing computes each block again.
        prior: whether the base model predicts, too.
    """
    linear = 2.0 * size.block_weights * tokens
    attention = 4.0 * size.blocks * size.width * tokens * tokens / items
    forward_passes = 1 + recomputes + prior
    return forward_passes * (linear + attention) + linear + _FLASH_BACKWARD * attention


def seconds_of(work: float, card: Card) -> float:
    """Return how many seconds ``work`` operations take on a card at :data:`SHARE_OF_PEAK`."""
    return work / (card.teraflops * 1e12 * SHARE_OF_PEAK)
