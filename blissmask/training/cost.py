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


@dataclass(frozen=True, slots=True)
class Preservation:
    """The passes that hold the LoRA to the base model, beside the one that learns; shares of the items, 0..1.

    Attributes:
        base: of the items for which the base model predicts: once, for all that is held.
        again: of the items for which the LoRA predicts a second time, with the class word.
    """

    base: float = 0.0
    again: float = 0.0

    @classmethod
    def of(cls, *, outside_share: float, class_share: float, only_held: float) -> Preservation:
        """Return the passes of a training.

        Args:
            outside_share: of the steps that hold items outside their masks. The steps of the smaller share are among
                those of the larger one.
            class_share: of the steps that hold captions with the class word.
            only_held: share of the items that are held in every step, and of which nothing is learned.
        """
        learned = 1.0 - only_held
        return cls(base=1.0 - learned * (1.0 - max(outside_share, class_share)), again=class_share * learned)

    def times(self, *, recomputes: bool) -> float:
        """Return how many times the operations of a step without preservation are made, attention left out."""
        learned = 2.0 + recomputes
        return (learned * (1.0 + self.again) + self.base) / learned


def operations(size: ModelSize, *, tokens: int, items: int, recomputes: bool, held: Preservation) -> float:
    """Return the floating-point operations of one micro-batch; two for each product that is summed.

    Frozen weights get no gradient, so that the backward pass of a linear layer costs as much as its forward pass. What
    LoRA adds, a few hundredths, is left out.

    Args:
        size: of the denoiser.
        tokens: of the whole micro-batch.
        items: that share the tokens; each sees its own alone.
        recomputes: whether checkpointing computes each block again.
        held: the passes of preservation.
    """
    linear = 2.0 * size.block_weights * tokens
    attention = 4.0 * size.blocks * size.width * tokens * tokens / items
    forward = linear + attention
    learned = (1 + recomputes) * forward + linear + _FLASH_BACKWARD * attention
    return learned * (1.0 + held.again) + held.base * forward


def seconds_of(work: float, card: Card) -> float:
    """Return how many seconds ``work`` operations take on a card at :data:`SHARE_OF_PEAK`."""
    return work / (card.teraflops * 1e12 * SHARE_OF_PEAK)
