"""How much weight things get that are no people: `python -m tests.benchmarks.masks_precision [--out FOLDER]`.

Things with known outlines are put beside, behind, between, in front of and far from the people of `tests/photos`, and bars around
the photos. Printed are the share of thing and bar pixels that get a weight, and the person IoU of the same pictures. `--out` writes
every picture beside its mask, worst first by name.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from blissmask.config.sections.mask_sections import MasksSection
from blissmask.masks.tiers import WeightTier
from blissmask.media.image import read_image
from blissmask.media.mask_picture import read_grey
from blissmask.parsing.parts_backend import PARSING
from blissmask.tasks.masks.maker import MaskMaker
from tests.benchmarks.masks_scores import iou
from tests.benchmarks.report import Row, Size, machine, table
from tests.benchmarks.things import PLACES, Scene, scenes

PHOTOS = Path(__file__).parents[1] / "photos"
NAMES = ("astronaut", "camera")
COUNT = {Size.SMALLEST: 2, Size.QUICK: 30, Size.FULL: 120}
BARRED = {Size.SMALLEST: 1, Size.QUICK: None, Size.FULL: None}
SEED = 3
"""Of the scenes. The numbers of `blissmask/vision/reach.py` were chosen on other photos; both of these were looked at, too."""

BARS = ((64, 64, 0, 0), (0, 0, 96, 96), (40, 120, 60, 20))
"""Letterbox, pillarbox and canvas: top, bottom, left, right in pixels of 512."""


@dataclass(frozen=True)
class Scored:
    """One picture and its figures: share of thing pixels with weight, IoU of the people."""

    scene: Scene
    grey_HW: NDArray[np.uint8]

    @property
    def leak(self) -> float:
        return float((self.grey_HW[self.scene.thing_HW] > 0).mean()) if self.scene.thing_HW.any() else 0.0

    @property
    def person_iou(self) -> float:
        return iou((self.grey_HW > 0) & ~self.scene.thing_HW, self.scene.person_HW)


def people() -> list[tuple[NDArray[np.uint8], NDArray[np.bool_]]]:
    """Return the photos and the outlines of their people, which were drawn over masks of blissmask and corrected."""
    return [
        (read_image(PHOTOS / f"{name}.png").rgb_HW3, read_grey(PHOTOS / "people" / f"{name}.png") > 0) for name in NAMES
    ]


def barred() -> Iterator[Scene]:
    """Yield the photos inside bars; the bars are the things."""
    for rgb_HW3, person_HW in people():
        for top, bottom, left, right in BARS:
            sides = ((top, bottom), (left, right))
            yield Scene(
                name="bars",
                rgb_HW3=np.pad(rgb_HW3, (*sides, (0, 0))),
                thing_HW=~np.pad(np.ones_like(person_HW), sides),
                person_HW=np.pad(person_HW, sides),
            )


def score(pictures: Iterator[Scene]) -> list[Scored]:
    """Make the mask of every picture as `blissmask masks` does."""
    options = MasksSection()
    backend = PARSING.load("embedded").backend(options)
    maker = MaskMaker(backend, [WeightTier(backend.tiers[name]) for name in backend.classes], options)
    return [Scored(scene, maker.make(scene.rgb_HW3)[0]) for scene in pictures]


def rows(size: Size, out: Path | None = None) -> list[Row]:
    """Return the shares of things and bars with weight, by place, and the person IoU."""
    things = score(scenes(people(), count=COUNT[size], seed=SEED))
    bars = score(itertools.islice(barred(), BARRED[size]))
    if out is not None:
        write_pictures([*things, *bars], out)
    found = [
        Row("masks, thing pixels with weight", pooled(things), goal=0.02),
        Row("masks, bar pixels with weight", pooled(bars), goal=0.001),
        Row("masks, person IoU beside things, mean", float(np.mean([one.person_iou for one in things])), goal=0.9,
            more_is_better=True),
        Row("masks, person IoU inside bars, mean", float(np.mean([one.person_iou for one in bars])), goal=0.9,
            more_is_better=True),
    ]  # fmt: skip
    for place in PLACES:
        here = [one for one in things if f" {place}," in one.scene.name]
        if here:
            found.append(Row(f"masks, things {place} with weight", pooled(here)))
    return found


def pooled(scored: list[Scored]) -> float:
    """Return the share of all thing pixels that have a weight."""
    pixels = sum(np.count_nonzero(one.scene.thing_HW) for one in scored)
    return float(sum(one.leak * np.count_nonzero(one.scene.thing_HW) for one in scored) / max(pixels, 1))


def write_pictures(scored: list[Scored], folder: Path) -> None:
    """Write every picture beside its mask."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, one in enumerate(scored):
        mask = cv2.applyColorMap(one.grey_HW, cv2.COLORMAP_VIRIDIS)
        photo = cv2.cvtColor(one.scene.rgb_HW3, cv2.COLOR_RGB2BGR)
        name = f"{1 - one.leak:.3f}-{number:03}-{one.scene.name.replace(' ', '-').replace(',', '')}.png"
        cv2.imwrite(str(folder / name), np.concatenate([photo, mask], axis=1))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder for the pictures and their masks")
    parser.add_argument("--size", type=Size, choices=list(Size), default=Size.QUICK)
    arguments = parser.parse_args()
    print(machine())
    print(table(rows(arguments.size, arguments.out)))


if __name__ == "__main__":
    main()
