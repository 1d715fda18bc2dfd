"""Which class of a semantic backend gets which tier, after ``--map``, and how to show that."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from blissmask.config.sections.mask_sections import MasksSection
from blissmask.errors import Problem, UsageError
from blissmask.masks.tiers import TierTable, WeightTier
from blissmask.parsing.class_tiers import split_override
from blissmask.parsing.parts_backend import PartsBackend
from blissmask.tasks.run.plan import Table


def tiers_of_classes(backend: PartsBackend, overrides: Sequence[str]) -> tuple[WeightTier, ...]:
    """Return the tier of every class of ``backend``, in the order of its classes.

    Args:
        backend: the semantic backend.
        overrides: ``CLASS=TIER`` texts, later ones win.

    Raises:
        UsageError: an override is malformed or names an unknown class or tier; lists all of them with the nearest
            names.
    """
    tiers = dict(backend.tiers)
    problems = []
    for text in overrides:
        name, tier = split_override(text)
        if not name:
            problems.append(Problem(f"`--map {text}` must read CLASS=TIER", fix="e.g. `--map others=background`"))
        elif name not in backend.classes:
            problems.append(_unknown("class", name, backend.classes, text))
        elif tier not in tuple(WeightTier):
            problems.append(_unknown("tier", tier, tuple(WeightTier), text))
        else:
            tiers[name] = WeightTier(tier)
    if problems:
        raise UsageError.several(problems)
    return tuple(tiers[name] for name in backend.classes)


def explanation(
    options: MasksSection, backend: PartsBackend, tiers: Sequence[WeightTier]
) -> tuple[Table, dict[str, object]]:
    """Return class -> tier, value and weight, as a table and as JSON values."""
    rows = tuple(
        (name, tier.value, str(options.tiers.value(tier)), f"{options.tiers.weight(tier):.3f}")
        for name, tier in zip(backend.classes, tiers, strict=True)
    )
    details: dict[str, object] = {
        "backend": backend.identity,
        "classes": {name: tier.value for name, tier in zip(backend.classes, tiers, strict=True)},
        "tiers": tier_values(options.tiers),
    }
    return Table(f"Classes of `{options.backend}`", ("Class", "Tier", "Value", "Weight"), rows), details


def tier_values(tiers: TierTable) -> dict[str, int]:
    """Return tier name -> 8-bit value, as it stands in notes and JSON."""
    return {tier.value: value for tier, value in tiers.as_dict().items()}


def _unknown(noun: str, name: str, known: Sequence[str], text: str) -> Problem:
    # Below the default of 0.6, so that a short part of a name finds it: `arm` is like `left-arm` by 0.55.
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    fix = f"did you mean `{near[0]}`? " if near else ""
    return Problem(f"`--map {text}`: unknown {noun} `{name}`", fix=f"{fix}there are {', '.join(known)}")
