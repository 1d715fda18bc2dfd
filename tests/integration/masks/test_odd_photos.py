"""`masks` remarks on photos that train badly: their sizes before the work, the rest as it sees them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blissmask.config.model import Config
from blissmask.media import picture_file
from blissmask.tasks.masks.plan import plan
from blissmask.tasks.masks.run import run
from blissmask.tasks.run.plan import RunContext
from tests.builders.masks import config, make
from tests.builders.pictures import random_rgb, save

PHOTOS = Path(__file__).parents[2] / "photos"


def odd(summary) -> dict[str, list[str]]:
    return {Path(path).name: shorts for path, shorts in summary.details["odd_photos"].items()}


def test_usual_photos_are_not_remarked_on(folder: Path) -> None:
    assert plan(config(folder)).warnings == []
    assert odd(make(folder)) == {}


@pytest.mark.parametrize(
    ("keys", "short", "what"),
    [
        ({}, "enlarged 3.2 times", "enlarged more than twice"),
        ({"enable_bucket": True, "bucket_no_upscale": True}, "thumbnail?", "as thumbnails are"),
    ],
)
def test_small_photos_are_told_in_the_plan_by_the_training_size_of_their_data_set(
    folder: Path, keys: dict[str, object], short: str, what: str
) -> None:
    data = {"image_directory": folder / "photos", "mask_directory": folder / "masks", "caption": "a", **keys}
    save(folder / "photos" / "large.png", random_rgb((160, 120), seed=1))
    made = plan(Config.model_validate({"datasets": [data | {"resolution": [128, 96]}]}))
    (problem,) = made.warnings
    assert what in problem.what
    assert [Path(place.partition(":")[0]).name for place in problem.where] == ["a.png", "b.webp"]
    assert {remark.short for remark in made.remarks} == {short}


def test_photos_of_no_data_set_are_small_beside_the_megapixel_of_the_starters(folder: Path) -> None:
    alone = Config.model_validate({"masks": {"input": folder / "photos", "output": folder / "masks"}})
    made = plan(alone)
    assert {remark.short for remark in made.remarks} == {"enlarged 29.6 times"}
    # There is no `resolution` yet that could be set.
    (problem,) = made.warnings
    assert "for 1024x1024, a usual training size" in problem.what
    assert "the configuration that `blissmask --starter person` writes" in problem.fix


def test_a_folder_is_known_by_any_path_and_another_one_has_the_size_of_the_first_data_set(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    first = {"image_directory": "more", "caption": "a", "resolution": 64}
    own = {"image_directory": "photos", "caption": "a", "resolution": 32}

    def remarks(name: str) -> list[str]:
        data = {"masks": {"input": folder / name, "output": folder / "masks"}, "datasets": [first, own]}
        return [remark.short for remark in plan(Config.model_validate(data)).remarks]

    assert remarks("photos") == []
    save(folder / "others" / "c.png", random_rgb((16, 16), seed=1))
    assert remarks("others") == ["enlarged 4.0 times"]


def test_a_wrong_data_set_is_for_cache_to_refuse(folder: Path) -> None:
    data = {"image_directory": folder / "photos", "mask_directory": folder / "masks", "caption": "a"}
    assert plan(Config.model_validate({"datasets": [data | {"resolution": [100, 75]}]})).remarks == []


def test_the_same_photo_and_one_on_its_side_are_told_by_every_run_and_shown_in_the_sheet(folder: Path) -> None:
    photos, sheet = folder / "photos", folder / "sheet.html"
    portrait = Image.open(PHOTOS / "astronaut.png").convert("RGB").resize((256, 256))
    upright = np.asarray(portrait)
    save(photos / "side.png", np.ascontiguousarray(np.rot90(upright)))
    Image.open(PHOTOS / "chelsea.png").convert("RGB").save(photos / "cat.png")
    Image.open(PHOTOS / "chelsea.png").convert("RGB").resize((200, 133)).save(photos / "cat2.jpg", quality=70)
    first = make(folder)
    assert odd(first) == {"side.png": ["on its side?"], "cat2.jpg": ["as cat.png"]}
    assert {place for problem in first.warnings for place in problem.where} >= {
        str(photos / "side.png"),
        f"{photos / 'cat2.jpg'}: as {photos / 'cat.png'}",
    }
    again = make(folder, sheet=sheet)
    assert (again.written, odd(again)) == (0, odd(first))
    facts = sheet.read_text().partition("id=sheet>")[2].partition("</script>")[0]
    shown = {item["name"]: item["remarks"] for item in json.loads(facts)["items"]}
    assert "on its side?" in shown["side.png"]
    assert "as cat.png" in shown["cat2.jpg"]
    assert shown["a.png"] == shown["b.webp"]


def test_a_photo_of_two_data_sets_is_no_copy_of_itself(folder: Path) -> None:
    Image.open(PHOTOS / "chelsea.png").convert("RGB").resize((96, 64)).save(folder / "photos" / "cat.png")
    sets = [{"image_directory": folder / "photos", "mask_directory": folder / name, "caption": "a"} for name in "mn"]
    made = plan(Config.model_validate({"general": {"resolution": 64}, "datasets": sets}))
    summary = run(made, RunContext())
    assert (summary.written, odd(summary).get("cat.png")) == (6, None)


def test_a_photo_that_exif_turns_is_not_taken_for_one_on_its_side(folder: Path) -> None:
    portrait = np.asarray(Image.open(PHOTOS / "astronaut.png").convert("RGB").resize((256, 256)))
    lying = np.ascontiguousarray(np.rot90(portrait))
    # EXIF 3 turns it by half, from one side onto the other.
    save(folder / "photos" / "side.png", lying, orientation=3)
    assert odd(make(folder)) == {}


def test_each_photo_is_decoded_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []
    load = picture_file.OpenedPicture.load
    monkeypatch.setattr(picture_file.OpenedPicture, "load", lambda self: decoded.append(self.path.name) or load(self))
    make(folder)
    assert sorted(decoded) == ["a.png", "b.webp"]
