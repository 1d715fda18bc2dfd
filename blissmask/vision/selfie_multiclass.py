"""Tell background, hair, skin, clothes and things apart: MediaPipe Selfie Multiclass.

C = the six classes of :data:`CLASSES`.
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


def classify(photo: Photo, box: Box) -> NDArray[np.float32]:
    """Return class probabilities of a box of the photo, float32 (256, 256, C); the box is stretched to the network's square."""
    crop = photo.cut(box_to_crop(box, SIZE), SIZE, repeat_border=True)
    logits = run(NETWORK, network_input(crop))[0][0]
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), dtype=np.float32)


class Looks:
    """What the network sees in boxes of one photo; each box is looked at once.

    Args:
        photo: the photo.
        seen: what was seen before, by box; copied.
    """

    def __init__(self, photo: Photo, seen: Mapping[Box, NDArray[np.float32]] | None = None) -> None:
        self.photo = photo
        self.seen = dict(seen or {})

    def at(self, box: Box) -> NDArray[np.float32]:
        """Return class probabilities of a box, float32 (256, 256, C)."""
        if box not in self.seen:
            self.seen[box] = classify(self.photo, box)
        return self.seen[box]

    def at_each(self, boxes: Sequence[Box]) -> list[NDArray[np.float32]]:
        """Return class probabilities of several boxes, looked at side by side."""
        return side_by_side(self.at, boxes)

    def overview(self) -> NDArray[np.float32]:
        """Return class probabilities of the whole photo, stretched to float32 (256, 256, C)."""
        return self.at(self.photo.box)
