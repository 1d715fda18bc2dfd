"""Pictures come out upright, with alpha apart and values unchanged, or as an error that says what to do."""

from __future__ import annotations

import os
import struct
import sys
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from blissmask.errors import MediaError
from blissmask.media.colour import matrix_profile
from blissmask.media.image import read_header, read_image, read_size, read_stored, resize_rgb
from blissmask.media.mask_picture import read_grey, read_mask, read_mask_picture
from blissmask.media.picture_file import MAX_PIXELS, MAX_SCANS, return_large_pieces
from tests.builders.pictures import corner_rgb, huge_png, random_rgb, save, tier_mask, turned

TIERS = np.array([0, 80, 128, 255], dtype=np.uint8)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".avif"])
def test_every_orientation_comes_out_upright(tmp_path: Path, suffix: str, orientation: int) -> None:
    upright = corner_rgb((48, 32))
    path = save(tmp_path / f"a{suffix}", turned(upright, orientation), orientation=orientation)
    decoded = read_image(path).rgb_HW3
    assert decoded.shape == upright.shape
    assert np.abs(decoded.astype(int) - upright).mean() < 12  # the lossy formats smear the borders of the corners


@pytest.mark.parametrize("orientation", range(1, 9))
def test_size_is_read_as_the_decoded_picture_has_it(tmp_path: Path, orientation: int) -> None:
    path = save(tmp_path / "a.jpg", turned(random_rgb((40, 24)), orientation), orientation=orientation)
    assert read_size(path) == (40, 24)


def test_orientation_that_stands_behind_the_pixels_of_a_png_counts(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", turned(corner_rgb(), 6))
    exif = Image.Exif()
    exif[274] = 6
    data = exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I4s", len(data), b"eXIf") + data + struct.pack(">I", zlib.crc32(b"eXIf" + data))
    whole = path.read_bytes()
    path.write_bytes(whole[:-12] + chunk + whole[-12:])
    assert read_size(path) == (48, 32)
    assert (read_image(path).rgb_HW3 == corner_rgb()).all()


def test_unreadable_exif_counts_as_upright(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(random_rgb((40, 24))).save(path, exif=b"Exif\0\0not a tiff header")
    assert read_size(path) == (40, 24)


def as_16_bit(grey: np.ndarray) -> Image.Image:
    return Image.fromarray(grey.astype(np.uint16) * 257)


def as_palette(grey: np.ndarray) -> Image.Image:
    """Return a palette picture whose indices have nothing to do with its values."""
    indices = np.searchsorted(TIERS, grey).astype(np.uint8)
    image = Image.frombytes("P", (grey.shape[1], grey.shape[0]), (3 - indices).tobytes())
    image.putpalette([value for tier in TIERS[::-1].tolist() for value in (tier, tier, tier)])
    return image


def with_alpha(grey: np.ndarray) -> Image.Image:
    return Image.merge("LA", (Image.fromarray(grey), Image.fromarray(255 - grey)))


@pytest.mark.parametrize(
    "flavour",
    [
        Image.fromarray,
        as_16_bit,
        as_palette,
        with_alpha,
        lambda grey: Image.fromarray(np.dstack([grey] * 3)),
        lambda grey: Image.fromarray(np.dstack([grey] * 3 + [255 - grey])),
    ],
    ids=["8-bit", "16-bit", "palette", "LA", "RGB", "RGBA"],
)
@pytest.mark.parametrize("tier", TIERS.tolist())
def test_a_tier_survives_every_png_flavour(tmp_path: Path, flavour: object, tier: int) -> None:
    grey = tier_mask((16, 12))
    grey[0, 0] = tier
    flavour(grey).save(tmp_path / "m.png")
    weights = read_mask(tmp_path / "m.png")
    assert weights.dtype == np.float32
    assert (weights == grey.astype(np.float32) / np.float32(255)).all()
    assert (read_grey(tmp_path / "m.png") == grey).all()


def test_1_bit_mask_is_0_and_1(tmp_path: Path) -> None:
    bits = np.random.default_rng(0).random((9, 13)) > 0.5
    Image.fromarray(bits).save(tmp_path / "m.png")
    assert (read_mask(tmp_path / "m.png") == bits.astype(np.float32)).all()


def test_16_bit_values_between_8_bit_ones_are_kept(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 1000, dtype=np.uint16)).save(tmp_path / "m.png")
    assert read_mask(tmp_path / "m.png")[0, 0] == np.float32(1000) / np.float32(65535)


def test_jpeg_mask_is_doubted(tmp_path: Path) -> None:
    assert "JPEG" in read_mask_picture(save(tmp_path / "m.jpg", tier_mask())).doubt


def test_coloured_mask_is_doubted(tmp_path: Path) -> None:
    assert "coloured" in read_mask_picture(save(tmp_path / "m.png", random_rgb())).doubt


def test_alpha_of_a_mask_is_doubted_unless_opaque(tmp_path: Path) -> None:
    opaque = np.dstack([tier_mask()] * 3 + [np.full_like(tier_mask(), 255)])
    assert read_mask_picture(save(tmp_path / "m.png", opaque)).doubt == ""
    opaque[0, 0, 3] = 0
    assert "alpha" in read_mask_picture(save(tmp_path / "m.png", opaque)).doubt


def test_grey_mask_is_not_doubted(tmp_path: Path) -> None:
    assert read_mask_picture(save(tmp_path / "m.png", tier_mask())).doubt == ""


def test_colours_under_alpha_0_are_kept(tmp_path: Path) -> None:
    rgb, alpha = random_rgb(), np.zeros((32, 48), dtype=np.uint8)
    picture = read_image(save(tmp_path / "a.png", np.dstack([rgb, alpha])))
    assert (picture.rgb_HW3 == rgb).all()
    assert picture.alpha_HW is not None
    assert not picture.alpha_HW.any()


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_transparent_colour_is_alpha(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(np.array([[0, 255]], dtype=np.uint8)).convert(mode)
    transparent = {"L": 0, "RGB": (0, 0, 0), "P": image.getpixel((0, 0))}[mode]
    image.save(tmp_path / "a.png", transparency=transparent)
    picture = read_image(tmp_path / "a.png")
    assert picture.alpha_HW is not None
    assert picture.alpha_HW.tolist() == [[0, 255]]
    assert read_header(tmp_path / "a.png").has_alpha


def test_picture_without_alpha_has_none(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", random_rgb())
    assert read_image(path).alpha_HW is None
    assert not read_header(path).has_alpha


def test_16_bit_photo_becomes_8_bit_by_rounding(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 128 * 257, 65535]], dtype=np.uint16)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").rgb_HW3.tolist() == [[[0] * 3, [128] * 3, [255] * 3]]


def test_cmyk_photo_becomes_rgb_and_loses_its_profile(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg", icc_profile=b"\0" * 16 + b"CMYK" + b"\0" * 108)
    picture = read_stored(tmp_path / "a.jpg")
    red, green, blue = picture.image.getpixel((4, 4))
    assert red > 200 > 60 > max(green, blue)
    assert picture.icc_profile == b""


def test_stored_values_and_their_profile_come_as_they_are(tmp_path: Path) -> None:
    profile = matrix_profile(
        "wide", primaries_xy=((0.7, 0.3), (0.2, 0.7), (0.15, 0.05)), white_xy=(0.3127, 0.329), gamma=2.2
    )
    picture = read_stored(save(tmp_path / "a.png", random_rgb(), icc_profile=profile))
    assert picture.icc_profile == profile
    assert (np.asarray(picture.image) == random_rgb()).all()


def test_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.fromarray(random_rgb(seed=seed)) for seed in range(3)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    assert (read_image(tmp_path / "a.png").rgb_HW3 == random_rgb(seed=0)).all()


def test_jpeg_named_png_is_read_by_content(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg", random_rgb()).rename(tmp_path / "a.png")
    assert read_size(tmp_path / "a.png") == (48, 32)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>404</html>", "web page"),
        (b"hello, I am no picture", "not a PNG"),
        (b"GIF89a\x01\x00\x01\x00\x80\x00\x00", "not a PNG"),
    ],
)
def test_what_is_no_picture_is_named_for_what_it_is(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "kyla.png"
    path.write_bytes(content)
    with pytest.raises(MediaError, match=said) as caught:
        read_image(path)
    assert caught.value.problems[0].where == (str(path),)
    assert caught.value.problems[0].fix


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".avif", ".bmp"])
def test_truncated_picture_is_an_error(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"a{suffix}", random_rgb((64, 64)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(MediaError):
        read_image(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="No such file"):
        read_size(tmp_path / "a.png")


def decoded(image: Image.Image) -> None:
    pytest.fail("the pixels were decoded")


@pytest.mark.parametrize("size", [(50_000, 50_000), (MAX_PIXELS + 1, 1)])
@pytest.mark.parametrize("limit_of_pillow", [Image.MAX_IMAGE_PIXELS, None])
def test_huge_picture_is_refused_by_its_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], limit_of_pillow: int | None
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit_of_pillow)
    monkeypatch.setattr(ImageFile.ImageFile, "load", decoded)
    path = tmp_path / "bomb.png"
    path.write_bytes(huge_png(*size))
    with pytest.raises(MediaError, match="claims more than the 179 million pixels that are read") as caught:
        read_image(path)
    assert caught.value.problems[0].where == (str(path),)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_picture_at_the_limit_is_not_refused_for_its_size(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(huge_png(MAX_PIXELS // 10, 10))
    assert read_size(path) == (MAX_PIXELS // 10, 10)


ODD_NAMES = [
    "😀.png",
    "שלום.png",
    "e\u0301.png",
    "-rf.png",
    "[bold]x.png",
    "two\nlines.png",
    "x" * 251 + ".png",
    os.fsdecode(b"\xff\xfe.png"),
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_file_name_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(save(tmp_path / "a.png", random_rgb()).read_bytes())
    assert (read_image(tmp_path / name).rgb_HW3 == random_rgb()).all()


def test_decoded_arrays_can_be_written_to(tmp_path: Path) -> None:
    picture = read_image(save(tmp_path / "a.png", np.dstack([random_rgb(), tier_mask()])))
    assert picture.alpha_HW is not None
    assert picture.rgb_HW3.flags.writeable
    assert picture.rgb_HW3.flags.c_contiguous
    assert picture.alpha_HW.flags.writeable


def test_same_size_is_not_resampled() -> None:
    rgb = random_rgb()
    assert resize_rgb(rgb, (48, 32)) is rgb


def test_enlarging_uses_lanczos_and_shrinking_the_area_average() -> None:
    rgb = random_rgb((16, 16))
    larger = np.asarray(Image.fromarray(rgb).resize((32, 32), Image.Resampling.LANCZOS))
    assert (resize_rgb(rgb, (32, 32)) == larger).all()
    means = rgb.reshape(8, 2, 8, 2, 3).mean(axis=(1, 3))
    assert np.abs(resize_rgb(rgb, (8, 8)) - means).max() <= 0.5


def heic(path: Path, **options: object) -> Path:
    pytest.importorskip("pillow_heif").from_pillow(Image.fromarray(corner_rgb((64, 48)))).save(path, **options)
    return path


@pytest.mark.parametrize("name", ["a.heic", "renamed.jpg"])
def test_photos_of_phones_are_read_whatever_they_are_called(tmp_path: Path, name: str) -> None:
    heic(tmp_path / "a.heif", quality=95).rename(tmp_path / name)
    assert read_size(tmp_path / name) == (64, 48)
    assert np.abs(read_image(tmp_path / name).rgb_HW3.astype(int) - corner_rgb((64, 48))).mean() < 12


def test_the_package_that_reads_photos_of_phones_is_named_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    with pytest.raises(MediaError, match="`pillow-heif` reads them and is not installed") as caught:
        read_size(tmp_path / "a.heic")
    assert "blissmask[heif]" in caught.value.problems[0].fix


def progressive_jpeg(path: Path, scans: int) -> Path:
    """Write a progressive JPEG whose last scan is repeated."""
    Image.fromarray(random_rgb((40, 24))).save(path, progressive=True)
    whole = path.read_bytes()
    last = whole.rindex(b"\xff\xda")
    path.write_bytes(whole[:last] + whole[last:-2] * (scans - whole.count(b"\xff\xda") + 1) + whole[-2:])
    return path


def test_a_jpeg_of_more_scans_than_any_encoder_writes_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=f"more than the {MAX_SCANS} scans"):
        read_image(progressive_jpeg(tmp_path / "a.jpg", MAX_SCANS + 1))


@pytest.mark.parametrize("scans", [10, MAX_SCANS])
def test_progressive_jpegs_are_read(tmp_path: Path, scans: int) -> None:
    assert read_image(progressive_jpeg(tmp_path / "a.jpg", scans)).rgb_HW3.shape == (24, 40, 3)


def test_pieces_of_pictures_are_too_large_to_stay_with_the_process():
    # glibc returns pieces of more than 32 MB, its DEFAULT_MMAP_THRESHOLD_MAX, to the system.
    assert Image.core.get_block_size() > 32 << 20


@pytest.mark.parametrize(("own", "size"), [(None, 64 << 20), ("1m", 1 << 20)])
def test_the_users_size_of_pillows_pieces_stays(monkeypatch, own: str | None, size: int) -> None:
    before = Image.core.get_block_size()
    if own is not None:
        monkeypatch.setenv("PILLOW_BLOCK_SIZE", own)
    try:
        Image.core.set_block_size(1 << 20)
        return_large_pieces()
        assert Image.core.get_block_size() == size
    finally:
        Image.core.set_block_size(before)


def test_a_stored_photo_that_is_upright_is_in_memory_once(tmp_path: Path) -> None:
    # Of one colour: the file, which is read as well, is small.
    path = save(tmp_path / "a.png", np.full((1000, 1000, 3), 90, dtype=np.uint8))
    tracemalloc.start()
    picture = read_stored(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Pillow's own memory is not traced; an array of the photo would take 3 MB.
    assert peak < 1_500_000
    assert picture.size_wh == (1000, 1000)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "LA"])
def test_an_alpha_channel_replaces_what_was_transparent(tmp_path: Path, mode: str) -> None:
    source = Image.fromarray(random_rgb()).convert(mode)
    source.save(tmp_path / "a.png")
    picture = read_stored(tmp_path / "a.png")
    picture.set_alpha(tier_mask())
    assert picture.image.mode == "RGBA"
    assert picture.size_wh == source.size
    assert (np.asarray(picture.image)[..., :3] == np.asarray(source.convert("RGB"))).all()
    assert (np.asarray(picture.image)[..., 3] == tier_mask()).all()
