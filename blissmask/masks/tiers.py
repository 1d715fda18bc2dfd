"""The four weight tiers of a person and their 8-bit values. Standard library only, so the configuration can use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class WeightTier(StrEnum):
    """The part of the picture that a pixel belongs to; it decides the pixel's mask weight."""

    FACE = "face"
    BODY = "body"
    HAIR = "hair"
    BACKGROUND = "background"


TIERS: tuple[WeightTier, ...] = tuple(WeightTier)
"""All tiers, in the order of every table and of the region shares in the cache."""

MAX_VALUE = 255
"""The 8-bit value of weight 1."""


@dataclass(frozen=True, slots=True)
class TierTable:
    """The 8-bit mask value of each tier, 0..255.

    Source of the defaults: the weighted mask guide.
    """

    face: int = 255
    body: int = 128
    hair: int = 80
    background: int = 0

    def value(self, tier: WeightTier) -> int:
        """Return the 8-bit value of ``tier``."""
        return int(getattr(self, tier.value))

    def weight(self, tier: WeightTier) -> float:
        """Return the mask weight of ``tier`` in [0, 1]."""
        return self.value(tier) / MAX_VALUE

    def as_dict(self) -> Mapping[WeightTier, int]:
        """Return tier -> value, in the order of :data:`TIERS`."""
        return {tier: self.value(tier) for tier in TIERS}
