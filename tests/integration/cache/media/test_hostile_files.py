"""One folder with everything that people's folders hold: what can be read is cached right, what cannot is named and costs its item only."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from blissmask.cachefile.read_file import read_metadata, read_tensors
from blissmask.cachefile.read_headers import list_headers
from blissmask.config.sections.dataset_section import DatasetSection
from blissmask.dataset.buckets import make_buckets
from tests.builders.cache import PHOTO_WH, build, on_videos, video_folder
from tests.builders.families import CACHE_SUFFIX
from tests.builders.pictures import random_rgb, save, tier_mask, turned
from tests.builders.videos import with_damaged_frames

RGB = random_rgb(PHOTO_WH)
ODD_SIZES = {"one pixel": (1, 1), "wide": (50_000, 2), "tall": (3, 4_000)}
NAMES = [
    "with space",
    "emoji 😀👩‍👩‍👧",
    "two\nlines",
    "naïve",
    "-dash",
    "[b]{x}*?",
    "日本語",
    "اختبار",
    "x_00000-025",
    os.fsdecode(b"raw\xff"),
]
CAPTIONS = {
    "japanese": "日本語の写真",
    "arabic": "صورة قطة",
    "hebrew": "תמונה",
    "thai": "นี่คือรูป",
    "hindi": "हिन्दी",
    "russian": "русский текст",
    "emoji": "🙂👩‍👩‍👧‍👦",
    "bidirectional": "zero\u200bwidth \u202e right to left",
    "control": "a null\x00 and a bell\x07",
    "no words": "",
    "long": "word " * 4_000,
}
BROKEN = {
    "truncated.png": "the picture is damaged",
    "text.png": "not a PNG",
    "empty.png": "the file is empty",
    "page.jpg": "the file holds a web page",
    "latin.png": "the caption is not UTF-8 text",
}


def add(folder, name, size_wh=PHOTO_WH, caption="a photo"):
    """Write the mask and the caption of a photo."""
    save(folder / "masks" / f"{Path(name).stem}.png", tier_mask(size_wh))
    (folder / "photos" / f"{Path(name).stem}.txt").write_text(caption, encoding="utf-8")
    return folder / "photos" / name


def write_formats(folder):
    cv2.imwrite(str(add(folder, "sixteen bits.png")), RGB[..., ::-1].astype(np.uint16) * 257)
    Image.fromarray(RGB).quantize(64).save(add(folder, "palette.png"))
    Image.fromarray(RGB).quantize(64).save(add(folder, "palette alpha.png"), transparency=0)
    Image.fromarray(RGB).convert("CMYK").save(add(folder, "cmyk.jpg"))
    Image.fromarray(RGB).save(add(folder, "jpeg inside.png"), format="JPEG")
    save(add(folder, "turned.jpg"), turned(RGB, 6), orientation=6)


def write_broken(folder):
    whole = save(add(folder, "truncated.png"), RGB).read_bytes()
    (folder / "photos" / "truncated.png").write_bytes(whole[: len(whole) // 2])
    add(folder, "text.png").write_text("no picture", encoding="utf-8")
    add(folder, "empty.png").write_bytes(b"")
    add(folder, "page.jpg").write_text("<!doctype html><html>", encoding="utf-8")
    save(add(folder, "latin.png"), RGB)
    (folder / "photos" / "latin.txt").write_bytes("café".encode("latin-1"))


def headers(folder):
    """Return the latent files by their stem; one photo has no text file."""
    return {header.stem: header for header in list_headers(folder / "cache", CACHE_SUFFIX)}


@pytest.fixture(scope="module")
def cached(tmp_path_factory):
    """Return the folder and the summary of a first and a second run."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "photos").mkdir()
    write_formats(folder)
    for name, size_wh in ODD_SIZES.items():
        save(add(folder, f"{name}.png", size_wh), random_rgb(size_wh))
    for name in NAMES:
        save(add(folder, f"{name}.png"), RGB)
    for name, caption in CAPTIONS.items():
        save(add(folder, f"{name}.png", caption=caption), RGB)
    write_broken(folder)
    settings = {"mask_directory": folder / "masks", "enable_bucket": True}
    return folder, build(folder, **settings), build(folder, **settings)


def test_what_cannot_be_read_is_named_with_the_reason(cached):
    _, first, second = cached
    for summary in (first, second):
        told = {Path(failure.key.removesuffix(" caption")).name: failure.problem.what for failure in summary.failures}
        assert told.keys() == BROKEN.keys()
        assert all(BROKEN[name] in what for name, what in told.items())
        assert summary.exit_code == 3


def test_everything_else_is_cached_once(cached):
    folder, first, second = cached
    readable = len(list((folder / "photos").iterdir())) // 2 - len(BROKEN)
    assert (first.written, second.written, second.skipped) == (readable, 0, readable)
    # The photo whose caption is no text has its latents all the same, and is counted as failed alone.
    assert len(headers(folder)) == readable + 1


@pytest.mark.parametrize(
    "name", ["sixteen bits", "palette", "palette alpha", "cmyk", "jpeg inside", "turned", *ODD_SIZES]
)
def test_latents_and_weights_have_the_size_of_the_upright_picture(cached, name):
    folder, *_ = cached
    buckets = make_buckets(DatasetSection(resolution=(64, 48), enable_bucket=True), grid_multiple=16)
    width, height = buckets.fit(ODD_SIZES.get(name, PHOTO_WH)).size_wh
    shapes = {content: shape[1:] for content, (_, shape) in headers(folder)[name].contents.items()}
    assert shapes["latents"] == shapes["mask_weights"] == (1, height // 8, width // 8)


def test_sixteen_bits_make_the_latents_of_eight(cached):
    folder, *_ = cached
    sixteen, eight = (
        read_tensors(headers(folder)[name].path)["latents_1x6x8_float32"] for name in ("sixteen bits", "naïve")
    )
    assert (sixteen == eight).all()


@pytest.mark.parametrize("name", CAPTIONS)
def test_captions_of_every_script_stand_in_the_cache_as_they_were(cached, name):
    folder, *_ = cached
    assert (
        read_metadata(folder / "cache" / f"{name}_{CACHE_SUFFIX}_te.safetensors")["caption1"] == CAPTIONS[name].strip()
    )


def test_files_of_any_name_have_their_own_cache_files(cached):
    folder, *_ = cached
    stems = {name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") for name in NAMES}
    assert stems <= headers(folder).keys()


def test_a_video_with_one_broken_frame_gives_the_clips_before_it(tmp_path):
    video_folder(tmp_path, "whole", "broken")
    path = with_damaged_frames(tmp_path / "videos" / "broken.avi", range(7, 8), 12, size_wh=PHOTO_WH)
    summary = build(tmp_path, **on_videos(tmp_path, frame_extraction="chunk"))
    [failure] = summary.failures
    assert failure.key == f"{path} frames 5-9"
    assert failure.problem.what == "frame 7 of the video is damaged"
    assert (summary.written, summary.exit_code) == (3, 3)
