"""Networks that outline each person over the whole picture, as an instance backend: prepare, run in batches, bring to full size, separate.

H, W: rows and columns of the photo; h, w: of the network's masks.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from blissmask.licence import Licence
from blissmask.networks.batching import BatchedNetwork
from blissmask.networks.preprocessing import Recipe, prepare
from blissmask.people.outlines import Outline, separate
from blissmask.people.people_backend import Person

Seen = tuple[float, NDArray[np.float32]]
"""One person in a picture: score, and how likely each pixel is theirs, float32 0..1 (h, w)."""


class InstancePeople:
    """An instance backend around one network.

    Args:
        network: sees people in a picture.
        recipe: how it sees photos; without padding.
        licence: of the weights.
        identity: names the weights.
    """

    thread_safe = True

    def __init__(self, network: BatchedNetwork[list[Seen]], recipe: Recipe, *, licence: Licence, identity: str) -> None:
        self._network, self._recipe = network, recipe
        self.licence = licence
        self.identity = identity

    def people(self, rgb_HW3: NDArray[np.uint8]) -> list[Person]:
        """Return everybody in a photo, largest first; safe to call from several threads.

        Raises:
            ModelError: the weights cannot be used.
            MachineError: out of memory.
        """
        photo = prepare(rgb_HW3, self._recipe)
        seen = self._network.run([photo.pixels_3hw])[0]
        outlines = [
            Outline(
                score, 0, 0, np.asarray(cv2.resize(mask_hw, photo.size_wh, interpolation=cv2.INTER_LINEAR), np.float32)
            )
            for score, mask_hw in seen
        ]
        return separate(outlines, photo.size_wh)
