"""How alike the faces of a drawn picture and the subject are, by the distances of a face reader.

**What a number means.** The distance of two faces is turned into a likeness, so that numbers of all face readers read
alike: 1 is the same photograph, 0.5 is the distance up to which the reader takes two faces for one person, 0 is twice
that distance and beyond. With the embedded reader other photos of one man had 0.64 to 0.71, strangers 0.19 to 0.26, and
small or turned faces of strangers up to 0.44 (4 people, 6 photos; ``python -m tests.benchmarks.likeness FOLDER`` prints
this for photos of one's own).

**What it cannot judge.** A face under 60 pixels or turned away (see ``Face.clear``), age, hair, and what is below the
chin. The embedded reader was trained on few children and on skin colours unevenly: there strangers come nearer. Compare
numbers of one subject, drawn with the same prompts and seeds; never those of two subjects.

H, W: rows and columns; 3 = RGB; R = reference faces; D = length of an embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blissmask.people.faces.face_reader import Face, FaceReader

_BORDER = 0.5
"""Likeness at the largest distance of one person; in the middle, so that both sides of the border can be seen."""


@dataclass(frozen=True, slots=True)
class FaceLikeness:
    """One face of a picture, compared with the subject.

    Attributes:
        box_xyxy: left, top, right, bottom in pixels.
        likeness: 0 to 1, see the module.
        distance: median of the distances to the references; one poor reference does not count.
        width: of the face as a share of the picture's width.
        clear: whether it is large and frontal enough to be judged.
    """

    box_xyxy: tuple[float, float, float, float]
    likeness: float
    distance: float
    width: float
    clear: bool


@dataclass(frozen=True, slots=True)
class PictureLikeness:
    """The faces of one picture, the most alike first."""

    faces: tuple[FaceLikeness, ...]


@dataclass(frozen=True, slots=True)
class DrawnPicture:
    """A picture whose faces were compared.

    Attributes:
        faces: what was found.
        shows_subject: whether the subject was asked for. Where it was not, every face is another person's.
    """

    faces: PictureLikeness
    shows_subject: bool = True

    @property
    def subject(self) -> FaceLikeness | None:
        """Return the face that is most alike where the subject was asked for; None without one."""
        return self.faces.faces[0] if self.shows_subject and self.faces.faces else None

    @property
    def others(self) -> tuple[FaceLikeness, ...]:
        """Return the faces of other people, the most alike first."""
        return self.faces.faces[1:] if self.shows_subject else self.faces.faces


@dataclass(frozen=True, slots=True)
class LikenessSummary:
    """The likeness of several pictures.

    Attributes:
        pictures: how many should show the subject.
        faces: in how many of them a face was found.
        unclear: how many of these faces are too small or too far turned to be judged.
        subject: mean likeness over the pictures that should show the subject; one without a face counts 0. None where
            no picture should.
        spread: standard deviation of the same numbers; None for fewer than two.
        width: mean width of the subject's face, share of the picture; None without one.
        others: mean over the pictures with other people of the likeness of the most alike of them: how much of the
            subject bleeds into others. None where there are none.
        others_pictures: how many pictures show other people.
    """

    pictures: int
    faces: int
    unclear: int
    subject: float | None
    spread: float | None
    width: float | None
    others: float | None
    others_pictures: int

    def values(self) -> dict[str, float]:
        """Return the numbers for logs; what is None has none."""
        named = {
            "likeness/subject": self.subject,
            "likeness/spread": self.spread,
            "likeness/faces": self.faces / self.pictures if self.pictures else None,
            "likeness/face_width": self.width,
            "likeness/others": self.others,
        }
        return {name: value for name, value in named.items() if value is not None}


class LikenessMeter:
    """Compares the faces of pictures with those of the subject.

    Args:
        reader: finds and embeds faces.
        references_RD: embeddings of the subject, at least one.
        max_distance: of two faces of one person; see ``Thresholds``.
    """

    def __init__(
        self, reader: FaceReader, references_RD: Sequence[NDArray[np.float32]], *, max_distance: float
    ) -> None:
        self._reader = reader
        self._references_RD = np.stack(list(references_RD))
        self._max_distance = max_distance

    def measure(self, rgb_HW3: NDArray[np.uint8]) -> PictureLikeness:
        """Return how alike each sure face of a picture and the subject are."""
        faces = [self._compare(face, rgb_HW3.shape[1]) for face in self._reader.faces(rgb_HW3) if face.sure]
        return PictureLikeness(tuple(sorted(faces, key=_distance_of)))

    def among_references(self) -> list[float]:
        """Return the likeness of each reference to the others: what a perfect picture has. Empty for one reference."""
        likenesses = []
        for number in range(len(self._references_RD)):
            others_RD = np.delete(self._references_RD, number, axis=0)
            if len(others_RD):
                distance = median_distance(self._references_RD[number], others_RD)
                likenesses.append(likeness_of(distance, self._max_distance))
        return likenesses

    def _compare(self, face: Face, picture_width: int) -> FaceLikeness:
        distance = median_distance(face.embedding_D, self._references_RD)
        return FaceLikeness(
            box_xyxy=face.box_xyxy,
            likeness=likeness_of(distance, self._max_distance),
            distance=distance,
            width=face.width_pixels / picture_width,
            clear=face.clear,
        )


def likeness_of(distance: float, max_distance: float) -> float:
    """Return the likeness at a distance, 0 to 1; ``max_distance`` is the border, 0.5."""
    return max(0.0, 1.0 - (1.0 - _BORDER) * distance / max_distance)


def median_distance(embedding_D: NDArray[np.float32], known_RD: NDArray[np.float32]) -> float:
    """Return the median of the Euclidean distances to at least one known embedding."""
    return float(np.median(np.linalg.norm(known_RD - embedding_D, axis=1)))


def summarise(pictures: Sequence[DrawnPicture]) -> LikenessSummary:
    """Return the means over several pictures."""
    asked = [picture for picture in pictures if picture.shows_subject]
    subjects = [picture.subject for picture in asked]
    found = [face for face in subjects if face is not None]
    likenesses = [0.0 if face is None else face.likeness for face in subjects]
    others = [picture.others[0].likeness for picture in pictures if picture.others]
    return LikenessSummary(
        pictures=len(asked),
        faces=len(found),
        unclear=sum(not face.clear for face in found),
        subject=_mean(likenesses),
        spread=float(np.std(likenesses)) if len(likenesses) > 1 else None,
        width=_mean([face.width for face in found]),
        others=_mean(others),
        others_pictures=len(others),
    )


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _distance_of(face: FaceLikeness) -> float:
    return face.distance
