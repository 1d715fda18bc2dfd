"""How alike the faces of a drawn picture and the subject are, by the distances of a face reader.

**What a number means.** The distance of two faces is turned into a likeness, so that numbers of all face readers read
alike: 1 is the same photograph, 0.5 is the distance up to which the reader takes two faces for one person, 0 is twice
that distance and beyond. With the embedded reader other photos of one man had 0.64 to 0.71, strangers 0.19 to 0.26, and
small or turned faces of strangers up to 0.44 (4 people, 6 photos; ``python -m tests.benchmarks.likeness FOLDER`` prints
this for photos of one's own).

**Several subjects.** Each face belongs to one of those that the picture was asked to show, the most alike pair first.
What it has of the others is told for every two of them: that is how much one bleeds into the other.

**What it cannot judge.** A face under 60 pixels or turned away (see ``Face.clear``), age, hair, and what is below the
chin. The embedded reader was trained on few children and on skin colours unevenly: there strangers come nearer. Compare
numbers of one subject, drawn with the same prompts and seeds; never those of two subjects.

H, W: rows and columns; 3 = RGB; R = reference faces; D = length of an embedding.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from blissmask.people.faces.face_reader import Face, FaceReader

_BORDER = 0.5
"""Likeness at the largest distance of one person; in the middle, so that both sides of the border can be seen."""


ONLY = "subject"
"""Name of the subject where there is one alone, which needs none."""


@dataclass(frozen=True, slots=True)
class FaceLikeness:
    """One face of a picture, compared with each subject.

    Attributes:
        box_xyxy: left, top, right, bottom in pixels.
        likeness: by subject, 0 to 1, see the module.
        distance: by subject, the median of the distances to its references; one poor reference does not count.
        width: of the face as a share of the picture's width.
        clear: whether it is large and frontal enough to be judged.
    """

    box_xyxy: tuple[float, float, float, float]
    likeness: Mapping[str, float]
    distance: Mapping[str, float]
    width: float
    clear: bool


@dataclass(frozen=True, slots=True)
class DrawnPicture:
    """A picture whose faces were compared.

    Attributes:
        faces: what was found, from left to right.
        asked: the subjects that it was asked to show. Where none was, every face is another person's.
    """

    faces: tuple[FaceLikeness, ...]
    asked: tuple[str, ...]

    @property
    def owners(self) -> dict[str, FaceLikeness]:
        """Return the face of each subject that was asked for and found: the most alike pair first, then the next."""
        pairs = [(face.distance[name], at, name) for at, face in enumerate(self.faces) for name in self.asked]
        found: dict[str, FaceLikeness] = {}
        taken: set[int] = set()
        for _, at, name in sorted(pairs):
            if name not in found and at not in taken:
                found[name] = self.faces[at]
                taken.add(at)
        return found

    def others(self, name: str) -> list[FaceLikeness]:
        """Return the faces that are not those of subject ``name``, the most alike to it first."""
        own = self.owners.get(name)
        return sorted((face for face in self.faces if face is not own), key=lambda face: face.distance[name])


@dataclass(frozen=True, slots=True)
class LikenessSummary:
    """The likeness of several pictures to one subject, or to each of several.

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
        named: dict[str, float | None] = {
            "likeness/subject": self.subject,
            "likeness/spread": self.spread,
            "likeness/faces": self.faces / self.pictures if self.pictures else None,
            "likeness/face_width": self.width,
            "likeness/others": self.others,
        }
        return {name: value for name, value in named.items() if value is not None}


@dataclass(frozen=True, slots=True)
class SubjectsSummary:
    """The likeness of several pictures to every subject.

    Attributes:
        whole: over all subjects, as if they were one.
        subjects: of each by its name.
        between: (one, other) -> mean likeness to ``one`` of the faces that are ``other``'s: how much of one bleeds into
            the other. Only of those that have a face.
    """

    whole: LikenessSummary
    subjects: Mapping[str, LikenessSummary]
    between: Mapping[tuple[str, str], float]

    def values(self) -> dict[str, float]:
        """Return the numbers for logs: the whole, and of several subjects each, and each in the others."""
        values = self.whole.values()
        if len(self.subjects) > 1:
            for name, summary in self.subjects.items():
                values |= {f"{key}/{name}": value for key, value in summary.values().items() if key in _OF_EACH}
        return values | {f"{_BETWEEN}{one}{_IN}{other}": value for (one, other), value in self.between.items()}

    def to_json(self) -> dict[str, object]:
        """Return the numbers as JSON values; ``between`` is by the one, then by the other."""
        between: dict[str, dict[str, float]] = {}
        for (one, other), value in self.between.items():
            between.setdefault(one, {})[other] = value
        subjects = {name: asdict(summary) for name, summary in self.subjects.items()}
        return {**asdict(self.whole), "subjects": subjects, "between": between}


_OF_EACH = ("likeness/subject", "likeness/others")
"""What is logged for each of several subjects, beside the values for all of them together."""
_BETWEEN, _IN = "likeness/between/", "/in/"
"""What stands around two subjects' names. Subjects are named as folders are, so no name holds a slash."""
_TITLES = {"likeness/subject/": "{}", "likeness/others/": "{} in other people", _BETWEEN: "{}"}


def title_of_each(key: str) -> str | None:
    """Return what a number of the log is of, where it is of one of several subjects, e.g. ``kyla``; None for others."""
    for beginning, title in _TITLES.items():
        if key.startswith(beginning):
            return title.format(key.removeprefix(beginning).replace(_IN, " in "))
    return None


class LikenessMeter:
    """Compares the faces of pictures with those of the subjects.

    Args:
        reader: finds and embeds faces.
        references: embeddings of each subject by its name, at least one of each.
        max_distance: of two faces of one person; see ``Thresholds``.
    """

    def __init__(
        self, reader: FaceReader, references: Mapping[str, Sequence[NDArray[np.float32]]], *, max_distance: float
    ) -> None:
        self._reader = reader
        self._references_RD = {name: np.stack(list(embeddings)) for name, embeddings in references.items()}
        self._max_distance = max_distance

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the subjects."""
        return tuple(self._references_RD)

    def measure(self, rgb_HW3: NDArray[np.uint8]) -> tuple[FaceLikeness, ...]:
        """Return how alike each sure face of a picture and the subjects are; faces stand from left to right."""
        faces = sorted(self._reader.faces(rgb_HW3), key=lambda face: face.box_xyxy)
        return tuple(self._compare(face, rgb_HW3.shape[1]) for face in faces if face.sure)

    def among_references(self, name: str) -> list[float]:
        """Return the likeness of each reference to the others: what a perfect picture has. Empty for one reference."""
        references_RD = self._references_RD[name]
        likenesses = []
        for number in range(len(references_RD)):
            others_RD = np.delete(references_RD, number, axis=0)
            if len(others_RD):
                distance = median_distance(references_RD[number], others_RD)
                likenesses.append(likeness_of(distance, self._max_distance))
        return likenesses

    def between_references(self, one: str, other: str) -> float:
        """Return the mean likeness to ``one`` of the references of ``other``: what pictures without bleeding have."""
        known_RD, others_RD = self._references_RD[one], self._references_RD[other]
        distances = [median_distance(embedding_D, known_RD) for embedding_D in others_RD]
        return float(np.mean([likeness_of(distance, self._max_distance) for distance in distances]))

    def _compare(self, face: Face, picture_width: int) -> FaceLikeness:
        distances = {name: median_distance(face.embedding_D, known) for name, known in self._references_RD.items()}
        return FaceLikeness(
            box_xyxy=face.box_xyxy,
            likeness={name: likeness_of(distance, self._max_distance) for name, distance in distances.items()},
            distance=distances,
            width=face.width_pixels / picture_width,
            clear=face.clear,
        )


def likeness_of(distance: float, max_distance: float) -> float:
    """Return the likeness at a distance, 0 to 1; ``max_distance`` is the border, 0.5."""
    return max(0.0, 1.0 - (1.0 - _BORDER) * distance / max_distance)


def median_distance(embedding_D: NDArray[np.float32], known_RD: NDArray[np.float32]) -> float:
    """Return the median of the Euclidean distances to at least one known embedding."""
    return float(np.median(np.linalg.norm(known_RD - embedding_D, axis=1)))


def summarise(pictures: Sequence[DrawnPicture], names: Sequence[str] = (ONLY,)) -> SubjectsSummary:
    """Return the means over several pictures.

    Args:
        pictures: with their faces.
        names: of all subjects.
    """
    return SubjectsSummary(
        whole=_summary_of(pictures, names),
        subjects={name: _summary_of(pictures, [name]) for name in names},
        between=_between(pictures, names),
    )


def _summary_of(pictures: Sequence[DrawnPicture], names: Sequence[str]) -> LikenessSummary:
    """Return the means over every picture, as often as it shows one of the subjects ``names``."""
    likenesses: list[float] = []
    others: list[float] = []
    found: list[FaceLikeness] = []
    for name, picture in itertools.product(names, pictures):
        own = picture.owners.get(name)
        if own is not None:
            found.append(own)
        if name in picture.asked:
            likenesses.append(0.0 if own is None else own.likeness[name])
        if strangers := picture.others(name):
            others.append(strangers[0].likeness[name])
    return LikenessSummary(
        pictures=len(likenesses),
        faces=len(found),
        unclear=sum(not face.clear for face in found),
        subject=_mean(likenesses),
        spread=float(np.std(likenesses)) if len(likenesses) > 1 else None,
        width=_mean([face.width for face in found]),
        others=_mean(others),
        others_pictures=len(others),
    )


def _between(pictures: Sequence[DrawnPicture], names: Sequence[str]) -> dict[tuple[str, str], float]:
    between = {}
    for one, other in itertools.permutations(names, 2):
        faces = [picture.owners[other] for picture in pictures if other in picture.owners]
        if faces:
            between[one, other] = float(np.mean([face.likeness[one] for face in faces]))
    return between


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
