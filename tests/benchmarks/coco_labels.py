"""Make a folder of labelled photos for `tests.benchmarks.masks` from COCO: `python -m tests.benchmarks.coco_labels JSON PHOTOS OUT`.

    JSON      annotations in COCO's format with polygons, such as person_keypoints_val2017.json
    PHOTOS    the folder with the photos that it names
    OUT       gets photos/, people/ (a number per person) and tiers/ (people are body, since COCO tells no parts)

Left out are photos with crowds, whose people are not outlined one by one, those without people, and those with outlines that are
run-length coded, as OCHuman's are. A pixel belongs to one person here: of two outlines that cover each other the first keeps almost
nothing, and is missed.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from blissmask.masks.tiers import TierTable, WeightTier
from blissmask.media.png import write_png_grey

PERSON = 1
"""COCO's number of the category."""


def numbered_people(size_hw: tuple[int, int], annotations: list[dict[str, Any]]) -> NDArray[np.uint8]:
    """Draw the people of one photo, 0 for nobody and 1, 2, ... in their order; who comes later covers who came before."""
    people_HW = np.zeros(size_hw, np.uint8)
    for number, annotation in enumerate(annotations, start=1):
        polygons = [np.rint(np.reshape(polygon, (-1, 2))).astype(np.int32) for polygon in annotation["segmentation"]]
        cv2.fillPoly(people_HW, polygons, number)
    return people_HW


def convert(annotations: Path, photos: Path, out: Path) -> int:
    """Write the labelled photos; return how many there are."""
    content = json.loads(annotations.read_text(encoding="utf-8"))
    by_photo: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for annotation in content["annotations"]:
        if annotation["category_id"] == PERSON:
            by_photo[annotation["image_id"]].append(annotation)
    for folder in ("photos", "people", "tiers"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    body, written = TierTable().value(WeightTier.BODY), 0
    for photo in content["images"]:
        people = by_photo[photo["id"]]
        name = Path(photo["file_name"]).name
        outlined = all(isinstance(person["segmentation"], list) for person in people)
        if not people or not outlined or not (photos / name).is_file():
            continue
        people_HW = numbered_people((photo["height"], photo["width"]), people)
        shutil.copy(photos / name, out / "photos" / name)
        write_png_grey(out / "people" / f"{Path(name).stem}.png", people_HW)
        write_png_grey(out / "tiers" / f"{Path(name).stem}.png", np.where(people_HW > 0, body, 0).astype(np.uint8))
        written += 1
    return written


def main() -> None:
    """Read the command line, write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("annotations", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    print(f"{convert(arguments.annotations, arguments.photos, arguments.out)} photos")


if __name__ == "__main__":
    main()
