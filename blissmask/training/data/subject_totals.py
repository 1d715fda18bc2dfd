"""What each of several subjects has of the masks of a data set."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import torch

from blissmask.masks.tiers import TIERS, WeightTier
from blissmask.training.data.items import TrainingItem
from blissmask.training.data.mask_totals import MaskTotals

_BACKGROUND = TIERS.index(WeightTier.BACKGROUND)


class SubjectTotals:
    """Sums over the items of each subject.

    An item of a data set that shows one subject is wholly its own. In one that may show several, the weight of a cell
    is split between those whom it shows, by their area in it; what a floor gives to one without any is nobody's.

    Args:
        names: of all subjects.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._totals = {name: MaskTotals() for name in names}
        self._together: Counter[tuple[str, ...]] = Counter()
        self._untold = 0

    def add(self, item: TrainingItem, *, repeats: int) -> None:
        """Count one item, of as many subjects as it shows."""
        if len(item.subjects) > 1 and item.subjects_Qfhw is None:
            self._untold += 1
            return
        parts = parts_of(item)
        for name, part in parts.items():
            self._totals[name].add(part, repeats=repeats)
        if len(item.subjects) > 1:
            self._together[tuple(parts)] += 1

    def rows(self, totals: MaskTotals) -> list[tuple[str, str, str]]:
        """Return name, entries and share of the summed weight of ``totals`` of each subject, as text."""
        whole = totals.summed_weight or 1.0
        return [(name, str(own.entries), f"{own.summed_weight / whole:.1%}") for name, own in self._totals.items()]

    def lines(self, totals: MaskTotals) -> tuple[str, ...]:
        """Return a line for each subject, and what entries of several show; none where there are no subjects."""
        lines = [f" {name}: {entries} entries, {share} of the weight" for name, entries, share in self.rows(totals)]
        if self._together:
            shown = [f"{_told(names)} {count}" for names, count in sorted(self._together.items(), reverse=True)]
            lines.append(f" entries that may show several of them: {', '.join(shown)}")
        if self._untold:
            lines.append(
                f" entries whose masks do not tell subjects apart, by values that are no tier's: {self._untold}"
            )
        return tuple(lines)


def parts_of(item: TrainingItem) -> dict[str, TrainingItem]:
    """Return, for each subject that an item shows, the item with the weight and the regions of that one alone."""
    if len(item.subjects) == 1:
        return {item.subjects[0]: item}
    regions = {name: own_4fhw for name in item.subjects if (own_4fhw := item.regions_of(name)) is not None}
    shown = {name: 1.0 - own_4fhw[_BACKGROUND : _BACKGROUND + 1] for name, own_4fhw in regions.items()}
    parts = {}
    for name, own_4fhw in regions.items():
        weights_1fhw = torch.ones_like(shown[name]) if item.weights_1fhw is None else item.weights_1fhw
        # A cell that shows nobody divides 0 by 0.
        share_1fhw = (shown[name] / sum(shown.values())).nan_to_num(0.0)
        parts[name] = dataclasses.replace(item, weights_1fhw=weights_1fhw * share_1fhw, regions_4fhw=own_4fhw)
    return parts


def _told(names: tuple[str, ...]) -> str:
    if not names:
        return "nobody"
    return " and ".join(names) if len(names) > 1 else f"{names[0]} alone"
