"""The tier values that the masks in the cache were made with: every entry of ours says its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from blissmask.cachefile.entry import CacheHeader
from blissmask.cachefile.metadata import read_tiers
from blissmask.cachefile.tensor_keys import MASK_REGIONS
from blissmask.errors import Problem
from blissmask.masks.tiers import MAX_VALUE, TIERS, TierTable, WeightTier
from blissmask.plurals import counted
from blissmask.training.data.items import shows_no_regions


def tiers_of(header: CacheHeader, otherwise: TierTable) -> TierTable:
    """Return the tier values of one entry; ``otherwise`` where it does not say, as caches of other tools do not."""
    return read_tiers(header.metadata) or otherwise


def commonest_tiers(headers: Iterable[CacheHeader], otherwise: TierTable) -> TierTable:
    """Return the tier values that most masked entries have; ``otherwise`` when none says."""
    counts = Counter(found for header in headers if header.has_weights and (found := read_tiers(header.metadata)))
    return counts.most_common(1)[0][0] if counts else otherwise


def others_than(tiers: TierTable, headers: Iterable[CacheHeader]) -> int:
    """Return how many entries say that their masks were made with other values than ``tiers``."""
    return sum(read_tiers(header.metadata) not in (None, tiers) for header in headers if header.has_weights)


def check_tiers(
    headers: Sequence[CacheHeader],
    own_weights: Mapping[WeightTier, float],
    *,
    configured: TierTable,
    named: Collection[WeightTier],
) -> list[Problem]:
    """Return warnings about the tier values in the cache.

    Args:
        headers: the whole data set.
        own_weights: see :class:`blissmask.training.weighting.rule.WeightRule`.
        configured: the values that [masks] holds.
        named: the tiers that [masks] names; the others have their defaults.
    """
    tiered = [header for header in headers if MASK_REGIONS in header.contents and not shows_no_regions(header)]
    counts = Counter(tiers_of(header, configured) for header in tiered)
    return [*_differing(counts, own_weights), *_changed(counts, configured, named), *_merged(counts, own_weights)]


def _differing(counts: Counter[TierTable], own_weights: Mapping[WeightTier, float]) -> list[Problem]:
    cached = [tier for tier in TIERS if tier not in own_weights]
    if len({tuple(tiers.value(tier) for tier in cached) for tiers in counts}) < 2:
        return []
    places = [f"{_entries(count)}: {_spell(tiers)}" for tiers, count in counts.most_common()]
    what = "the masks in the cache were made with different tier values; each entry is trained with its own"
    return [
        Problem(
            what,
            tuple(places),
            "to train all alike, give `--face-weight`, `--body-weight`, `--hair-weight` or `--background-weight`",
        )
    ]


def _changed(counts: Counter[TierTable], configured: TierTable, named: Collection[WeightTier]) -> list[Problem]:
    """Name the values in [masks] that the cache does not hold: they count once masks and cache are made again."""
    changed = {
        tier: configured.value(tier)
        for tier in TIERS
        if tier in named and any(tiers.value(tier) != configured.value(tier) for tiers in counts)
    }
    if not changed:
        return []
    told = ", ".join(f"`{tier.value} = {value}`" for tier, value in changed.items())
    options = " ".join(f"--{tier.value}-weight {value / MAX_VALUE:.3f}" for tier, value in changed.items())
    places = tuple(f"the cache: {_spell(tiers)}" for tiers, _ in counts.most_common())
    fix = f"to train the masks as they are with these values, give `{options}`;\nelse make masks and cache again"
    return [
        Problem(
            f"[masks] says {told}, and the masks in the cache were made with other values, which count", places, fix
        )
    ]


def _merged(counts: Counter[TierTable], own_weights: Mapping[WeightTier, float]) -> list[Problem]:
    """Warn of a weight for one of two tiers that share a value: all their pixels count as the first of the two."""
    problems = []
    for tiers, count in counts.items():
        first: dict[int, WeightTier] = {}
        for tier in TIERS:
            other = first.setdefault(tiers.value(tier), tier)
            if other is not tier and tier in own_weights and own_weights[tier] != own_weights.get(other):
                what = (
                    f"`--{tier.value}-weight` has no effect on {_entries(count)}: "
                    f"{other} and {tier} have one mask value there"
                )
                fix = f"make the masks and the cache again with a `--{tier.value}` of its own"
                problems.append(Problem(what, (_spell(tiers),), fix))
    return problems


def _entries(count: int) -> str:
    return counted(count, "cache entry", "cache entries")


def _spell(tiers: TierTable) -> str:
    return ", ".join(f"{tier.value} {value}" for tier, value in tiers.as_dict().items())
