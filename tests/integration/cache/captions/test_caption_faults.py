"""Captions that cannot be encoded are refused before hours of work, by `train --prepare`, and told by `masks`."""

from __future__ import annotations

from pathlib import Path

import pytest

from blissmask.config.model import Config
from blissmask.errors import InputError
from blissmask.tasks.cache.planning.caption_faults import refuse_captions
from blissmask.tasks.masks.plan import plan as plan_masks
from tests.builders.command import run_here
from tests.builders.families import PLAIN
from tests.builders.pictures import photo_folder

CAPTION = "a photo of {trigger}"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    photo_folder(tmp_path / "photos", ["a.png", "b.png"], size_wh=(64, 64))
    (tmp_path / "photos" / "a.txt").write_text("{trigger} at home")
    return tmp_path / "photos"


def config(photos: Path, *, cache: dict[str, object] | None = None, **dataset: object) -> Config:
    data = {"image_directory": photos, "mask_directory": photos.parent / "masks", "resolution": 64, **dataset}
    return Config.model_validate({"datasets": [data], "cache": cache or {}})


def refused(config: Config) -> dict[str, tuple[str, ...]]:
    with pytest.raises(InputError) as caught:
        refuse_captions(config)
    return {problem.what: problem.places for problem in caught.value.problems}


def test_missing_captions_and_words_are_named_together_with_their_data_set(photos: Path) -> None:
    assert refused(config(photos)) == {
        "no caption for 1 item": (str(photos / "b.png"), "in dataset 1"),
        "1 item with {trigger} in the caption, and `trigger` is blank": (str(photos / "a.png"), "in dataset 1"),
    }
    refuse_captions(config(photos, caption=CAPTION, trigger="ohwx"))


def test_captions_that_will_be_written_on_the_way_are_not_missed(photos: Path) -> None:
    written = {"captions": "transformers"}
    assert list(refused(config(photos, cache=written))) == [
        "1 item with {trigger} in the caption, and `trigger` is blank"
    ]
    refuse_captions(config(photos, cache=written, trigger="ohwx"))
    (photos / "clip.mp4").touch()
    films = config(photos, cache=written, image_directory=None, video_directory=photos)
    assert list(refused(films)) == ["no caption for 1 item"], "nothing describes videos"
    made = config(photos).model_copy(
        update={"to_alpha": Config().to_alpha.model_copy(update={"output_directory": photos / ".." / photos.name})}
    )
    refuse_captions(made)


def test_masks_tell_of_a_word_that_the_caption_of_a_data_set_misses(photos: Path) -> None:
    def told(**dataset: object) -> list[str]:
        return [problem.what for problem in plan_masks(config(photos, caption=CAPTION, **dataset)).warnings]

    assert told() == ["`caption` holds {trigger}, and `trigger` is blank; `blissmask cache` will refuse that"]
    assert told(trigger="ohwx") == []
    (photos / "b.txt").write_text("at the sea")
    assert told() == [], "every photo has a caption of its own"


@pytest.mark.parametrize("option", ["", "--dry-run"])
def test_nothing_is_prepared_for_a_training_whose_captions_are_refused(photos: Path, option: str) -> None:
    text = f'[[datasets]]\nimage_directory = "photos"\nmask_directory = "masks"\ncaption = "{CAPTION}"\n'
    (photos.parent / "blissmask.toml").write_text(text + f'[model]\narch = "{PLAIN}"\nmodel = "tiny"\n')
    ran = run_here(f"blissmask train --prepare {option}", photos.parent)
    assert ran.code == 1
    assert ran.err.startswith("error: 2 items with {trigger} in the caption, and `trigger` is blank")
    assert not (photos.parent / "masks").exists()


def test_missing_models_captions_and_wrong_options_are_told_in_one_run(photos: Path) -> None:
    text = '[[datasets]]\nimage_directory = "photos"\nmask_directory = "masks"\n'
    (photos.parent / "blissmask.toml").write_text(text + f'[model]\narch = "{PLAIN}"\nmodel = "nowhere"\n')
    ran = run_here("blissmask train --prepare --network-type lokr --use-dora", photos.parent)
    assert ran.code == 1
    assert [line for line in ran.err.splitlines() if line.startswith("error: ")] == [
        "error: `nowhere` is neither a folder nor a hub id",
        "error: lokr has no `use_dora`",
        "error: no caption for 1 item",
        "error: 1 item with {trigger} in the caption, and `trigger` is blank",
    ]
