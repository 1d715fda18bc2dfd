"""`to-alpha`: masks move into the alpha channel, every colour stays."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import Image

from blissmask.config.model import Config
from blissmask.errors import InputError, UsageError
from blissmask.media.image import read_image
from blissmask.media.mask_picture import read_mask
from blissmask.tasks.mask_files.output_notes import FRESH
from blissmask.tasks.run.plan import Action, RunContext, Summary
from blissmask.tasks.to_alpha.plan import plan
from blissmask.tasks.to_alpha.run import run
from tests.builders.pictures import (
    corner_rgb,
    mask_folder,
    photo_folder,
    random_rgb,
    save,
    tier_mask,
    tree,
    turned,
    wide_profile,
)


def config(folder: Path, *, dry_run: bool = False, force: bool = False, **options: object) -> Config:
    folders = {
        "image_directory": folder / "photos",
        "mask_directory": folder / "masks",
        "output_directory": folder / "rgba",
    }
    return Config.model_validate({"to_alpha": {**folders, **options}, "run": {"dry_run": dry_run, "force": force}})


def convert(folder: Path, **options: object) -> Summary:
    return run(plan(config(folder, **options)), RunContext())


def lines(made: object) -> dict[str, tuple[Action, str]]:
    return {item.key: (item.action, item.reason) for item in made.items}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    photo_folder(tmp_path / "photos", ["a.png", "b.jpg"])
    mask_folder(tmp_path / "masks", ["a.png", "b.png"])
    return tmp_path


def test_colours_stay_and_the_mask_is_the_alpha(folder: Path) -> None:
    assert convert(folder).written == 2
    for name, source in (("a.png", "a.png"), ("b.png", "b.jpg")):
        picture = read_image(folder / "rgba" / name)
        assert (picture.rgb_HW3 == read_image(folder / "photos" / source).rgb_HW3).all()
        assert (picture.alpha_HW == tier_mask()).all()


def test_values_and_profile_of_a_photo_stay_and_are_read_rightly_afterwards(folder: Path) -> None:
    save(folder / "photos" / "a.png", random_rgb(), icc_profile=wide_profile())
    convert(folder)
    with Image.open(folder / "rgba" / "a.png") as made:
        assert (np.asarray(made)[..., :3] == random_rgb()).all()
        assert made.info["icc_profile"] == wide_profile()
    assert (read_image(folder / "rgba" / "a.png").rgb_HW3 == read_image(folder / "photos" / "a.png").rgb_HW3).all()
    assert not (read_image(folder / "rgba" / "a.png").rgb_HW3 == random_rgb()).all()


SIZES = st.tuples(st.integers(1, 20), st.integers(1, 20))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pixels=SIZES.flatmap(lambda size: arrays.arrays(np.uint8, (*size, 4))))
def test_every_colour_of_every_photo_is_kept(tmp_path: Path, pixels: NDArray[np.uint8]) -> None:
    shutil.rmtree(tmp_path / "rgba", ignore_errors=True)
    save(tmp_path / "photos" / "a.png", pixels[..., :3].copy())
    save(tmp_path / "masks" / "a.png", pixels[..., 3].copy())
    convert(tmp_path)
    with Image.open(tmp_path / "rgba" / "a.png") as image:
        assert (np.asarray(image) == pixels).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("rotated", ["image", "mask", "both"])
def test_orientation_leaves_photo_and_mask_aligned(tmp_path: Path, orientation: int, rotated: str) -> None:
    of_image = orientation if rotated in ("image", "both") else 1
    of_mask = orientation if rotated in ("mask", "both") else 1
    save(tmp_path / "photos" / "a.png", turned(corner_rgb(), of_image), orientation=of_image)
    save(tmp_path / "masks" / "a.png", turned(tier_mask(), of_mask), orientation=of_mask)
    assert convert(tmp_path).written == 1
    picture = read_image(tmp_path / "rgba" / "a.png")
    assert (picture.rgb_HW3 == corner_rgb()).all()
    assert (picture.alpha_HW == tier_mask()).all()


def test_larger_mask_is_averaged_and_smaller_one_repeated(folder: Path) -> None:
    save(folder / "masks" / "a.png", tier_mask((24, 16)))
    save(folder / "masks" / "b.png", tier_mask((96, 64)))
    assert lines(plan(config(folder))) == {
        "a": (Action.WRITE, "48x32, mask resized from 24x16"),
        "b": (Action.WRITE, "48x32, mask resized from 96x64"),
    }
    convert(folder)
    for name in ("a", "b"):
        assert (read_image(folder / "rgba" / f"{name}.png").alpha_HW == tier_mask()).all()


def test_other_aspect_fails_and_says_both_sizes(folder: Path) -> None:
    save(folder / "masks" / "a.png", tier_mask((48, 34)))
    reason = "aspect ratio differs by 6.2% (limit 1%): image 48x32, mask 48x34"
    assert lines(plan(config(folder)))["a"] == (Action.FAIL, reason)


def test_photo_without_mask_fails_and_all_are_counted_in_one_warning(folder: Path) -> None:
    photo_folder(folder / "photos", ["c.png", "d.png"])
    made = plan(config(folder))
    assert lines(made)["c"][0] is Action.FAIL
    assert made.warnings[0].what == "2 images have no matching mask file"
    summary = run(made, RunContext())
    assert (summary.written, len(summary.failures), summary.exit_code) == (2, 2, 3)


def test_mask_without_photo_is_named(folder: Path) -> None:
    save(folder / "masks" / "z.png", tier_mask())
    assert any(problem.where == (str(folder / "masks" / "z.png"),) for problem in plan(config(folder)).warnings)


def test_empty_mask_is_named(folder: Path) -> None:
    save(folder / "masks" / "a.png", np.zeros((32, 48), dtype=np.uint8))
    assert convert(folder).details["empty_masks"] == ["a"]


def test_masks_that_make_no_sense_are_named_by_their_files(folder: Path) -> None:
    empty = save(folder / "masks" / "a.png", np.zeros((32, 48), dtype=np.uint8))
    white = save(folder / "masks" / "b.png", np.full((32, 48), 255, np.uint8))
    assert [problem.where for problem in convert(folder).warnings] == [(str(empty),), (str(white),)]
    (folder / "photos" / "a.png").unlink()
    classes = save(folder / "masks" / "b.png", np.ones((32, 48), np.uint8))
    [problem] = [problem for problem in convert(folder).warnings if "not what was meant" in problem.what]
    assert problem.where[0].startswith(f"{classes}: its brightest value is 1 of 255")


def test_truncated_photo_costs_one_item(folder: Path) -> None:
    path = folder / "photos" / "b.jpg"
    path.write_bytes(path.read_bytes()[:-400])
    summary = convert(folder)
    assert (summary.written, [failure.key for failure in summary.failures]) == (1, ["b"])
    assert not (folder / "rgba" / "b.png").exists()


def test_old_alpha_of_a_photo_is_replaced_and_its_colours_kept(folder: Path) -> None:
    rgba = np.dstack([random_rgb(), np.zeros((32, 48), dtype=np.uint8)])
    save(folder / "photos" / "a.png", rgba)
    convert(folder)
    with Image.open(folder / "rgba" / "a.png") as image:
        assert (np.asarray(image) == np.dstack([random_rgb(), tier_mask()])).all()


def test_captions_beside_the_photos_come_along(folder: Path) -> None:
    (folder / "photos" / "a.txt").write_bytes("kyla, réd\r\n".encode())
    summary = convert(folder)
    assert summary.details["captions_copied"] == 1
    assert (folder / "rgba" / "a.txt").read_bytes() == "kyla, réd\r\n".encode()


def test_captions_of_a_folder_of_their_own_come_along_and_missing_ones_are_named(folder: Path) -> None:
    (folder / "captions").mkdir()
    (folder / "captions" / "A.caption").write_text("one")
    made = plan(config(folder, caption_directory=folder / "captions", caption_extension=".caption"))
    assert any("1 photo without a caption" in problem.what for problem in made.warnings)
    run(made, RunContext())
    assert (folder / "rgba" / "a.caption").read_text() == "one"


def test_changed_caption_is_copied_again_and_an_edited_copy_is_kept(folder: Path) -> None:
    for name in "ab":
        (folder / "photos" / f"{name}.txt").write_text("old")
    convert(folder)
    (folder / "rgba" / "b.txt").write_text("edited by hand")
    for name in "ab":
        (folder / "photos" / f"{name}.txt").write_text("new")
    summary = convert(folder)
    assert (folder / "rgba" / "a.txt").read_text() == "new"
    assert (folder / "rgba" / "b.txt").read_text() == "edited by hand"
    assert summary.details["captions_kept"] == ["b"]


def test_second_run_changes_nothing(folder: Path) -> None:
    (folder / "photos" / "a.txt").write_text("one")
    convert(folder)
    before, times = tree(folder / "rgba"), (folder / "rgba" / "a.png").stat().st_mtime_ns
    assert lines(plan(config(folder))) == {"a": (Action.SKIP, FRESH), "b": (Action.SKIP, FRESH)}
    assert convert(folder).skipped == 2
    assert tree(folder / "rgba") == before
    assert (folder / "rgba" / "a.png").stat().st_mtime_ns == times


def test_changed_mask_is_noticed(folder: Path) -> None:
    convert(folder)
    save(folder / "masks" / "a.png", np.full((32, 48), 255, dtype=np.uint8))
    assert lines(plan(config(folder))) == {"a": (Action.WRITE, "48x32, a.png changed"), "b": (Action.SKIP, FRESH)}


def test_skip_existing_skips_without_comparing(folder: Path) -> None:
    save(folder / "rgba" / "a.png", random_rgb())
    assert lines(plan(config(folder, skip_existing=True)))["a"] == (Action.SKIP, "already in output")


def test_folders_come_from_the_first_image_dataset(folder: Path) -> None:
    data = {
        "datasets": [
            {"video_directory": str(folder / "videos")},
            {
                "image_directory": str(folder / "photos"),
                "mask_directory": str(folder / "masks"),
                "caption_extension": ".cap",
            },
        ],
        "to_alpha": {"output_directory": str(folder / "rgba")},
    }
    (folder / "photos" / "a.cap").write_text("one")
    summary = run(plan(Config.model_validate(data)), RunContext())
    assert summary.written == 2
    assert (folder / "rgba" / "a.cap").read_text() == "one"


def test_one_alpha_channel_does_not_take_the_masks_of_several_subjects(folder: Path) -> None:
    people = [{"name": name, "trigger": name, "references": ["a.jpg"]} for name in ("kyla", "tom")]
    data = {"image_directory": folder / "photos", "mask_directory": folder / "masks", "subject": ["kyla", "tom"]}
    given = {"subjects": people, "datasets": [data], "to_alpha": {"output_directory": folder / "rgba"}}
    with pytest.raises(UsageError, match="a photo has one alpha channel"):
        plan(Config.model_validate(given))
    given["to_alpha"] |= {"mask_directory": folder / "masks"}
    assert len(plan(Config.model_validate(given)).items) == 2


def test_dry_run_shows_the_plan_although_no_output_is_given(folder: Path) -> None:
    data = {
        "datasets": [{"image_directory": str(folder / "photos"), "mask_directory": str(folder / "masks")}],
        "run": {"dry_run": True},
    }
    made = plan(Config.model_validate(data))
    assert [item.output.parent.name for item in made.items] == ["photos_rgba"] * 2
    assert "--output-directory" in made.warnings[0].what


def test_run_without_output_is_refused(folder: Path) -> None:
    data = {"datasets": [{"image_directory": str(folder / "photos"), "mask_directory": str(folder / "masks")}]}
    with pytest.raises(UsageError, match="--output-directory"):
        plan(Config.model_validate(data))


def test_output_among_the_photos_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="the output folder is the folder of photos"):
        plan(config(folder, output_directory=folder / "photos"))


def test_photos_of_one_name_are_refused_and_listed(folder: Path) -> None:
    save(folder / "photos" / "B.png", random_rgb())
    with pytest.raises(InputError, match="share one mask and one output") as caught:
        plan(config(folder))
    assert {Path(place).name for place in caught.value.problems[0].where} == {"b.jpg", "B.png"}


ODD_STEMS = ["😀", "שלום", "e\u0301", "-rf", "[bold]x", "two\nlines", "x" * 251, "a.b.c", os.fsdecode(b"\xff\xfe")]


def test_any_file_name_comes_through(tmp_path: Path) -> None:
    photo = save(tmp_path / "p.png", random_rgb()).read_bytes()
    mask = save(tmp_path / "m.png", tier_mask()).read_bytes()
    for folder, data in (("photos", photo), ("masks", mask)):
        (tmp_path / folder).mkdir()
        for stem in ODD_STEMS:
            (tmp_path / folder / f"{stem}.png").write_bytes(data)
    summary = convert(tmp_path)
    assert summary.failures == []
    assert sorted(path.stem for path in (tmp_path / "rgba").glob("*.png")) == sorted(ODD_STEMS)
    assert all(item[0] is Action.SKIP for item in lines(plan(config(tmp_path))).values())


def test_composed_and_decomposed_names_belong_together(tmp_path: Path) -> None:
    save(tmp_path / "photos" / "caf\u00e9.png", random_rgb())
    save(tmp_path / "masks" / "cafe\u0301.png", tier_mask())
    assert convert(tmp_path).written == 1


def test_weights_read_back_are_the_weights_of_the_mask_file(folder: Path) -> None:
    convert(folder)
    alpha = read_image(folder / "rgba" / "a.png").alpha_HW
    assert alpha is not None
    assert (alpha.astype(np.float32) / np.float32(255) == read_mask(folder / "masks" / "a.png")).all()
