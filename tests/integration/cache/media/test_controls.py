"""How control pictures are fitted before they are encoded."""

import json

import pytest

from blissmask.cachefile.read_headers import list_headers
from blissmask.tasks.run.plan import Action
from tests.builders.cache import build, plan
from tests.builders.families import EDIT, family_of
from tests.builders.pictures import random_rgb, save


def control_grid(tmp_path, control_wh, **dataset):
    """Cache a photo of 64 x 48 with one control picture; return (columns, rows) of the control's latents."""
    save(tmp_path / "photos" / "a.png", random_rgb((64, 48)))
    (tmp_path / "photos" / "a.txt").write_text("make it night", encoding="utf-8")
    save(tmp_path / "controls" / "a.png", random_rgb(control_wh, seed=1))
    build(tmp_path, arch=EDIT, control_directory=tmp_path / "controls", caption_extension=".txt", **dataset)
    (header,) = list_headers(tmp_path / "cache", family_of(EDIT).cache_suffix)
    _, (_, _, rows, columns) = header.contents["latents_control_0"]
    return columns, rows


@pytest.mark.parametrize(
    ("dataset", "grid"),
    [
        ({}, (8, 6)),
        ({"control_resolution": [128, 128]}, (20, 12)),
        ({"no_resize_control": True}, (24, 14)),
        ({"no_resize_control": True, "control_resolution": [128, 128]}, (20, 12)),
    ],
    ids=["like the photo", "own area", "own size", "own size, at most an area"],
)
def test_a_control_picture_is_fitted_as_the_data_set_says(tmp_path, dataset, grid):
    assert control_grid(tmp_path, (200, 116), **dataset) == grid


def edit_list(tmp_path, **line):
    """Write a photo and a list that names it with the keys of ``line``; return the settings of its data set."""
    save(tmp_path / "photos" / "a.png", random_rgb((64, 48)))
    line = {"image_path": str(tmp_path / "photos" / "a.png"), "caption": "make it night", **line}
    (tmp_path / "list.jsonl").write_text(json.dumps(line), encoding="utf-8")
    return {"arch": EDIT, "image_jsonl_file": tmp_path / "list.jsonl"}


@pytest.mark.parametrize("content", [None, b"", b"no picture"], ids=["missing", "empty", "no picture"])
def test_the_plan_names_every_control_picture_that_cannot_be_read(tmp_path, content):
    controls = [str(tmp_path / f"control{number}.png") for number in range(3)]
    save(tmp_path / "control1.png", random_rgb((64, 48)))
    for path in (controls[0], controls[2]):
        if content is not None:
            with open(path, "wb") as file:
                file.write(content)
    lines = {f"control_path_{number}": path for number, path in enumerate(controls)}
    [item] = plan(tmp_path, **edit_list(tmp_path, **lines)).items
    assert (item.action, item.at_fault) == (Action.FAIL, (controls[0], controls[2]))


def test_captions_alone_name_the_control_picture_that_is_missing(tmp_path):
    control = str(tmp_path / "control.png")
    settings = edit_list(tmp_path, control_path=control)
    [item] = plan(tmp_path, cache={"text_only": True}, **settings).items
    assert (item.action, item.at_fault) == (Action.FAIL, (control,))


def test_a_mask_that_a_list_names_and_is_missing_is_what_fails(tmp_path):
    save(tmp_path / "control.png", random_rgb((64, 48)))
    mask = str(tmp_path / "mask.png")
    settings = edit_list(tmp_path, control_path=str(tmp_path / "control.png"), mask_path=mask)
    [item] = plan(tmp_path, **settings).items
    assert (item.action, item.at_fault) == (Action.FAIL, (mask,))


def test_a_small_control_picture_is_not_enlarged_when_its_size_is_to_stay(tmp_path):
    assert control_grid(tmp_path, (96, 64), no_resize_control=True, control_resolution=[128, 128]) == (12, 8)
