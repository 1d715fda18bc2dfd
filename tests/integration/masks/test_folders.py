"""`masks`: which folders are read and written, one data set after another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from blissmask.config.model import Config
from blissmask.errors import InputError, UsageError
from blissmask.tasks.masks import retouch
from blissmask.tasks.masks.plan import plan
from blissmask.tasks.masks.run import run
from blissmask.tasks.run.plan import Plan, RunContext
from tests.builders.masks import config, person
from tests.builders.pictures import save, tree

Planning = Callable[[Config], Plan]


def test_without_folders_every_dataset_is_done(folder: Path) -> None:
    save(folder / "more" / "a.png", person((20, 20)))
    data = {
        "datasets": [
            {"image_directory": str(folder / "photos"), "mask_directory": str(folder / "m1")},
            {"image_directory": str(folder / "more"), "mask_directory": str(folder / "m2")},
            {"image_directory": str(folder / "photos"), "mask_directory": str(folder / "m1"), "resolution": 512},
        ]
    }
    made = plan(Config.model_validate(data))
    assert [item.key for item in made.items] == ["photos/a", "photos/b", "more/a"]
    assert run(made, RunContext()).written == 3
    assert (folder / "m2" / "a.png").exists()


def test_missing_captions_are_told_before_the_masks_are_made(folder: Path) -> None:
    (folder / "photos" / "a.txt").write_text("")
    data = {"image_directory": str(folder / "photos"), "mask_directory": str(folder / "m"), "resolution": 32}
    [problem] = plan(Config.model_validate({"datasets": [data]})).warnings
    assert problem.what == "1 item without a caption, and `blissmask cache` will refuse that"
    assert [Path(place).name for place in problem.where] == ["b.webp"]
    assert plan(Config.model_validate({"datasets": [data | {"caption": "a photo"}]})).warnings == []


def test_dataset_without_a_folder_for_masks_is_named(folder: Path) -> None:
    with pytest.raises(UsageError, match="dataset 1 has no `mask_directory`"):
        plan(Config.model_validate({"datasets": [{"image_directory": str(folder / "photos")}]}))


def test_a_folder_of_several_subjects_gets_no_masks_of_everybody(folder: Path) -> None:
    people = [{"name": name, "trigger": name, "references": ["a.jpg"]} for name in ("kyla", "tom")]
    data = {"image_directory": folder / "photos", "mask_directory": folder / "m", "subject": ["kyla", "tom"]}
    with pytest.raises(UsageError, match="dataset 1 takes the masks of several subjects, which `apply` makes"):
        plan(Config.model_validate({"subjects": people, "datasets": [data]}))


@pytest.mark.parametrize("planned", [plan, retouch.plan])
def test_masks_of_everybody_do_not_go_where_apply_puts_those_of_one_person(folder: Path, planned: Planning) -> None:
    applied = {"image_directory": folder / "photos", "mask_directory": folder / "applied" / "kyla"}
    tables = {"apply": {"weighted_masks": folder / "all", "output": folder / "applied"}}
    with pytest.raises(UsageError, match="where `apply` puts those of one person") as caught:
        planned(Config.model_validate({**tables, "datasets": [applied]}))
    [problem] = caught.value.problems
    assert problem.where == (str(folder / "applied" / "kyla"),)
    assert f'`input = "{folder / "photos"}"` and `output = "{folder / "all"}"`' in str(problem.fix)
    # One whose masks are made here is done, and the other one is named.
    save(folder / "more" / "a.png", person((20, 20)))
    own = {"image_directory": folder / "more", "mask_directory": folder / "m", "caption": "a photo", "resolution": 16}
    made = planned(Config.model_validate({**tables, "datasets": [applied, own]}))
    assert [item.output for item in made.items] == [folder / "m" / "a.png"]
    assert made.outputs == (folder / "m",)
    assert [problem.what for problem in made.warnings] == ["data sets whose masks `apply` makes are left out"]
    # Where folders are named, they are meant.
    named = {"input": folder / "photos", "output": folder / "applied" / "kyla"}
    made = planned(Config.model_validate({**tables, "masks": named, "datasets": [applied]}))
    assert made.outputs == (named["output"],)


def test_two_datasets_cannot_share_a_folder_of_masks(folder: Path) -> None:
    shared = {"mask_directory": str(folder / "m")}
    data = {
        "datasets": [
            {"image_directory": str(folder / "photos"), **shared},
            {"image_directory": str(folder / "more"), **shared},
        ]
    }
    with pytest.raises(UsageError, match="share one folder of masks"):
        plan(Config.model_validate(data))


def test_masks_are_never_written_among_the_photos(folder: Path) -> None:
    before = tree(folder)
    with pytest.raises(UsageError, match="the output folder is the folder of photos"):
        plan(config(folder, output=folder / "photos"))
    assert tree(folder) == before


def test_photos_of_one_name_are_refused(folder: Path) -> None:
    save(folder / "photos" / "a.jpg", person())
    with pytest.raises(InputError, match="share one mask"):
        plan(config(folder))
