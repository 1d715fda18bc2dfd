"""A backend that reads the labels off the colours, photos for it, and `masks` runs over them, for the tests of `masks`."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from blissmask.config.model import Config
from blissmask.licence import Licence
from blissmask.masks.tiers import WeightTier
from blissmask.parsing.parts_backend import Parsed
from blissmask.tasks.masks.plan import plan
from blissmask.tasks.masks.run import run
from blissmask.tasks.run.plan import Action, RunContext, Summary
from tests.builders.pictures import save, write_video

CLASSES = ("nothing", "face-skin", "hair", "clothes")


class ColourBackend:
    """Takes the red value of a pixel for its class number; counts its calls."""

    classes = CLASSES
    tiers: Mapping[str, WeightTier] = dict(
        zip(CLASSES, (WeightTier.BACKGROUND, WeightTier.FACE, WeightTier.HAIR, WeightTier.BODY), strict=True)
    )
    licence = Licence("CC-BY-NC-4.0", commercial=False)
    identity = "colours-1"
    thread_safe = False
    in_front: float | None = None

    def __init__(self) -> None:
        self.calls, self.at_once, self.most_at_once = 0, 0, 0
        self.guard = threading.Lock()
        self.meeting: threading.Barrier | None = None

    def parse(self, rgbs_HW3: Sequence[NDArray[np.uint8]]) -> list[Parsed]:
        with self.guard:
            self.calls += len(rgbs_HW3)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        if self.meeting is not None:
            self.meeting.wait()
        labels = [np.where(rgb[..., 0] < 4, rgb[..., 0], 0).astype(np.uint8) for rgb in rgbs_HW3]
        found = [
            Parsed(label, people=int(label.any()), faces=int((label == 1).any()), in_front=self.in_front)
            for label in labels
        ]
        with self.guard:
            self.at_once -= 1
        return found


def use_colours(monkeypatch: pytest.MonkeyPatch) -> ColourBackend:
    """Let every `masks` run of a test use this backend."""
    made = ColourBackend()
    registry = SimpleNamespace(load=lambda name: SimpleNamespace(backend=lambda options: made))
    monkeypatch.setattr("blissmask.tasks.masks.plan.PARSING", registry)
    return made


def person(size_wh: tuple[int, int] = (40, 30), *, face: bool = True) -> NDArray[np.uint8]:
    """Return a photo for the backend: hair above face above clothes in the left half."""
    width, height = size_wh
    rgb = np.full((height, width, 3), (200, 90, 30), dtype=np.uint8)
    rgb[:, : width // 2] = (3, 90, 30)
    if face:
        rgb[: height // 3, : width // 2] = (2, 90, 30)
        rgb[height // 3 : height // 2, : width // 2] = (1, 90, 30)
    return rgb


def in_other_light(rgb_HW3: NDArray[np.uint8], green: int, blue: int) -> NDArray[np.uint8]:
    """Return a photo that the backend sees as the same, and nobody takes for the same file twice."""
    return rgb_HW3 + np.array([0, green, blue], np.uint8)


def expected(size_wh: tuple[int, int] = (40, 30)) -> NDArray[np.uint8]:
    return np.array([0, 255, 80, 128], dtype=np.uint8)[
        np.where(person(size_wh)[..., 0] < 4, person(size_wh)[..., 0], 0)
    ]


def config(folder: Path, *, force: bool = False, **options: object) -> Config:
    return Config.model_validate(
        {
            "general": {"resolution": 32},
            "masks": {"input": folder / "photos", "output": folder / "masks", **options},
            "run": {"force": force},
        }
    )


def make(folder: Path, *, jobs: int = 2, force: bool = False, **options: object) -> Summary:
    return run(plan(config(folder, force=force, **options)), RunContext(jobs=jobs))


def lines(folder: Path, **options: object) -> dict[str, tuple[Action, str]]:
    return {item.key: (item.action, item.reason) for item in plan(config(folder, **options)).items}


def two_photos(folder: Path) -> Path:
    """Write a PNG and a WebP of the person, in other light."""
    save(folder / "photos" / "a.png", person())
    save(folder / "photos" / "b.webp", in_other_light(person(), 120, 120), lossless=True)
    return folder


def clip(folder: Path, count: int = 5) -> Path:
    """Write a clip in which the person stands farther left in every frame."""
    frames = [np.roll(person((48, 32)), -2 * number, axis=1) for number in range(count)]
    return write_video(folder / "photos" / "clip.avi", frames)
