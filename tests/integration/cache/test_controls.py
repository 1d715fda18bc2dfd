"""How control pictures are fitted before they are encoded."""

import pytest

from blissmask.cachefile.read import list_headers
from tests.builders.cache import build
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


def test_a_small_control_picture_is_not_enlarged_when_its_size_is_to_stay(tmp_path):
    assert control_grid(tmp_path, (96, 64), no_resize_control=True, control_resolution=[128, 128]) == (12, 8)
