"""Which text an item is shown with: its caption, the same in another order, or none.

A function of the seed, the micro-batch and the item's place in it, so that a resumed run and any number of processes
draw the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from blissmask.training.seeds import derive_seed

_SEEDS = 2**63
"""``derive_seed`` returns numbers from 0 to below this."""


@dataclass(frozen=True, slots=True)
class CaptionText:
    """One text of an item.

    Attributes:
        text: its conditioning by content name.
        class_text: that of the same with the class word instead of the trigger; None where it has no trigger, or it is
            not asked for.
    """

    text: Mapping[str, Tensor]
    class_text: Mapping[str, Tensor] | None = None

    @property
    def tensors(self) -> Iterator[Tensor]:
        """Yield all tensors."""
        yield from self.text.values()
        yield from (self.class_text or {}).values()

    def copied(self) -> CaptionText:
        """Return the text with tensors in memory of their own."""
        return CaptionText(_copied(self.text), None if self.class_text is None else _copied(self.class_text))


@dataclass(frozen=True, slots=True)
class OtherTexts:
    """What an item may be shown with instead of its caption as it is written.

    Attributes:
        orders: the caption with its tags in other orders; each is drawn as often as the written one.
        empty: no caption; None where none is dropped.
        dropout_rate: how often that is drawn, [0, 1).
    """

    orders: tuple[CaptionText, ...] = ()
    empty: CaptionText | None = None
    dropout_rate: float = 0.0

    def drawn(self, seed: int, micro_batch: int, place: int) -> CaptionText | None:
        """Return the text of an item; None for its caption as it is written.

        Args:
            seed: of the run.
            micro_batch: its number from the start of the run.
            place: of the item in the micro-batch.
        """
        if self.empty is not None:
            chance = derive_seed(seed, "caption dropout", micro_batch, place) / _SEEDS
            if chance < self.dropout_rate:
                return self.empty
        number = derive_seed(seed, "caption order", micro_batch, place) % (len(self.orders) + 1)
        return self.orders[number - 1] if number else None

    @property
    def tensors(self) -> Iterator[Tensor]:
        """Yield all tensors."""
        for text in self._texts:
            yield from text.tensors

    def copied(self) -> OtherTexts:
        """Return the texts with tensors in memory of their own."""
        empty = None if self.empty is None else self.empty.copied()
        return OtherTexts(tuple(order.copied() for order in self.orders), empty, self.dropout_rate)

    @property
    def _texts(self) -> Iterator[CaptionText]:
        yield from self.orders
        if self.empty is not None:
            yield self.empty


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in tensors.items()}
