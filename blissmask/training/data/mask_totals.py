"""What the masks of a data set come to, and the banner that says so before the first step."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from blissmask.masks.tiers import MAX_VALUE, TIERS
from blissmask.training.data.items import TrainingItem
from blissmask.training.weighting.prior import PriorRule
from blissmask.training.weighting.rule import WeightRule

_WIDE = "=" * 60
_THIN = "-" * 60


@dataclass(slots=True)
class MaskTotals:
    """Sums over the data set, each item as often as an epoch shows it.

    Attributes:
        entries: cache entries.
        masked: entries with mask weights.
        empty: names of entries whose loss weights are all 0.
        summed_weight, cell_count: over all entries; their quotient is the mean loss weight.
        region_weight: loss weight that falls on each region, in the order of ``TIERS``; a cell of two regions is split
            by area.
        unknown_weight: loss weight on cells whose regions are not known.
    """

    entries: int = 0
    masked: int = 0
    empty: list[str] = field(default_factory=list)
    summed_weight: float = 0.0
    cell_count: float = 0.0
    region_weight: Tensor = field(default_factory=lambda: torch.zeros(len(TIERS), dtype=torch.float64))
    unknown_weight: float = 0.0

    def add(self, item: TrainingItem, *, repeats: int) -> None:
        """Count one item."""
        self.entries += 1
        frames, rows, columns = item.predicted.shape[1:]
        grid = (frames, rows * item.subcells, columns * item.subcells)
        cells = math.prod(grid)
        weights_1fhw = torch.ones(1, *grid) if item.weights_1fhw is None else item.weights_1fhw
        total = float(weights_1fhw.sum(dtype=torch.float64))
        self.summed_weight += repeats * total
        self.cell_count += repeats * cells
        if item.weights_1fhw is not None:
            self.masked += 1
        if item.empty:
            self.empty.append(item.name)
        known = 0.0
        if item.regions_4fhw is not None:
            on_regions_R = (item.regions_4fhw * weights_1fhw).flatten(1).sum(dim=1, dtype=torch.float64)
            self.region_weight += repeats * on_regions_R
            known = float(on_regions_R.sum())
        self.unknown_weight += repeats * max(0.0, total - known)

    @property
    def mean_weight(self) -> float:
        """Return the mean loss weight over all cells."""
        return self.summed_weight / self.cell_count if self.cell_count else 0.0

    @property
    def region_shares(self) -> tuple[float, ...] | None:
        """Return each region's share of the summed weight, or None when most of it lies where regions are not known."""
        if not self.summed_weight or self.unknown_weight > 0.5 * self.summed_weight:
            return None
        return tuple(float(weight) / self.summed_weight for weight in self.region_weight)


def banner(
    rule: WeightRule,
    totals: MaskTotals,
    *,
    scale: float,
    prior: PriorRule | None = None,
    other_tiers: int = 0,
    left_out: int = 0,
    preset: str | None = None,
) -> tuple[str, ...]:
    """Return the guide's banner, word for word, then each tier's weights and its share of the summed weight.

    Args:
        rule: how the weights were shaped, with the tier values that most masks have.
        totals: over the whole data set.
        scale: ``mask_loss_scale``; it is shown because the guide shows it, and has no effect.
        prior: None when nothing is held to the base model.
        other_tiers: entries whose masks were made with other values.
        left_out: entries that are not trained, since their weight is 0 everywhere; ``totals`` does not count them.
        preset: the name under which the user asked for these settings; None where each was given by itself.
    """
    return (
        _WIDE,
        "MASK-WEIGHTED LOSS TRAINING ENABLED",
        _WIDE,
        f"  mask_loss_scale: {scale}",
        f"  mask_min_weight: {rule.min_weight}",
        f"  mask_gamma: {rule.gamma}",
        _THIN,
        "IMPORTANT: Masks must be baked into latent cache!",
        "If you see 'batch has no mask_weights' errors, re-run",
        "the cache script with mask_directory in your dataset config.",
        _WIDE,
        _EXPLAINED,
        *_preset_line(preset),
        *_tier_table(rule, totals),
        *(f" {line}" for line in edge_lines(rule, totals)),
        *_other_tiers_line(other_tiers),
        count_line(totals),
        *_left_out_line(left_out),
        *_prior_line(prior),
    )


def _preset_line(preset: str | None) -> list[str]:
    return [f" preset: {preset}"] if preset else []


_EXPLAINED = " (the cache script is `blissmask cache`; `mask_loss_scale` has no effect)"
"""The guide's banner is for trainers of several scripts; this says what it means here."""


def tier_rows(rule: WeightRule) -> list[tuple[str, str, str, str]]:
    """Return tier, grey value, mask weight and loss weight of each region, as text."""
    return [
        (tier.value, str(round(weight * MAX_VALUE)), f"{weight:.3f}", f"{rule.tier_loss_weight(weight):.3f}")
        for tier, weight in zip(TIERS, rule.tier_weights, strict=True)
    ]


def share_rows(rule: WeightRule, totals: MaskTotals) -> list[tuple[str, str, str, str, str]]:
    """Return the rows of :func:`tier_rows` with each tier's share of the summed weight, and one for the rest, if any.

    The rest is on cells of no tier: of greys that are none's, or of items without a mask.
    """
    shares = totals.region_shares
    if shares is None:
        return [(*row, "not known") for row in tier_rows(rule)]
    rows = [(*row, f"{share:.1%}") for row, share in zip(tier_rows(rule), shares, strict=True)]
    rest = f"{totals.unknown_weight / totals.summed_weight:.1%}"
    return rows if rest == f"{0:.1%}" else [*rows, ("no tier", "", "", "", rest)]


def _tier_table(rule: WeightRule, totals: MaskTotals) -> list[str]:
    lines = [" tier         value   weight   loss weight   share of weight"]
    for tier, value, weight, loss_weight, share in share_rows(rule, totals):
        lines.append(f" {tier:<11}{value:>7}{weight:>9}{loss_weight:>14}{share:>18}")
    return lines


def edge_lines(rule: WeightRule, totals: MaskTotals) -> list[str]:
    """Return why tiers that weigh nothing have a share of the weight, in one line; nothing where none has."""
    shares = totals.region_shares or [0.0] * len(TIERS)
    tiers = [
        tier.value
        for tier, weight, share in zip(TIERS, rule.tier_weights, shares, strict=True)
        # As they are shown in the table.
        if round(rule.tier_loss_weight(weight), 3) == 0 and round(share, 3) > 0
    ]
    # A cell of two tiers has one weight, which is split between them by area.
    return [f"the share of {' and '.join(tiers)}, at weight 0, is its part of cells at edges"] if tiers else []


def _other_tiers_line(entries: int) -> list[str]:
    return [f" entries whose masks have other tier values, each trained with its own: {entries}"] if entries else []


def _left_out_line(entries: int) -> list[str]:
    return [f" entries with weight 0 everywhere, left out: {entries}"] if entries else []


def _prior_line(prior: PriorRule | None) -> list[str]:
    if prior is None:
        return []
    which = "every cell, by 1 minus its loss weight"
    if prior.mask_threshold is not None:
        which = f"weight below {prior.mask_threshold}"
    times = "" if prior.weight == 1 else f"{prior.weight:g} times "
    when = "" if prior.share == 1 else f" in {prior.share:.0%} of the steps"
    mean = f"on average {times}" if when else times
    return [f" {which}: held to the base model{when}, {mean}as strongly as the rest is learned"]


def count_line(totals: MaskTotals) -> str:
    """Return how many entries there are, how many have masks, and their mean loss weight, in one line."""
    some = "all with mask weights" if totals.masked == totals.entries else f"{totals.masked} with mask weights"
    return f" {totals.entries} cache entries, {some}; mean loss weight {totals.mean_weight:.3f}"
