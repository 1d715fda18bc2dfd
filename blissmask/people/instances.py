"""Instance backends around networks that return one mask per person over the whole picture.

Photos are prepared and run in batches; the masks are brought to the photo's size and separated.

H, W: rows and columns of the photo; h, w: of the network's masks.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from blissmask.licence import Licence
from blissmask.networks.batching import BatchedNetwork
from blissmask.networks.preprocessing import Preprocessing, prepare
from blissmask.people.outlines import Outline, separate
from blissmask.people.people_backend import Person


@dataclass(frozen=True, slots=True)
class InstanceMask:
    """One person in a prepared picture.

    Attributes:
        score: the network's confidence, 0..1.
        probability_hw: float32 0..1, probability that a pixel shows the person.
    """

    score: float
    probability_hw: NDArray[np.float32]


class InstancePeople:
    """An instance backend around one network.

    Args:
        network: returns the people of a picture.
        preprocessing: how photos are prepared for it; without padding.
        licence: of the weights.
        identity: names the weights.
    """

    thread_safe = True

    def __init__(
        self,
        network: BatchedNetwork[list[InstanceMask]],
        preprocessing: Preprocessing,
        *,
        licence: Licence,
        identity: str,
    ) -> None:
        self._network, self._preprocessing = network, preprocessing
        self.licence = licence
        self.identity = identity

    def people(self, rgb_HW3: NDArray[np.uint8]) -> list[Person]:
        """Return everybody in a photo, largest first; safe to call from several threads.

        Raises:
            ModelError: the weights cannot be used.
            MachineError: out of memory.
        """
        photo = prepare(rgb_HW3, self._preprocessing)
        outlines = []
        for mask in self._network.run([photo.pixels_3hw])[0]:
            probability_HW = cv2.resize(mask.probability_hw, photo.size_wh, interpolation=cv2.INTER_LINEAR)
            outlines.append(Outline(mask.score, left=0, top=0, probability_hw=np.asarray(probability_HW, np.float32)))
        return separate(outlines, photo.size_wh)
