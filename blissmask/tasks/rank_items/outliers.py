"""Which items are unlike the others, by what the model gets wrong on them. Pure: numbers in, remarks out."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from blissmask.masks.tiers import TIERS
from blissmask.storage.name_order import NameOrder, by_numbers

WHOLE = "whole"
"""The weighted loss of an item; beside it stand its regions by name."""

FEWEST = 5
"""Items that are needed to say what is usual; of four, one outlier is a quarter of all."""

_FAR = 3.5
"""Modified z-scores above this are outliers (Iglewicz and Hoaglin 1993, How to Detect and Handle Outliers)."""
_TO_DEVIATIONS = 1.4826
"""Median absolute deviation times this is the standard deviation of a normal distribution."""
_LEAST_DEVIATION = 0.02
"""Of the logarithm of losses: items that differ by 2 % are alike, however alike the rest are. Of the same size as what
noise changes in a loss at four levels in miniature."""

_HINTS = {
    "face": "another person, or a wrong mask?",
    "hair": "another hair style, or a wrong mask?",
    "body": "other clothes, or a wrong mask?",
    "background": "another kind of picture?",
    WHOLE: "a bad photo, caption or mask?",
}


@dataclass(frozen=True, slots=True)
class ItemLoss:
    """The loss of one item at fixed noise.

    Attributes:
        name: of the item.
        trained, base: with the LoRA and without: :data:`WHOLE` and the regions that the item shows; > 0.
    """

    name: str
    trained: Mapping[str, float]
    base: Mapping[str, float]

    def learned(self, part: str) -> float | None:
        """Return the share of the base model's loss that the LoRA took away; None where the item lacks the part."""
        if part not in self.trained:
            return None
        return 1.0 - self.trained[part] / self.base[part]


@dataclass(frozen=True, slots=True)
class Judged:
    """An item with what is unusual about it.

    Attributes:
        loss: of the item.
        remarks: worst first; empty where it is like the others.
        badness: how far it is from the others, in standard deviations; 0 where it is like them.
    """

    loss: ItemLoss
    remarks: tuple[str, ...]
    badness: float


def judge(losses: Sequence[ItemLoss]) -> list[Judged]:
    """Return the items, the most unusual first, then those of which the least was learned.

    An item is unusual where the LoRA learned clearly less of a part than in the other items, or where the model
    without a LoRA already errs clearly more: then the photo itself is of another kind.
    """
    judged = []
    for loss in losses:
        remarks, badness = _remarks(loss, losses)
        judged.append(Judged(loss, remarks=remarks, badness=badness))
    return sorted(judged, key=_order)


def _order(judged: Judged) -> tuple[float, float, NameOrder]:
    return -judged.badness, judged.loss.learned(WHOLE) or 0.0, by_numbers(judged.loss.name)


def _remarks(loss: ItemLoss, losses: Sequence[ItemLoss]) -> tuple[tuple[str, ...], float]:
    """Return what is unusual about an item, worst first, and how far it is from the others in that."""
    found, unlike = [], []
    for part in (WHOLE, *(tier.value for tier in TIERS)):
        shown = [other for other in losses if part in other.trained]
        if part not in loss.trained or len(shown) < FEWEST:
            continue
        ratios = [math.log(other.trained[part] / other.base[part]) for other in shown]
        far = _deviations(math.log(loss.trained[part] / loss.base[part]), ratios)
        if far > _FAR:
            usual = 1.0 - math.exp(statistics.median(ratios))
            named = "less is learned" if part == WHOLE else f"less of the {part} is learned"
            said = f"{named} than elsewhere, {percent(loss.learned(part))} against {percent(usual)}"
            found.append((far, f"{said}: {_HINTS[part]}"))
        bases = [math.log(other.base[part]) for other in shown]
        far = _deviations(math.log(loss.base[part]), bases)
        if far > _FAR:
            times = loss.base[part] / math.exp(statistics.median(bases))
            where = "" if part == WHOLE else f" in the {part}"
            unlike.append((far, f"unlike the other photos{where}: {times:.1f} times their loss before any training"))
    # A photo of another kind is so in every region.
    found += [max(unlike)] if unlike else []
    found.sort(reverse=True)
    return tuple(text for _, text in found), found[0][0] if found else 0.0


def percent(share: float | None) -> str:
    """Return a share in whole percent, ``-`` for none; a little less than nothing is 0%."""
    return "-" if share is None else f"{round(100 * share)}%"


def _deviations(value: float, values: Sequence[float]) -> float:
    """Return how many standard deviations ``value`` is above the median, by the median absolute deviation."""
    middle = statistics.median(values)
    spread = statistics.median(abs(each - middle) for each in values)
    return (value - middle) / max(_TO_DEVIATIONS * spread, _LEAST_DEVIATION)
