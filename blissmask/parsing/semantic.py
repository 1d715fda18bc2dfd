"""Networks that score every class at every pixel, as a semantic part of the house: prepare, run in batches, pick the best class.

H, W: rows and columns of the photo; h, w: of the scores; C = classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from blissmask.errors import ModelError
from blissmask.licence import Licence
from blissmask.masks.tiers import WeightTier
from blissmask.networks.batching import BatchedNetwork
from blissmask.networks.pixels import Prepared, Recipe, prepare
from blissmask.parsing.protocol import Parsed

if TYPE_CHECKING:
    import torch

STRIP_PIXELS = 1 << 20
"""Scores are brought to full size this many pixels at a time: 28 classes of a 24-megapixel photo would take 2.7 GB at once."""


class SemanticParts:
    """A semantic backend around one network.

    Args:
        network: gives scores_Chw per picture, of any size; higher is more likely.
        recipe: how it sees photos.
        tiers: tier by class name, in the order of the class numbers.
        licence: of the weights.
        identity: names the weights.
    """

    thread_safe = True

    def __init__(
        self,
        network: BatchedNetwork[torch.Tensor],
        recipe: Recipe,
        *,
        tiers: Mapping[str, WeightTier],
        licence: Licence,
        identity: str,
    ) -> None:
        self._network, self._recipe = network, recipe
        self.classes = tuple(tiers)
        self.tiers = tiers
        self.licence = licence
        self.identity = identity

    def parse(self, rgbs_HW3: Sequence[NDArray[np.uint8]]) -> list[Parsed]:
        """Parse photos of any sizes; safe to call from several threads.

        Raises:
            ModelError: the weights cannot be used, or score another number of classes than they should.
            MachineError: out of memory.
        """
        photos = [prepare(rgb_HW3, self._recipe) for rgb_HW3 in rgbs_HW3]
        scores = self._network.run([photo.pixels_3hw for photo in photos])
        return [Parsed(self._labels(photo, scores_Chw)) for photo, scores_Chw in zip(photos, scores, strict=True)]

    def _labels(self, photo: Prepared, scores_Chw: torch.Tensor) -> NDArray[np.uint8]:
        if len(scores_Chw) != len(self.classes):
            raise ModelError(f"the network tells {len(scores_Chw)} classes apart, {len(self.classes)} were expected", where=[self.identity])
        rows, columns = (max(1, round(side * share)) for side, share in zip(scores_Chw.shape[1:], photo.content, strict=True))
        return best_class(scores_Chw[:, :rows, :columns], photo.size_wh)


def best_class(scores_Chw: torch.Tensor, size_wh: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the best class of every pixel at full size, labels_HW; scores are interpolated bilinearly, then compared.

    Pixel centres are half a pixel in, as in torch's own ``interpolate(..., align_corners=False)``. Works on the device of the scores.
    """
    import torch

    width, height = size_wh
    rows = max(1, STRIP_PIXELS // width)
    scores = scores_Chw.float()
    labels = np.empty((height, width), np.uint8)
    for top in range(0, height, rows):
        strip = _tall(scores, height, top, min(height, top + rows))
        wide = torch.nn.functional.interpolate(strip[None], (strip.shape[1], width), mode="bilinear", align_corners=False)[0]
        labels[top : top + rows] = wide.argmax(dim=0).to(torch.uint8).cpu().numpy()
    return labels


def _tall(scores_Chw: torch.Tensor, height: int, top: int, bottom: int) -> torch.Tensor:
    """Interpolate rows ``top`` to ``bottom`` of a picture ``height`` rows high."""
    import torch

    source_rows = scores_Chw.shape[1]
    places = (torch.arange(top, bottom, device=scores_Chw.device, dtype=torch.float32) + 0.5) * (source_rows / height) - 0.5
    places = places.clamp(min=0.0)
    above = places.floor().long().clamp(max=source_rows - 1)
    below = (above + 1).clamp(max=source_rows - 1)
    share = (places - above)[None, :, None]
    return scores_Chw[:, above] * (1 - share) + scores_Chw[:, below] * share
