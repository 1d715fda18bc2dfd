"""Every benchmark runs at its smallest size and gives its figures, and one command prints them as one table."""

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.benchmarks import __main__ as benchmarks
from tests.benchmarks.__main__ import NAMES
from tests.benchmarks.coco_labels import convert
from tests.benchmarks.masks import labelled_photos
from tests.benchmarks.masks_left_out import THRESHOLDS, ious, leave_one_out
from tests.benchmarks.report import HEADINGS, Row, Size, table
from tests.builders.pictures import save

ROOT = Path(__file__).parents[2]
# What takes photos of one's own, which the repository has none of (likeness, masks); its counting, and the module of the command itself.
NOT_IN_THE_TABLE = {
    "coco_labels",
    "likeness",
    "memory",
    "masks",
    "masks_left_out",
    "masks_scores",
    "things",
    "report",
    "__main__",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_benchmark_gives_its_figures(name: str, warm_python: str, monkeypatch: pytest.MonkeyPatch):
    # Its figures are told and not compared, so its processes need not start anew.
    monkeypatch.setattr(sys, "executable", warm_python)
    rows = importlib.import_module(f"tests.benchmarks.{name}").rows(Size.SMALLEST)
    assert rows
    assert all(row.measured >= 0 for row in rows)
    assert len({row.what for row in rows}) == len(rows)


def test_every_benchmark_is_in_the_table():
    assert {path.stem for path in (ROOT / "tests" / "benchmarks").glob("*.py")} - NOT_IN_THE_TABLE == set(NAMES)


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        (Row("time", 2.0, "s", goal=1.0), "missed"),
        (Row("time", 1.0, "s", goal=1.0), "reached"),
        (Row("gain", 2.0, goal=1.6, more_is_better=True), "reached"),
        (Row("gain", 1.5, goal=1.6, more_is_better=True), "missed"),
        (Row("told", 1.5), ""),
    ],
)
def test_verdict_follows_from_the_goal(row: Row, verdict: str):
    assert row.cells()[-1] == verdict


def test_table_has_one_line_per_row_below_its_headings():
    lines = table([Row("one", 1.0, "s"), Row("a longer one", 0.00001, goal=1e-5)]).splitlines()
    assert tuple(lines[0].split()) == HEADINGS
    assert lines[1].split() == ["one", "1.000", "s"]
    assert lines[2].split() == ["a", "longer", "one", "1e-05", "<=", "1e-05", "1.00", "reached"]


@pytest.mark.slow
def test_one_command_prints_the_machine_and_the_table(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--only", "start_up"])
    monkeypatch.setattr(benchmarks, "Size", SimpleNamespace(QUICK=Size.SMALLEST, FULL=Size.FULL))
    assert benchmarks.main() in (0, 1)
    printed = capsys.readouterr().out
    assert "cores" in printed.splitlines()[0]
    assert "blissmask --help" in printed


def test_coco_annotations_become_labelled_photos(tmp_path: Path):
    square, bar = [[10, 10, 19, 10, 19, 29, 10, 29]], [[15, 5, 39, 5, 39, 14, 15, 14]]
    people = [{"image_id": 1, "category_id": 1, "segmentation": shape} for shape in (square, bar)]
    others = [
        {"image_id": 1, "category_id": 18, "segmentation": [[0, 0, 5, 0, 5, 5]]},
        {"image_id": 2, "category_id": 1, "segmentation": {"size": [30, 40], "counts": "0"}},
    ]
    images = [{"id": number, "file_name": f"{number}.png", "width": 40, "height": 30} for number in (1, 2, 3)]
    annotations = tmp_path / "people.json"
    annotations.write_text(json.dumps({"images": images, "annotations": people + others}), encoding="utf-8")
    for image in images:
        save(tmp_path / "photos" / image["file_name"], np.zeros((30, 40, 3), np.uint8))
    assert convert(annotations, tmp_path / "photos", tmp_path / "out") == 1
    (photo,) = labelled_photos(tmp_path / "out")
    assert photo.people_HW is not None
    assert photo.tiers_HW is not None
    # The second person covers five by five pixels of the first.
    assert [np.count_nonzero(photo.people_HW == number) for number in (0, 1, 2)] == [1200 - 175 - 250, 175, 250]
    assert ((photo.tiers_HW == 1) == (photo.people_HW > 0)).all()


def test_a_photo_is_scored_with_the_threshold_that_the_others_choose():
    ious_VN = np.array([[0.8, 0.8, 0.8], [0.9, 0.9, 0.2], [0.7, 0.7, 0.7]])
    found = leave_one_out(ious_VN, (5.0, 6.0, 7.0))
    # The first two together with the third prefer 5, without it 6.
    assert found.chosen == (5.0, 5.0, 6.0)
    assert found.left_out == pytest.approx((0.8 + 0.8 + 0.2) / 3)
    assert (found.shipped, found.best) == (pytest.approx(0.8), 5.0)


def test_a_threshold_is_tried_with_the_value_that_ships_first_and_has_it_again_afterwards():
    threshold = THRESHOLDS[0]
    shipped = threshold.shipped
    tried = ious([lambda: threshold.shipped, lambda: 2 * threshold.shipped], threshold)
    assert tried[:, 0].tolist() == [shipped, *threshold.others]
    assert (tried[:, 1] == 2 * tried[:, 0]).all()
    assert threshold.shipped == shipped
