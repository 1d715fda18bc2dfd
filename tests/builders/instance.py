"""People told apart by colour, photos of them, and `instance` runs over them, for the tests of `instance`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from blissmask.config.model import Config
from blissmask.licence import Licence
from blissmask.people.faces.face_reader import Face, Thresholds
from blissmask.people.people_backend import Choice, Person, Verdict
from blissmask.tasks.instance.plan import plan
from blissmask.tasks.instance.run import run
from blissmask.tasks.run.plan import Action, RunContext, Summary

SIZE_WH = (60, 24)
SUBJECT, LOOKALIKE, STRANGER, TURNED_AWAY = 40, 80, 120, 160
"""Red values of the subject, of somebody who might be, of somebody else, and of somebody whose face is not seen."""


class ColourPeople:
    """Finds one person per red value; counts its calls."""

    licence = Licence("Apache-2.0", commercial=True)
    identity = "colours-1"
    thread_safe = False

    def __init__(self) -> None:
        self.calls = 0

    def people(self, rgb_HW3: NDArray[np.uint8]) -> list[Person]:
        self.calls += 1
        masks = [rgb_HW3[..., 0] == value for value in (SUBJECT, LOOKALIKE, STRANGER, TURNED_AWAY)]
        found = [Person(mask, (0, 0, 1, 1), 0.9, partial=bool(mask.sum() < 50)) for mask in masks if mask.any()]
        return sorted(found, key=lambda person: -int(person.mask_HW.sum()))


class ColourIdentity:
    """Knows the subject by its red value."""

    licence = Licence("CC0-1.0", commercial=True)
    identity = "colours-1"
    thread_safe = False

    def embed(self, rgb_HW3: NDArray[np.uint8]) -> list[tuple[tuple[float, float, float, float], NDArray[np.float32]]]:
        return []

    def choose(self, rgb_HW3: NDArray[np.uint8], people: Sequence[Person], *, others: Collection[int] = ()) -> Choice:
        colours = [0 if at in others else int(rgb_HW3[person.mask_HW][0, 0]) for at, person in enumerate(people)]
        if SUBJECT in colours:
            return Choice(Verdict.FOUND, colours.index(SUBJECT), 0.31, 0.4 if len(colours) > 1 else None)
        if LOOKALIKE in colours:
            return Choice(Verdict.UNCERTAIN, colours.index(LOOKALIKE), 0.57, 0.2)
        if STRANGER in colours:
            return Choice(Verdict.ABSENT, None, 0.81, None)
        return Choice(Verdict.NO_FACE, None, None, None)


class ColourFaces:
    """Finds one face per person, whose embedding is the red value: two people are far apart, one person is always the same."""

    licence = Licence("CC0-1.0", commercial=True)
    identity = "colours-1"
    thread_safe = True
    thresholds = Thresholds(max_distance=0.55, uncertain_band=0.05, min_margin=0.10, unclear_tighter=0.10)

    def faces(self, rgb_HW3: NDArray[np.uint8]) -> list[Face]:
        found = []
        for colour in (SUBJECT, STRANGER):
            rows, columns = np.nonzero(rgb_HW3[..., 0] == colour)
            if rows.size:
                box = (float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.min() + 4))
                found.append(Face(box, np.array([colour], np.float32), 100.0))
        return found


def scene(*people: int, offset: int = 0, width: int = 12) -> NDArray[np.uint8]:
    """Return a photo with people as upright bars from the left, each ``width`` wide and 2 apart."""
    rgb = np.zeros((SIZE_WH[1], SIZE_WH[0], 3), dtype=np.uint8)
    for number, colour in enumerate(people):
        left = offset + number * (width + 2)
        rgb[4:, left : left + width] = (colour, 50, 50)
    return rgb


def bar(number: int = 0, *, offset: int = 0, width: int = 12) -> NDArray[np.uint8]:
    return (scene(*[1] * number, 9, offset=offset, width=width)[..., 0] == 9).astype(np.uint8) * 255


def use_people(monkeypatch: pytest.MonkeyPatch) -> ColourPeople:
    """Let every `instance` run of a test find people with this backend."""
    made = ColourPeople()
    monkeypatch.setattr(
        "blissmask.tasks.instance.plan.PEOPLE",
        SimpleNamespace(load=lambda name: SimpleNamespace(backend=lambda options: made)),
    )
    return made


def use_colours(monkeypatch: pytest.MonkeyPatch) -> ColourPeople:
    """Let every `instance` run of a test find people by their colour, and know the subject by it."""
    for module in ("run", "retouch"):
        monkeypatch.setattr(f"blissmask.tasks.instance.{module}.build_identity", lambda *known: (ColourIdentity(), []))
    return use_people(monkeypatch)


def config(folder: Path, **options: object) -> Config:
    given = {"input": folder / "photos", "output": folder / "out", "reference": [folder / "reference.png"], **options}
    return Config.model_validate({"instance": given})


def find(folder: Path, **options: object) -> Summary:
    return run(plan(config(folder, **options)), RunContext(jobs=2))


def lines(folder: Path, **options: object) -> dict[str, tuple[Action, str]]:
    return {item.key: (item.action, item.reason) for item in plan(config(folder, **options)).items}
