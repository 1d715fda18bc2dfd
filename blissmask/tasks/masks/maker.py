"""One picture to one weighted mask: ask the backend, finish the outlines, give tiers their values. H, W: rows and columns; 3 = RGB."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from blissmask.config.masks import MasksSection
from blissmask.masks.refine import coverage, feather, finish, to_tiers
from blissmask.masks.tiers import WeightTier
from blissmask.masks.weighted_mask import tier_labels_to_grey
from blissmask.parsing.parts_backend import PartsBackend


class MaskMaker:
    """Turns RGB pictures into weighted masks, from several threads.

    Args:
        backend: the semantic backend; called by one thread at a time unless it is ``thread_safe``.
        tiers: tier of each of its classes.
        options: how outlines are finished and which values are written.
    """

    def __init__(self, backend: PartsBackend, tiers: Sequence[WeightTier], options: MasksSection) -> None:
        self._backend, self._tiers, self._options = backend, tiers, options
        self._turn = contextlib.nullcontext() if backend.thread_safe else threading.Lock()

    def make(self, rgb_HW3: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], dict[str, object]]:
        """Return the 8-bit mask and what was seen: ``people``, ``faces`` (None when not counted) and ``coverage`` by tier."""
        with self._turn:
            parsed = self._backend.parse([rgb_HW3])[0]
        options = self._options
        labels_HW = to_tiers(parsed.labels_HW, self._tiers)
        tiers_HW = finish(labels_HW, min_pixels=round(options.min_area * labels_HW.size), grow_pixels=options.grow)
        grey_HW = feather(tier_labels_to_grey(tiers_HW, options.tiers), options.feather)
        shares = {tier.value: round(share, 5) for tier, share in coverage(tiers_HW).items()}
        return grey_HW, {"people": parsed.people, "faces": parsed.faces, "coverage": shares}
