"""What the likeness score gives people of whom one has photos: `python -m tests.benchmarks.likeness FOLDER`.

Photos of one person have one name but for the number at its end: `kyla1.jpg`, `kyla2.jpg`. Every pair of faces is
compared, and again with one of the two photos made smaller, as faces in previews are small. The exit code is 1 where
the border does not tell two clear faces apart.
"""

from __future__ import annotations

import argparse
import itertools
import re
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blissmask.dataset.discover import list_files
from blissmask.dataset.item_keys import IMAGE_SUFFIXES
from blissmask.media.image import read_image
from blissmask.media.overlay import shrink
from blissmask.people.faces.embedded import EmbeddedFaces
from blissmask.people.faces.face_reader import Face
from blissmask.people.subject_likeness import likeness_of

BORDER = 0.5
FACE_WIDTHS = (120, 60, 40, 30)
"""Widths of faces in pixels to which a photo is made smaller; 60 is the least that counts as clear."""


@dataclass(frozen=True, slots=True)
class Known:
    """A photo with one face.

    Attributes:
        name: its file's stem.
        person: the name without its number.
        rgb_HW3: the photo.
        face: the face.
    """

    name: str
    person: str
    rgb_HW3: NDArray[np.uint8]
    face: Face


@dataclass(frozen=True, slots=True)
class Pair:
    """Two faces: whether they are of one person, and how alike they are."""

    names: tuple[str, str]
    same: bool
    clear: bool
    likeness: float


def read_known(folder: Path, reader: EmbeddedFaces) -> list[Known]:
    """Return the photos of a folder that show one face."""
    known = []
    for path in list_files(folder, IMAGE_SUFFIXES):
        rgb_HW3 = read_image(path).rgb_HW3
        faces = reader.faces(rgb_HW3)
        if len(faces) == 1:
            known.append(Known(path.stem, re.sub(r"\d+$", "", path.stem), rgb_HW3, faces[0]))
    return known


def pairs_of(known: Sequence[Known], reader: EmbeddedFaces) -> list[Pair]:
    """Compare every two photos."""
    return [
        _pair(one, two, two.face, clear=one.face.clear and two.face.clear, reader=reader)
        for one, two in itertools.combinations(known, 2)
    ]


def smaller_pairs(known: Sequence[Known], reader: EmbeddedFaces, width: int) -> tuple[list[Pair], int]:
    """Compare every clear photo with every other one made smaller.

    Returns:
        The pairs, and how many of the smaller photos show no face any more.
    """
    pairs, lost = [], 0
    large = [photo for photo in known if photo.face.clear and photo.face.width_pixels > width]
    for two in large:
        scale = width / two.face.width_pixels
        rows, columns = two.rgb_HW3.shape[:2]
        faces = reader.faces(shrink(two.rgb_HW3, (max(1, round(columns * scale)), max(1, round(rows * scale)))))
        if len(faces) != 1:
            lost += 1
            continue
        pairs += [
            _pair(one, two, faces[0], clear=True, reader=reader)
            for one in known
            if one.face.clear and one.name != two.name
        ]
    return pairs, lost


def _pair(one: Known, two: Known, face: Face, *, clear: bool, reader: EmbeddedFaces) -> Pair:
    distance = float(np.linalg.norm(one.face.embedding_D - face.embedding_D))
    likeness = likeness_of(distance, reader.thresholds.max_distance)
    return Pair((one.name, two.name), one.person == two.person, clear, likeness)


def table(known: Sequence[Known], reader: EmbeddedFaces) -> tuple[list[str], bool]:
    """Return the lines of the table, and whether the border tells all clear faces apart."""
    pairs = pairs_of(known, reader)
    clear = [pair for pair in pairs if pair.clear]
    lines = [
        "| faces | pairs | likeness, least | median | most | on the wrong side of 0.5 |",
        "|---|---|---|---|---|---|",
    ]
    lines += _rows("whole photos", clear)
    unclear = [pair for pair in pairs if not pair.clear]
    lines += _rows("small or turned", unclear)
    for width in FACE_WIDTHS:
        smaller, lost = smaller_pairs(known, reader, width)
        lines += _rows(f"one of them {width} pixels wide" + (f", {lost} not found" if lost else ""), smaller)
    return lines, not any(_is_wrong(pair) for pair in clear)


def _rows(name: str, pairs: Sequence[Pair]) -> list[str]:
    lines = []
    for same, who in ((True, "one person"), (False, "strangers")):
        likenesses = [pair.likeness for pair in pairs if pair.same == same]
        if likenesses:
            wrong = sum(_is_wrong(pair) for pair in pairs if pair.same == same)
            middle = statistics.median(likenesses)
            numbers = f"{min(likenesses):.2f} | {middle:.2f} | {max(likenesses):.2f} | {wrong}"
            lines.append(f"| {name}: {who} | {len(likenesses)} | {numbers} |")
    return lines


def _is_wrong(pair: Pair) -> bool:
    return pair.same != (pair.likeness >= BORDER)


def main() -> int:
    """Read the command line, compare, print."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.likeness", description=__doc__.partition("\n")[0] if __doc__ else ""
    )
    parser.add_argument("folder", type=Path, help="photos, each of one person")
    reader = EmbeddedFaces()
    known = read_known(parser.parse_args().folder, reader)
    if not known:
        print("no photo with one face is in the folder", file=sys.stderr)
        return 1
    lines, are_apart = table(known, reader)
    people = len({photo.person for photo in known})
    print(f"{len(known)} photos with one face, {people} people; {reader.identity}\n")
    print("\n".join(lines))
    return int(not are_apart)


if __name__ == "__main__":
    sys.exit(main())
