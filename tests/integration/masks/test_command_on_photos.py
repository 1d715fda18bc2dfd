"""The two commands that look at photos, with the networks that ship and real photos, one of them spoilt."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from blissmask.config.model import Config
from blissmask.media.image import read_image
from blissmask.media.mask_picture import read_grey
from blissmask.tasks.instance.plan import plan as plan_instance
from blissmask.tasks.instance.run import run as run_instance
from blissmask.tasks.masks.plan import plan as plan_masks
from blissmask.tasks.masks.run import run as run_masks
from blissmask.tasks.run.plan import RunContext
from tests.builders.pictures import save, tree

PHOTOS = Path(__file__).parents[2] / "photos"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, object]:
    """Mask the four photos and a truncated one, with an HTML sheet."""
    folder = tmp_path_factory.mktemp("masked")
    shutil.copytree(
        PHOTOS, folder / "photos", ignore=lambda _, names: [name for name in names if not name.endswith(".png")]
    )
    (folder / "photos" / "broken.png").write_bytes((PHOTOS / "astronaut.png").read_bytes()[:50_000])
    options = {"input": folder / "photos", "output": folder / "masks", "sheet": folder / "sheet.html"}
    config = Config.model_validate({"masks": options})
    return folder, run_masks(plan_masks(config), RunContext(jobs=2))


def test_astronaut_has_face_hair_and_body_where_they_are(masked: tuple[Path, object]) -> None:
    grey = read_grey(masked[0] / "masks" / "astronaut.png")
    assert grey[110, 220] == 255
    assert grey[40, 220] == 80
    assert grey[350, 200] == 128
    assert grey[30, 460] == 0
    assert set(np.unique(grey)) == {0, 80, 128, 255}


def test_cat_and_cup_are_named_as_photos_without_a_person(masked: tuple[Path, object]) -> None:
    assert masked[1].details["without_person"] == ["chelsea", "coffee"]


def test_truncated_photo_costs_one_item(masked: tuple[Path, object]) -> None:
    assert [failure.key for failure in masked[1].failures] == ["broken"]
    assert masked[1].written == 4


def test_sheet_shows_all_and_what_needs_a_look_first(masked: tuple[Path, object]) -> None:
    page = (masked[0] / "sheet.html").read_text()
    assert page.index("chelsea.png") < page.index("astronaut.png")


def test_only_the_subject_of_a_group_is_masked_and_a_stranger_is_refused(tmp_path: Path) -> None:
    astronaut, man = (read_image(PHOTOS / f"{name}.png").rgb_HW3 for name in ("astronaut", "camera"))
    save(tmp_path / "photos" / "group.png", np.hstack([man, astronaut]))
    save(tmp_path / "photos" / "stranger.png", man)
    # Another picture of the same person: closer, mirrored and darker.
    reference = save(tmp_path / "reference.png", cv2.convertScaleAbs(astronaut[:300, 80:380][:, ::-1], alpha=0.8))
    options = {"input": tmp_path / "photos", "output": tmp_path / "out", "reference": [reference]}
    config = Config.model_validate({"instance": options})
    summary = run_instance(plan_instance(config), RunContext(jobs=2))
    assert summary.details["verdicts"]["found"] == 1
    group = read_grey(tmp_path / "out" / "group.png") > 0
    assert group[110, 512 + 220]
    assert not group[:, :500].any()
    assert not read_grey(tmp_path / "out" / "stranger.png").any()
    before = tree(tmp_path / "out")
    run_instance(plan_instance(config), RunContext())
    assert tree(tmp_path / "out") == before
