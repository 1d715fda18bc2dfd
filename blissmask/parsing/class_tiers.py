"""Give every class of a model a tier by its name, from ``--map`` or from the known label sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from blissmask.errors import ModelError
from blissmask.masks.tiers import WeightTier
from blissmask.parsing.labelsets import known_tiers, plain
from blissmask.plurals import verb

MAX_CLASSES = 256
"""Class numbers are 8-bit."""


def split_override(text: str) -> tuple[str, str]:
    """Return class and tier of a ``CLASS=TIER`` text, as written.

    The class is empty when the text has another form.
    """
    name, _, tier = text.rpartition("=")
    return name.strip(), tier.strip()


def mapped(overrides: Sequence[str]) -> dict[str, WeightTier]:
    """Return class name -> tier of the well-formed ``CLASS=TIER`` texts; the task refuses the others by name."""
    tiers = {}
    for override in overrides:
        name, tier = split_override(override)
        if name and tier in tuple(WeightTier):
            tiers[name] = WeightTier(tier)
    return tiers


def tiers_by_name(classes: Sequence[str], overrides: Sequence[str], *, where: object) -> Mapping[str, WeightTier]:
    """Return the tier of every class.

    Args:
        classes: the model's class names in the order of their numbers.
        overrides: ``CLASS=TIER`` texts.
        where: the model, for messages.

    Raises:
        ModelError: some classes have no known tier, there are too many classes, or two share a name. The first error
            shows the table and the ``--map`` to write.
    """
    if not 1 < len(classes) <= MAX_CLASSES:
        raise ModelError(
            f"a model of 2 to {MAX_CLASSES} classes can be used, and this one has {len(classes)}", where=[where]
        )
    twice = sorted({name for name in classes if classes.count(name) > 1})
    if twice:
        raise ModelError(
            f"the model names classes alike: {', '.join(twice)}", where=[where], fix="rename them in its `config.json`"
        )
    known, given = known_tiers(), mapped(overrides)
    tiers = {name: given.get(name, known.get(plain(name))) for name in classes}
    unmapped = [name for name, tier in tiers.items() if tier is None]
    if unmapped:
        have = verb(len(unmapped), "has", "have")
        raise ModelError(
            f"{len(unmapped)} of {len(classes)} classes of the model {have} no known tier",
            where=[where, *_table(tiers)],
            fix=_what_to_write(unmapped),
        )
    return {name: tier for name, tier in tiers.items() if tier is not None}


def _table(tiers: Mapping[str, WeightTier | None]) -> list[str]:
    width = max(len(name) for name in tiers)
    return [
        f"{number:>3}  {name:<{width}}  {tier.value if tier else '?'}"
        for number, (name, tier) in enumerate(tiers.items())
    ]


def _what_to_write(unmapped: Sequence[str]) -> str:
    flags = " ".join(f"--map '{name}=background'" for name in unmapped)
    return f"say which tier each belongs to (face, body, hair or background), for example:\n{flags}"
