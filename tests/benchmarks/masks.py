"""Score a mask backend, an instance backend and the embedded identity on your own labelled photos.

    python -m tests.benchmarks.masks FOLDER [--masks embedded] [--people embedded]

    FOLDER/photos/NAME.jpg       the photos; .png and .webp too
    FOLDER/tiers/NAME.png        optional: 8-bit truth, face 255, body 128, hair 80, background 0 (what `blissmask masks` writes)
    FOLDER/people/NAME.png       optional: 8-bit truth, 0 for nobody and another number for each person
    FOLDER/subjects.csv          optional: columns photo, reference, person; the reference is a photo relative to FOLDER, the person is
                                 the number in the truth, 0 when the subject is not in the photo

Prints one table: IoU and confusion of the tiers, person IoU, IoU per person and how many were found at 0.5, leak rate (share of the bystanders'
pixels that the subject's mask takes), subject recall (share of the subject's pixels it keeps), identity accuracy, abstain rate, and the time
per photo with the machine. Times are those of a warm process, photos one after the other.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from blissmask.config.sections.mask_sections import InstanceSection, MasksSection
from blissmask.masks.tiers import TIERS, TierTable
from blissmask.media.image import read_image
from blissmask.media.mask_picture import read_grey
from blissmask.parsing.parts_backend import PARSING, PartsBackend
from blissmask.people.face_identity import FaceIdentity, Reference, read_references
from blissmask.people.faces.embedded import EmbeddedFaces
from blissmask.people.people_backend import PEOPLE, PeopleBackend, Verdict
from tests.benchmarks.masks_scores import TIER_NAMES, PeopleScore, SubjectScore, TierScore

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
Result = TypeVar("Result")


@dataclass(frozen=True)
class Labelled:
    """One photo and what is known about it; the truths are None where there is no file."""

    name: str
    rgb_HW3: NDArray[np.uint8]
    tiers_HW: NDArray[np.uint8] | None
    people_HW: NDArray[np.uint8] | None


class Clock:
    """Collects how long each call took, in seconds."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def time(self, work: Callable[[], Result]) -> Result:
        started = time.perf_counter()
        result = work()
        self.seconds.append(time.perf_counter() - started)
        return result

    def __str__(self) -> str:
        # The first photo also loads the networks.
        warm = self.seconds[1:] or self.seconds
        return f"median {statistics.median(warm):.2f} s, slowest {max(warm):.2f} s, {len(self.seconds)} photos"


def labelled_photos(folder: Path) -> Iterator[Labelled]:
    """Read photo after photo with its truths."""
    for path in sorted(folder.joinpath("photos").iterdir()):
        if path.suffix.lower() not in SUFFIXES:
            continue
        tiers, people = (folder / kind / f"{path.stem}.png" for kind in ("tiers", "people"))
        yield Labelled(
            path.name,
            read_image(path).rgb_HW3,
            tier_numbers(read_grey(tiers)) if tiers.exists() else None,
            read_grey(people) if people.exists() else None,
        )


def tier_numbers(grey_HW: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Turn 8-bit tier values into positions in ``TIER_NAMES``; a value between two tiers takes the nearest."""
    values = np.array([TierTable().value(tier) for tier in TIERS])
    nearest = np.abs(np.arange(256)[:, None] - values).argmin(axis=1).astype(np.uint8)
    return nearest[grey_HW]


def score_masks(photos: Sequence[Labelled], backend: PartsBackend) -> list[str]:
    """Return the lines about tiers."""
    score, clock = TierScore(), Clock()
    numbers = np.array([TIERS.index(backend.tiers[name]) for name in backend.classes], np.uint8)
    for photo in photos:
        parsed = clock.time(lambda rgb=photo.rgb_HW3: backend.parse([rgb])[0])
        if photo.tiers_HW is not None:
            score.add(photo.tiers_HW, numbers[parsed.labels_HW])
    lines = [f"masks time           {clock}"]
    if score.person_ious:
        lines.append(
            f"person IoU           mean {statistics.mean(score.person_ious):.3f}, worst {min(score.person_ious):.3f}"
        )
        lines.append(
            "tier IoU             "
            + "  ".join(f"{n} {v:.3f}" for n, v in zip(TIER_NAMES, score.tier_ious(), strict=True))
        )
        lines += confusion_lines(score)
    return lines


def confusion_lines(score: TierScore) -> list[str]:
    """Return the confusion as shares of each true tier."""
    shares = score.confusion / np.maximum(score.confusion.sum(axis=1, keepdims=True), 1)
    head = "tier confusion       " + "".join(f"{name:>12}" for name in TIER_NAMES)
    rows = [
        f"  truth {name:<13}" + "".join(f"{share:12.3f}" for share in row)
        for name, row in zip(TIER_NAMES, shares, strict=True)
    ]
    return [head, *rows]


def score_people(photos: Sequence[Labelled], folder: Path, backend: PeopleBackend) -> list[str]:
    """Return the lines about people and subjects."""
    people, subjects, clock, searching = PeopleScore(), SubjectScore(), Clock(), Clock()
    searches = read_searches(folder)
    for photo in photos:
        found = clock.time(lambda rgb=photo.rgb_HW3: backend.people(rgb))
        if photo.people_HW is None:
            continue
        people.add(photo.people_HW, [person.mask_HW for person in found])
        for identity, number in searches.get(photo.name, []):
            choice = searching.time(lambda who=identity, rgb=photo.rgb_HW3, all_=found: who.choose(rgb, all_))
            mask = None if choice.person is None else found[choice.person].mask_HW
            subjects.add(photo.people_HW, number, mask, uncertain=choice.verdict is Verdict.UNCERTAIN)
    lines = [f"people time          {clock}"]
    if people.ious:
        lines.append(
            f"IoU per person       mean {statistics.mean(people.ious):.3f}, median {statistics.median(people.ious):.3f}"
        )
        lines.append(f"found at IoU 0.5     {people.found} of {len(people.ious)}")
    return lines + subject_lines(subjects)


def subject_lines(score: SubjectScore) -> list[str]:
    """Return the lines about searches; none when there were none."""
    if not score.searches:
        return []
    return [
        f"identity accuracy    {score.right} of {score.searches}; wrong {score.wrong}, missed {score.missed}",
        f"abstain rate         {score.abstained / score.searches:.3f}",
        f"subject recall       {score.kept_pixels / max(score.subject_pixels, 1):.3f}",
        f"leak rate            {score.leaked_pixels / max(score.bystander_pixels, 1):.4f}",
    ]


def read_searches(folder: Path) -> dict[str, list[tuple[FaceIdentity, int]]]:
    """Return who is to be looked for in each photo: identity and true number."""
    path = folder / "subjects.csv"
    if not path.exists():
        return {}
    reader = EmbeddedFaces()
    searches: dict[str, list[tuple[FaceIdentity, int]]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            rgb = read_image(folder / row["reference"]).rgb_HW3
            faces = read_references(reader, [Reference(row["reference"], rgb)])
            identity = FaceIdentity(reader, [face.embedding_D for face in faces])
            searches.setdefault(row["photo"], []).append((identity, int(row["person"])))
    return searches


def main() -> None:
    """Read the command line, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--masks", default="embedded", help="mask backend")
    parser.add_argument("--people", default="embedded", help="instance backend")
    arguments = parser.parse_args()
    photos = list(labelled_photos(arguments.folder))
    parts = PARSING.load(arguments.masks).backend(MasksSection(backend=arguments.masks))
    people = PEOPLE.load(arguments.people).backend(InstanceSection(backend=arguments.people))
    print(f"machine              {platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"backends             masks {parts.identity}, people {people.identity}")
    print("\n".join(score_masks(photos, parts) + score_people(photos, arguments.folder, people)))


if __name__ == "__main__":
    main()
