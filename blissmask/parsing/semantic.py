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
from blissmask.networks.preprocessing import Prepared, Recipe, prepare
from blissmask.parsing.parts_backend import Parsed

if TYPE_CHECKING:
    import torch

STRIP_PIXELS = 1 << 18
"""Scores are brought to full size this many pixels at a time: 28 classes of a 24-megapixel photo would take 2.7 GB at once. Smaller strips
stay in a processor's cache."""


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
            raise ModelError(
                f"the network tells {len(scores_Chw)} classes apart, {len(self.classes)} were expected",
                where=[self.identity],
            )
        return best_class(scores_Chw, photo.size_wh, content=photo.content)


def best_class(
    scores_Chw: torch.Tensor, size_wh: tuple[int, int], *, content: tuple[float, float] = (1.0, 1.0)
) -> NDArray[np.uint8]:
    """Return the best class of every pixel at full size, labels_HW; scores are interpolated bilinearly, then compared.

    Pixel centres are half a pixel in, as in torch's own ``interpolate(..., align_corners=False)``. Works on the device
    of the scores.

    Args:
        scores_Chw: of the picture the network saw.
        size_wh: size of the photo.
        content: share of the rows and of the columns that show the photo, from the top left; what borders on the
            padding is not used.
    """
    import torch

    width, height = size_wh
    rows = max(1, STRIP_PIXELS // width)
    scores = scores_Chw.float()
    labels = np.empty((height, width), np.uint8)
    for top in range(0, height, rows):
        strip = _stretch_rows(scores, height, top, min(height, top + rows), share=content[0])
        # `argmax` over the first axis takes twice as long on a CPU.
        best = _stretch_columns(strip, width, share=content[1]).max(dim=0).indices
        labels[top : top + rows] = best.to(torch.uint8).cpu().numpy()
    return labels


def _stretch_rows(scores_Chw: torch.Tensor, height: int, top: int, bottom: int, *, share: float) -> torch.Tensor:
    """Return rows ``top`` to ``bottom`` of scores whose first ``share`` of rows is brought to ``height`` rows."""
    import torch

    extent = scores_Chw.shape[1] * share
    last = max(1, int(extent)) - 1
    places = (torch.arange(top, bottom, device=scores_Chw.device, dtype=torch.float32) + 0.5) * (extent / height) - 0.5
    places = places.clamp(min=0.0, max=last)
    above = places.floor().long()
    below = (above + 1).clamp(max=last)
    weight = (places - above)[None, :, None]
    return scores_Chw[:, above] * (1 - weight) + scores_Chw[:, below] * weight


def _stretch_columns(scores_Chw: torch.Tensor, width: int, *, share: float) -> torch.Tensor:
    """Return scores whose first ``share`` of columns is brought to ``width`` columns."""
    from torch.nn import functional as F

    extent = scores_Chw.shape[2] * share
    # `extent` need not be whole, so the last column that shows nothing else is doubled, and what is too much at the end
    # is cut off.
    columns = F.pad(scores_Chw[..., : max(1, int(extent))], (0, 1), mode="replicate")
    return F.interpolate(columns[None], scale_factor=(1.0, width / extent), mode="bilinear", align_corners=False)[
        0, ..., :width
    ]
