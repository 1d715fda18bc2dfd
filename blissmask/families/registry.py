"""The model families by name: a file below this folder that defines ``ARCHITECTURE``. Importing one loads no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from blissmask.plugins import Registry

if TYPE_CHECKING:
    from blissmask.families.family import Family

FAMILIES = Registry(package="blissmask.families", marker="ARCHITECTURE", noun="model family")


def load_family(name: str) -> Family:
    """Return the family called ``name``; raises UsageError naming the nearest when there is none."""
    return cast("Family", FAMILIES.load(name).ARCHITECTURE)
