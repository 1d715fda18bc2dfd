"""Say how far thresholds depend on the photos they were chosen on: `python -m tests.benchmarks.masks_left_out FOLDER`.

FOLDER holds labelled photos as `tests.benchmarks.masks` reads them. For each photo a threshold is chosen by the mean person IoU of
all others, and then scored on the photo that was left out. Printed are the value that ships and its mean IoU, the best value of all
photos, the mean of the photos left out, and which values were chosen. The networks run once a photo, so this takes little longer
than making its masks. Edges are not sharpened here, which lowers every IoU by about as much.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import cast
from unittest.mock import patch

import cv2
import numpy as np
from numpy.typing import NDArray

from blissmask.vision import evidence, reach
from blissmask.vision.class_map import ClassMap, map_classes
from blissmask.vision.photo import Photo
from blissmask.vision.scene import Scene, scene_of
from blissmask.vision.selfie_multiclass import BACKGROUND
from tests.benchmarks.masks import Labelled, labelled_photos
from tests.benchmarks.masks_scores import iou

BACKGROUND_TIER = 3
"""Position in `TIER_NAMES`."""


@dataclass(frozen=True)
class Threshold:
    """A constant of a module and the values that are tried besides the one it has."""

    module: ModuleType
    name: str
    others: tuple[float, ...]

    @property
    def shipped(self) -> float:
        return float(getattr(self.module, self.name))

    @property
    def values(self) -> tuple[float, ...]:
        return (self.shipped, *self.others)


THRESHOLDS = (
    Threshold(evidence, "BODY_DOUBTED", (0.15, 0.25, 0.45, 0.55, 0.65)),
    Threshold(evidence, "BODY_CERTAIN", (0.45, 0.6, 0.9, 0.98)),
    Threshold(evidence, "MOST_MOVED", (0.6, 0.75, 0.85)),
    Threshold(evidence, "PLAIN_DOUBTED", (0.85, 0.88, 0.914)),
    Threshold(evidence, "STRONG_LOGIT", (0.0, 30.0, 90.0, 120.0)),
    Threshold(reach, "BODY_REACH", (0.0, 0.01, 0.02, 0.05, 0.1)),
    Threshold(reach, "HEAD_SIDE", (1.8, 2.2, 3.2)),
)
"""What decides between person and background; of the others most move an edge or a tier."""


@dataclass(frozen=True)
class LeftOut:
    """What choosing on the other photos gives.

    Attributes:
        shipped, left_out: mean IoU with the value that ships, and of the photos with the values chosen without them.
        best: the value with the highest mean over all photos.
        chosen: the value chosen without each photo.
    """

    shipped: float
    left_out: float
    best: float
    chosen: tuple[float, ...]


def leave_one_out(ious_VN: NDArray[np.float64], values: Sequence[float]) -> LeftOut:
    """Choose a value for each photo on the other photos.

    Args:
        ious_VN: IoU by value and photo; the first value is the one that ships, and wins where several are equal. N > 1.
        values: the V values.
    """
    total_V = ious_VN.sum(axis=1)
    chosen_N = (total_V[:, None] - ious_VN).argmax(axis=0)
    left_out = ious_VN[chosen_N, np.arange(ious_VN.shape[1])].mean()
    chosen = tuple(values[index] for index in chosen_N)
    return LeftOut(float(ious_VN[0].mean()), float(left_out), values[int(total_V.argmax())], chosen)


def scorer(photo: Labelled) -> Callable[[], float]:
    """Return a function that gives the person IoU of a photo with the thresholds of the moment."""
    seen = Photo(photo.rgb_HW3)
    scene = scene_of(seen)
    class_map = map_classes(seen, scene)
    person_HW = photo.tiers_HW != BACKGROUND_TIER
    truth_hw = cv2.resize(person_HW.astype(np.uint8), class_map.size_wh, interpolation=cv2.INTER_NEAREST) > 0
    return lambda: _person_iou(class_map, scene, truth_hw)


def _person_iou(class_map: ClassMap, scene: Scene, truth_hw: NDArray[np.bool_]) -> float:
    joined = evidence.join_bodies(class_map, scene)
    return iou(joined.probabilities_hwC[..., BACKGROUND] < 0.5, truth_hw)


def ious(scorers: Sequence[Callable[[], float]], threshold: Threshold) -> NDArray[np.float64]:
    """Return the IoU by value and photo."""
    rows = []
    for value in threshold.values:
        with patch.object(threshold.module, threshold.name, value):
            rows.append([score() for score in scorers])
    return np.array(rows)


def lines(photos: Sequence[Labelled]) -> list[str]:
    """Return the table."""
    scorers = [scorer(photo) for photo in photos if photo.tiers_HW is not None]
    head = f"{'threshold':<24}{'ships':>7}{'IoU':>8}{'best':>7}{'left out':>10}  chosen without each photo"
    rows = [head]
    for threshold in THRESHOLDS:
        found = leave_one_out(ious(scorers, threshold), threshold.values)
        name = f"{threshold.module.__name__.rpartition('.')[2]}.{threshold.name}"
        chosen = " ".join(f"{value:g}" for value in found.chosen)
        rows.append(
            f"{name:<24}{threshold.shipped:>7g}{found.shipped:>8.3f}{found.best:>7g}{found.left_out:>10.3f}  {chosen}"
        )
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    photos = list(labelled_photos(cast(Path, parser.parse_args().folder)))
    print("\n".join(lines(photos)))


if __name__ == "__main__":
    main()
