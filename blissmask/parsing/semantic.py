"""Semantic backends around networks that score every class at every pixel.

Photos are prepared and run in batches, and the best class of every pixel is picked at the photo's size.

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
from blissmask.networks.preprocessing import Prepared, Preprocessing, prepare
from blissmask.parsing.parts_backend import Parsed

if TYPE_CHECKING:
    import torch

STRIP_PIXELS = 1 << 18
"""Scores are brought to full size this many pixels at a time.

All of a 24-megapixel photo at once would take 2.7 GB for 28 classes. Strips of this size stay in a processor's cache.
"""


class SemanticParts:
    """A semantic backend around one network.

    Args:
        network: returns scores_Chw per picture, of any size; higher is more likely.
        preprocessing: how photos are prepared for it.
        tiers: tier by class name, in the order of the class numbers.
        licence: of the weights.
        identity: names the weights.
    """

    thread_safe = True

    def __init__(
        self,
        network: BatchedNetwork[torch.Tensor],
        preprocessing: Preprocessing,
        *,
        tiers: Mapping[str, WeightTier],
        licence: Licence,
        identity: str,
    ) -> None:
        self._network, self._preprocessing = network, preprocessing
        self.classes = tuple(tiers)
        self.tiers = tiers
        self.licence = licence
        self.identity = identity

    def parse(self, rgbs_HW3: Sequence[NDArray[np.uint8]]) -> list[Parsed]:
        """Parse photos of any sizes; safe to call from several threads.

        Raises:
            ModelError: the weights cannot be used, or they score another number of classes than ``tiers`` has.
            MachineError: out of memory.
        """
        photos = [prepare(rgb_HW3, self._preprocessing) for rgb_HW3 in rgbs_HW3]
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
    """Return the best class of every pixel at full size, labels_HW: scores are interpolated bilinearly, then compared.

    Pixel centres lie at half pixels, as in torch's ``interpolate(..., align_corners=False)``. The work is done on the
    device of the scores.

    Args:
        scores_Chw: scores of the prepared picture.
        size_wh: size of the photo.
        content: share of the rows and of the columns that shows the photo, from the top left; the rest is padding
            and is not used.
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
    """Stretch the first ``share`` of the rows to ``height`` rows and return rows ``top`` to ``bottom``."""
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
    """Stretch the first ``share`` of the columns to ``width`` columns."""
    from torch.nn import functional as F

    extent = scores_Chw.shape[2] * share
    # `extent` need not be whole: the last column without padding is doubled, and the surplus at the end is cut off.
    columns = F.pad(scores_Chw[..., : max(1, int(extent))], (0, 1), mode="replicate")
    scale_factor = (1.0, width / extent)
    stretched = F.interpolate(columns[None], scale_factor=scale_factor, mode="bilinear", align_corners=False)
    return stretched[0, ..., :width]
