"""What an identity is: a photo in, faces with embeddings out, and how alike two embeddings of one person are.

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
MIN_FACE_PIXELS = 60


@dataclass(frozen=True, slots=True)
class Thresholds:
    """How alike is alike enough; distances are Euclidean, smaller is more alike. Every identity has its own.

    Attributes:
        max_distance: up to here a face is the subject's.
        uncertain_band: beyond it by at most this much, a face may be the subject's and is reported as uncertain.
        min_margin: how much farther the runner-up must be where the distance alone does not decide.
        unclear_tighter: an unclear face must be nearer by this much to be found.
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
        embedding_D: float32; near those of other photos of the same person.
        width_pixels: width of the face as if seen from the front.
        confidence: how sure the networks are that it is a face, 0..1.
        turned_away: whether so much of it is hidden that its embedding says little.
    """

    box_xyxy: tuple[float, float, float, float]
    embedding_D: NDArray[np.float32]
    width_pixels: float
    confidence: float = 1.0
    turned_away: bool = False

    @property
    def sure(self) -> bool:
        """Say whether it is a face beyond doubt."""
        return self.confidence >= MIN_CONFIDENCE

    @property
    def clear(self) -> bool:
        """Say whether it is sure, large and frontal enough for its embedding to be trusted."""
        return self.sure and self.width_pixels >= MIN_FACE_PIXELS and not self.turned_away


class FaceReader(Protocol):
    """Finds and embeds faces.

    A file in ``people/faces/`` has one when it defines ``face_reader(options: InstanceSection) -> FaceReader``.

    Attributes:
        licence: what the weights may be used for.
        identity: names the weights and their version, for fingerprints; changes when results would.
        thread_safe: whether several threads may call at once; otherwise one photo at a time is worked on.
        thresholds: how alike its embeddings of one person are.
    """

    licence: Licence
    identity: str
    thread_safe: bool
    thresholds: Thresholds

    def faces(self, rgb_HW3: NDArray[np.uint8]) -> list[Face]:
        """Return every face of an RGB photo, unclear ones too, in any order."""


IDENTITIES = Registry(package="blissmask.people.faces", marker="face_reader", noun="identity")
"""The identities by name: a file of this folder that defines ``face_reader(...)`` is one."""
