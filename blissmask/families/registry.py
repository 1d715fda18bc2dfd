"""The model families by name: a file of this folder that defines ``ARCHITECTURE`` is one. Importing it loads no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from blissmask.plugins import Registry

if TYPE_CHECKING:
    from blissmask.families.protocol import Architecture

ARCHS = Registry(package="blissmask.families", marker="ARCHITECTURE", noun="model family")


def load_architecture(name: str) -> Architecture:
    """Return the family called ``name``; raises UsageError naming the nearest when there is none."""
    return cast("Architecture", ARCHS.load(name).ARCHITECTURE)
