"""A mask backend: bright pixels are face, middling ones body, dark ones background. An example, no recommendation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from blissmask.config.sections.mask_sections import MasksSection
from blissmask.licence import Licence
from blissmask.masks.tiers import WeightTier
from blissmask.parsing.parts_backend import Parsed, PartsBackend

BORDERS = (85, 170)
"""A pixel is body from the first mean of red, green and blue, and face from the second; thirds of 255."""


class BrightnessParts:
    """Assigns a class to each pixel by its brightness."""

    classes = ("dark", "middling", "bright")
    tiers: Mapping[str, WeightTier] = {
        "dark": WeightTier.BACKGROUND,
        "middling": WeightTier.BODY,
        "bright": WeightTier.FACE,
    }
    licence = Licence("CC0-1.0", commercial=True)
    identity = "brightness-1"
    thread_safe = True

    def parse(self, rgbs_HW3: Sequence[NDArray[np.uint8]]) -> list[Parsed]:
        """Return the class of every pixel of every photo."""
        return [Parsed(np.digitize(rgb_HW3.mean(axis=2), BORDERS).astype(np.uint8)) for rgb_HW3 in rgbs_HW3]


def backend(options: MasksSection) -> PartsBackend:
    """Return the backend; called once, before anything is written."""
    return BrightnessParts()
