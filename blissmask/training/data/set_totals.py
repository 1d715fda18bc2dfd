"""What a data set comes to, counted while its items are read: sizes, regions and captions.

Sizes are (width, height) in pixels; R = regions, in the order of ``TIERS``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from blissmask.cachefile.entry import CacheHeader
from blissmask.cachefile.metadata import GEOMETRY, OURS, ZOOM
from blissmask.dataset.captions.caption_words import holds_trigger
from blissmask.dataset.geometry import read_geometry
from blissmask.masks.tiers import TIERS, WeightTier
from blissmask.training.data.items import TrainingItem


@dataclass(slots=True)
class SetTotals:
    """Sums over the entries of one data set that are trained or held out, each once.

    Attributes:
        triggers: that its captions may hold.
        entries: counted so far.
        clips: entries of more than one frame.
        zooms: entries that are a part of a photo that has an entry of its own.
        masked: entries with mask weights.
        enlarged: entries that were scaled up to the training size.
        sizes: at which they are trained.
        smallest_wh, largest_wh: of the photos and videos, by area, where the cache remembers their sizes.
        area_R: summed shares of the picture that the regions take.
        with_regions: entries whose regions are known.
        without_face: entries whose mask shows no face, among those.
        captions: hashes of the captions; there may be millions of them.
        with_trigger: entries whose caption holds a trigger.
        without_caption: entries whose caption is empty.
    """

    triggers: Sequence[str] = ()
    entries: int = 0
    clips: int = 0
    zooms: int = 0
    masked: int = 0
    enlarged: int = 0
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    smallest_wh: tuple[int, int] | None = None
    largest_wh: tuple[int, int] | None = None
    area_R: Tensor = field(default_factory=lambda: torch.zeros(len(TIERS), dtype=torch.float64))
    with_regions: int = 0
    without_face: int = 0
    captions: set[int] = field(default_factory=set)
    with_trigger: int = 0
    without_caption: int = 0

    def add(self, header: CacheHeader, item: TrainingItem, *, caption: str, stride: int) -> None:
        """Count one entry.

        Args:
            header: of the entry.
            item: made of it.
            caption: as it was cached.
            stride: pixels along a side of a latent cell.
        """
        _, frames, rows, columns = header.latent_shape
        self.entries += 1
        self.clips += frames > 1
        self.zooms += bool(header.metadata.get(f"{OURS}{ZOOM}"))
        self.masked += header.has_weights
        self.sizes[columns * stride, rows * stride] += 1
        geometry = read_geometry(header.metadata.get(f"{OURS}{GEOMETRY}", ""))
        if geometry is not None:
            self.smallest_wh = min(self.smallest_wh or geometry.source_wh, geometry.source_wh, key=math.prod)
            self.largest_wh = max(self.largest_wh or geometry.source_wh, geometry.source_wh, key=math.prod)
            self.enlarged += geometry.scale > 1
        if item.regions_4fhw is not None:
            shares_R = item.regions_4fhw.flatten(1).mean(dim=1, dtype=torch.float64)
            self.area_R += shares_R
            self.with_regions += 1
            self.without_face += not bool(shares_R[TIERS.index(WeightTier.FACE)])
        self.captions.add(hash(caption))
        self.without_caption += not caption.strip()
        self.with_trigger += any(holds_trigger(caption, trigger) for trigger in self.triggers)

    @property
    def shares(self) -> dict[WeightTier, float] | None:
        """Return the mean share of the picture that each region takes; None where no mask tells."""
        if not self.with_regions:
            return None
        return {tier: float(area) / self.with_regions for tier, area in zip(TIERS, self.area_R, strict=True)}
