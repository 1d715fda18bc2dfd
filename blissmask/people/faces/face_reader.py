"""What an identity is, and all of them by name: a photo in, faces with embeddings out.

Shapes: H, W rows and columns of the (oriented) photo; 3 = RGB; D = length of an embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from blissmask.licence import Licence
from blissmask.plugins import Registry

if TYPE_CHECKING:
    # The command line reads the registry for its help screens, which must not wait for numpy.
    import numpy as np
    from numpy.typing import NDArray

MIN_CONFIDENCE = 0.5
"""Smallest confidence of a face that counts as a reference or as clear; by eye: a doubtful face proves nothing."""

MIN_FACE_PIXELS = 60
"""Smallest width of a clear face.

Measured with the built-in identity: of 1081 pairs of strangers five are nearer than 0.55. Of the 741 pairs with both
faces at least 60 pixels wide, none is.
"""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The distances between embeddings that decide; every identity has its own. They are Euclidean.

    Attributes:
        max_distance: largest distance of a face that is the subject's.
        uncertain_band: a face beyond ``max_distance`` by at most this much may be the subject's; it is uncertain.
        min_margin: how much farther the runner-up must be where the distance alone does not decide.
        unclear_tighter: how much nearer than ``max_distance`` an unclear face must be.
    """

    max_distance: float
    uncertain_band: float
    min_margin: float
    unclear_tighter: float


@dataclass(frozen=True, slots=True)
class Face:
    """One face of a photo.

    Attributes:
        box_xyxy: left, top, right, bottom in pixels.
        embedding_D: float32; near the embeddings of the same person in other photos.
        width_pixels: width of the face as if seen from the front.
        confidence: of the networks that this is a face, 0..1.
        turned_away: whether so much of the face is hidden that its embedding cannot be relied on.
    """

    box_xyxy: tuple[float, float, float, float]
    embedding_D: NDArray[np.float32]
    width_pixels: float
    confidence: float = 1.0
    turned_away: bool = False

    @property
    def sure(self) -> bool:
        """Whether this is a face beyond doubt."""
        return self.confidence >= MIN_CONFIDENCE

    @property
    def clear(self) -> bool:
        """Whether the face is sure, large and frontal enough for its embedding to be trusted."""
        return self.sure and self.width_pixels >= MIN_FACE_PIXELS and not self.turned_away


class FaceReader(Protocol):
    """Finds and embeds faces; ``--identity`` chooses one.

    A file in ``people/faces/`` is one when it defines ``face_reader(options: InstanceSection) -> FaceReader``.

    Attributes:
        licence: licence of the weights.
        identity: names the weights and their version, for fingerprints; changes when results would.
        thread_safe: whether several threads may call at once; otherwise photos are processed one at a time.
        thresholds: distances between its embeddings that decide.
    """

    licence: Licence
    identity: str
    thread_safe: bool
    thresholds: Thresholds

    def faces(self, rgb_HW3: NDArray[np.uint8]) -> list[Face]:
        """Return every face of an RGB photo, unclear ones too, in any order."""


IDENTITIES = Registry(package="blissmask.people.faces", marker="face_reader", noun="identity")
"""The identities by name: a file of this folder that defines ``face_reader(...)`` is one."""
