"""Promises 12 and 13: whatever way a camera or an editor stores them, image and mask stay aligned and weights stay what they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from blissmask.cachefile.entry import CacheEntry
from tests.builders.cache import build, captions, entries
from tests.builders.pictures import corner_rgb, save, tier_mask, turned

SIZE_WH = (96, 64)
TIERS = np.array([0, 80, 128, 255], dtype=np.uint8)
Flavour = Callable[[NDArray[np.uint8]], Image.Image]


def cached(folder: Path, names: list[str], **dataset: object) -> dict[str, CacheEntry]:
    captions(folder, names)
    summary = build(folder, **{"mask_directory": folder / "masks", **dataset})
    assert not summary.failures
    return entries(folder)


def assert_same(found: dict[str, CacheEntry]) -> None:
    first, *others = found.values()
    assert first.weights_1fhw is not None
    assert len(first.weights_1fhw.unique()) > 3
    for name, entry in list(found.items())[1:]:
        assert torch.equal(entry.weights_1fhw, first.weights_1fhw), name
        assert torch.equal(entry.regions_4fhw, first.regions_4fhw), name
    assert others


@pytest.mark.slow
def test_every_orientation_of_image_and_mask_gives_the_same_weights(tmp_path: Path) -> None:
    rgb, grey = corner_rgb(SIZE_WH), tier_mask(SIZE_WH)
    names = []
    for orientation in range(1, 9):
        for of_image, of_mask in (
            (orientation, 1),
            (1, orientation),
            (orientation, orientation),
            (orientation, orientation % 8 + 1),
        ):
            name = f"image {of_image}, mask {of_mask}"
            names.append(name)
            save(tmp_path / "photos" / f"{name}.png", turned(rgb, of_image), orientation=of_image)
            save(tmp_path / "masks" / f"{name}.png", turned(grey, of_mask), orientation=of_mask)
    found = cached(tmp_path, sorted(set(names)))
    assert_same(found)
    first = found["image 1, mask 1"]
    for name, entry in found.items():
        assert torch.equal(entry.latents_Cfhw, first.latents_Cfhw), name


def with_palette(grey: NDArray[np.uint8]) -> Image.Image:
    """Return a palette picture whose indices have nothing to do with its values."""
    image = Image.fromarray((3 - np.searchsorted(TIERS, grey)).astype(np.uint8), "P")
    image.putpalette([value for tier in TIERS[::-1].tolist() for value in (tier, tier, tier)])
    return image


FLAVOURS: dict[str, tuple[Flavour, dict[str, object]]] = {
    "8 bit": (Image.fromarray, {}),
    "16 bit": (lambda grey: Image.fromarray(grey.astype(np.uint16) * 257), {}),
    "palette": (with_palette, {}),
    "palette with a transparent colour": (with_palette, {"transparency": 3}),
    "grey and alpha": (lambda grey: Image.merge("LA", (Image.fromarray(grey), Image.fromarray(255 - grey))), {}),
    "grey with a transparent value": (Image.fromarray, {"transparency": 128}),
    "colours": (lambda grey: Image.fromarray(np.dstack([grey] * 3)), {}),
    "colours and alpha": (lambda grey: Image.fromarray(np.dstack([grey] * 3 + [255 - grey])), {}),
    "profile": (Image.fromarray, {"icc_profile": b"\0" * 16 + b"GRAY" + b"\0" * 108}),
    "gamma": (Image.fromarray, {"dpi": (72, 72), "compress_level": 0}),
}


@pytest.mark.slow
def test_every_png_flavour_of_a_mask_gives_the_same_weights(tmp_path: Path) -> None:
    for name, (make, options) in FLAVOURS.items():
        save(tmp_path / "photos" / f"{name}.png", corner_rgb(SIZE_WH))
        (tmp_path / "masks").mkdir(exist_ok=True)
        make(tier_mask(SIZE_WH)).save(tmp_path / "masks" / f"{name}.png", **options)
    assert_same(cached(tmp_path, list(FLAVOURS)))


@pytest.mark.slow
def test_a_mask_in_the_alpha_channel_gives_the_weights_of_a_mask_file(tmp_path: Path) -> None:
    rgb, grey = corner_rgb(SIZE_WH), tier_mask(SIZE_WH)
    save(tmp_path / "photos" / "file.png", rgb)
    save(tmp_path / "masks" / "file.png", grey)
    save(tmp_path / "photos" / "alpha.png", np.dstack([rgb, grey]))
    found = cached(tmp_path, ["file", "alpha"], alpha_mask=True)
    assert_same(found)
    assert torch.equal(found["file"].latents_Cfhw, found["alpha"].latents_Cfhw)


@pytest.mark.slow
def test_1_bit_masks_are_body_and_background_as_255_and_0(tmp_path: Path) -> None:
    grey = np.where(tier_mask(SIZE_WH) > 100, np.uint8(255), np.uint8(0))
    for name, image in {"bits": Image.fromarray(grey > 0), "bytes": Image.fromarray(grey)}.items():
        save(tmp_path / "photos" / f"{name}.png", corner_rgb(SIZE_WH))
        (tmp_path / "masks").mkdir(exist_ok=True)
        image.save(tmp_path / "masks" / f"{name}.png")
    found = cached(tmp_path, ["bits", "bytes"])
    assert torch.equal(found["bits"].weights_1fhw, found["bytes"].weights_1fhw)


def test_photos_of_every_colour_space_are_read_and_masks_with_odd_values_doubted(tmp_path: Path) -> None:
    photo = Image.fromarray(corner_rgb(SIZE_WH))
    (tmp_path / "photos").mkdir()
    (tmp_path / "masks").mkdir()
    photo.convert("CMYK").save(tmp_path / "photos" / "cmyk.jpg")
    photo.convert("YCbCr").save(tmp_path / "photos" / "ycc.jpg")
    Image.fromarray(tier_mask(SIZE_WH)).save(tmp_path / "masks" / "cmyk.jpg", quality=60)
    Image.fromarray(np.dstack([tier_mask(SIZE_WH)] * 2 + [np.zeros_like(tier_mask(SIZE_WH))])).save(
        tmp_path / "masks" / "ycc.png"
    )
    captions(tmp_path, ["cmyk", "ycc"])
    summary = build(tmp_path, mask_directory=tmp_path / "masks")
    assert summary.written == 2
    [doubts] = [problem for problem in summary.warnings if "not what was meant" in problem.what]
    assert len(doubts.where) == 2
    assert "JPEG" in " ".join(doubts.where)
    assert "coloured" in " ".join(doubts.where)
