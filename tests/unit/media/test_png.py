"""PNGs of ours say how they were made, and notice when someone drew in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from blissmask.media.png import read_note, write_png_grey, write_png_rgba
from tests.builders.pictures import random_rgb, save, tier_mask

NOTE = {"command": "masks", "settings": {"grow": 2, "ü": "😀"}}


def test_note_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_png_grey(tmp_path / "m.png", tier_mask(), note=NOTE)
    note = read_note(tmp_path / "m.png")
    assert note is not None
    assert note.content == NOTE
    assert note.untouched


def test_values_are_written_as_they_are(tmp_path: Path) -> None:
    write_png_grey(tmp_path / "m.png", tier_mask(), note=NOTE)
    with Image.open(tmp_path / "m.png") as image:
        assert image.mode == "L"
        assert (np.asarray(image) == tier_mask()).all()


def test_drawing_in_it_is_noticed_although_the_note_survives(tmp_path: Path) -> None:
    path = tmp_path / "m.png"
    write_png_grey(path, tier_mask(), note=NOTE)
    with Image.open(path) as image:
        kept, pixels = PngImagePlugin.PngInfo(), np.array(image)
        kept.add_text("blissmask", image.text["blissmask"])
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(path, pnginfo=kept)
    note = read_note(path)
    assert note is not None
    assert not note.untouched


def test_other_pngs_have_no_note(tmp_path: Path) -> None:
    assert read_note(save(tmp_path / "a.png", tier_mask())) is None


def test_other_files_have_no_note(tmp_path: Path) -> None:
    assert read_note(save(tmp_path / "a.jpg", random_rgb())) is None


def test_broken_off_png_is_not_taken_for_untouched(tmp_path: Path) -> None:
    path = tmp_path / "m.png"
    write_png_grey(path, random_rgb((64, 64))[..., 0].copy(), note=NOTE)
    path.write_bytes(path.read_bytes()[:-200])
    note = read_note(path)
    assert note is not None
    assert not note.untouched


@pytest.mark.parametrize("text", ["[1, 2]", "{", "[" * 100_000], ids=["list", "broken", "deep"])
def test_note_that_is_no_json_object_is_no_note(tmp_path: Path, text: str) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("blissmask", text)
    Image.fromarray(tier_mask()).save(tmp_path / "a.png", pnginfo=info)
    assert read_note(tmp_path / "a.png") is None


def test_rgba_keeps_colours_under_alpha_0_and_the_profile(tmp_path: Path) -> None:
    rgb, profile = random_rgb(), b"\0" * 16 + b"RGB " + b"\0" * 108
    rgba = np.dstack([rgb, np.zeros((32, 48), dtype=np.uint8)])
    write_png_rgba(tmp_path / "a.png", Image.fromarray(rgba), icc_profile=profile)
    with Image.open(tmp_path / "a.png") as image:
        assert (np.asarray(image)[..., :3] == rgb).all()
        assert image.info["icc_profile"] == profile


def test_same_picture_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        write_png_grey(tmp_path / name, tier_mask(), note=NOTE)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
