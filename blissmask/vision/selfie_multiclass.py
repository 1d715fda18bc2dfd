"""Tell background, hair, skin, clothes and things apart: MediaPipe Selfie Multiclass.

C = the six classes of :data:`CLASSES`. The network knows no people: it gives every pixel of a crop six probabilities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from blissmask.vision.cores import side_by_side
from blissmask.vision.photo import Photo, network_input
from blissmask.vision.regions import Box, box_to_crop
from blissmask.vision.session import run

NETWORK = "selfie_multiclass_256x256"
SIZE = 256
CLASSES = ("background", "hair", "body-skin", "face-skin", "clothes", "others")
BACKGROUND, HAIR, BODY_SKIN, FACE_SKIN, CLOTHES, OTHERS = range(6)


class BoxClassifier:
    """The class probabilities of boxes of one photo; each box goes through the network once.

    Args:
        photo: the photo.
        known: probabilities by box from before; copied.
    """

    def __init__(self, photo: Photo, known: Mapping[Box, NDArray[np.float32]] | None = None) -> None:
        self.photo = photo
        self.known = dict(known or {})

    def classify(self, box: Box) -> NDArray[np.float32]:
        """Return the class probabilities of a box, float32 (256, 256, C); the box is stretched to a square."""
        if box not in self.known:
            self.known[box] = _classify(self.photo, box)
        return self.known[box]

    def classify_each(self, boxes: Sequence[Box]) -> list[NDArray[np.float32]]:
        """Return the class probabilities of several boxes; free cores share the work."""
        return side_by_side(self.classify, boxes)

    def classify_photo(self) -> NDArray[np.float32]:
        """Return the class probabilities of the whole photo, stretched to float32 (256, 256, C)."""
        return self.classify(self.photo.box)


def _classify(photo: Photo, box: Box) -> NDArray[np.float32]:
    crop = photo.cut(box_to_crop(box, SIZE), SIZE, repeat_border=True)
    # Class by class: sums and maxima over six neighbouring numbers take numpy five times as long.
    logits_Chw = np.ascontiguousarray(np.moveaxis(run(NETWORK, network_input(crop))[0][0], -1, 0))
    powers_Chw = np.exp(logits_Chw - logits_Chw.max(axis=0))
    powers_Chw /= powers_Chw.sum(axis=0)
    return np.ascontiguousarray(np.moveaxis(powers_Chw, 0, -1))
