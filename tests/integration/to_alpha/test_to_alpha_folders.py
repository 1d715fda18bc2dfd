"""`to-alpha`: which folders it takes from the data sets, masks beside their photos, and where captions go."""

from __future__ import annotations

from pathlib import Path

import pytest

from blissmask.config.model import Config
from blissmask.dataset.captions.caption_file import caption_path
from blissmask.errors import UsageError
from blissmask.media.image import read_image
from blissmask.tasks.mask_files.output_notes import FRESH
from blissmask.tasks.run.plan import Action, RunContext, Summary
from blissmask.tasks.to_alpha.plan import AlphaPlan, plan
from blissmask.tasks.to_alpha.run import run
from tests.builders.pictures import half_mask, mask_folder, photo_folder, save, tier_mask


def config(folder: Path, **options: object) -> Config:
    folders = {
        "image_directory": folder / "photos",
        "mask_directory": folder / "masks",
        "output_directory": folder / "rgba",
    }
    return Config.model_validate({"to_alpha": {**folders, **options}})


def convert(folder: Path, **options: object) -> Summary:
    return run(plan(config(folder, **options)), RunContext())


def decision(folder: Path) -> tuple[Action, str]:
    (item,) = plan(config(folder)).items
    return item.action, item.reason


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    photo_folder(tmp_path / "photos", ["Kyla.png"])
    mask_folder(tmp_path / "masks", ["Kyla.png"])
    return tmp_path


@pytest.mark.parametrize("name", ["kyla.TXT", "KYLA.txt", "Kyla.txt"])
def test_caption_stands_where_cache_looks_for_it(folder: Path, name: str) -> None:
    (folder / "photos" / name).write_text("one")
    convert(folder)
    assert sorted(path.name for path in (folder / "rgba").iterdir()) == ["Kyla.png", "Kyla.txt"]
    assert caption_path(folder / "rgba" / "Kyla.png", ".txt").read_text() == "one"


def test_caption_ends_as_the_configuration_says(folder: Path) -> None:
    (folder / "photos" / "Kyla.Caption").write_text("one")
    convert(folder, caption_extension=".caption")
    assert (folder / "rgba" / "Kyla.caption").read_text() == "one"


def test_caption_that_was_removed_is_copied_again(folder: Path) -> None:
    (folder / "photos" / "kyla.txt").write_text("one")
    convert(folder)
    assert decision(folder) == (Action.SKIP, FRESH)
    (folder / "rgba" / "Kyla.txt").unlink()
    assert decision(folder) == (Action.WRITE, "48x32, the caption is missing")
    convert(folder)
    assert (folder / "rgba" / "Kyla.txt").read_text() == "one"


@pytest.mark.parametrize("place", ["photos", "masks/../photos", "link"])
def test_photos_are_not_taken_for_their_own_masks(folder: Path, place: str) -> None:
    (folder / "link").symlink_to(folder / "photos")
    with pytest.raises(UsageError, match="the mask folder is the folder of the photos") as caught:
        plan(config(folder, mask_directory=folder / place))
    assert (
        caught.value.problems[0].fix
        == "each would be its own mask; name the folder that `blissmask masks` or `apply` wrote"
    )


def test_masks_of_onetrainer_lie_beside_their_photos(folder: Path) -> None:
    save(folder / "photos" / "Kyla-masklabel.png", half_mask())
    photo_folder(folder / "photos", ["other.png"])
    made = plan(config(folder, mask_directory=folder / "photos"))
    assert [(item.key, item.action) for item in made.items] == [("Kyla", Action.WRITE), ("other", Action.FAIL)]
    assert [problem.what for problem in made.warnings] == ["1 image has no matching mask file"]
    run(made, RunContext())
    assert (read_image(folder / "rgba" / "Kyla.png").alpha_HW == half_mask()).all()


def of_datasets(folder: Path, *names: str, **options: object) -> AlphaPlan:
    """Plan with a data set for each name, whose masks are in ``NAME_masks``."""
    for name in names:
        photo_folder(folder / name, [f"{name}.png"])
        save(folder / f"{name}_masks" / f"{name}.png", tier_mask())
    datasets = [
        {"image_directory": str(folder / name), "mask_directory": str(folder / f"{name}_masks")} for name in names
    ]
    return plan(
        Config.model_validate({"datasets": datasets, "to_alpha": {"output_directory": folder / "rgba", **options}})
    )


def test_data_sets_that_are_left_out_are_named(folder: Path) -> None:
    made = of_datasets(folder, "one", "two", "three")
    assert [item.key for item in made.items] == ["one"]
    (problem,) = made.warnings
    assert problem.what == "2 image data sets left out; one is converted at a time"
    assert problem.where == (str(folder / "two"), str(folder / "three"))
    assert problem.fix == "run it once for each, with `--image-directory` and an `--output-directory` of its own"


@pytest.mark.parametrize("names", [("one",), ("one", "one")])
def test_nothing_is_said_where_nothing_is_left_out(folder: Path, names: tuple[str, ...]) -> None:
    assert of_datasets(folder, *names).warnings == []


def test_photos_that_are_named_bring_the_masks_of_their_data_set(folder: Path) -> None:
    made = of_datasets(folder, "one", "two", image_directory=folder / "two")
    assert [(item.key, item.action) for item in made.items] == [("two", Action.WRITE)]
    assert made.warnings == []


def test_captions_of_another_name_are_told_and_an_extension_may_be_more_than_a_suffix(folder):
    for caption in (folder / "photos").glob("*.txt"):
        caption.unlink()
    (folder / "photos" / "Kyla.png.txt").write_text("one")
    (told,) = [problem for problem in plan(config(folder)).warnings if "of another name" in problem.what]
    assert told.where == (f"{folder / 'photos' / 'Kyla.png'}: Kyla.png.txt",)
    assert told.fix == 'set `caption_extension = ".png.txt"`'
    convert(folder, caption_extension=".png.txt")
    assert (folder / "rgba" / "Kyla.png.txt").read_text() == "one"
