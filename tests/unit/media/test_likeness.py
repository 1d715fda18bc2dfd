"""The same picture is known in another size, format and quality; another picture is not taken for it."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from blissmask.media.likeness import Copy, Likeness, find_copies, likeness_of
from tests.builders.pictures import random_rgb

PHOTOS = Path(__file__).parents[2] / "photos"
NAMES = ("astronaut", "camera", "chelsea", "coffee")


def photo(name):
    return Image.open(PHOTOS / f"{name}.png").convert("RGB")


def jpeg(picture, quality):
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(file)


def likeness(picture):
    return likeness_of(np.asarray(picture.convert("RGB")))


def smaller(picture):
    return picture.resize((picture.width // 4, picture.height // 4))


def poor(picture):
    return jpeg(picture, 40)


def brighter(picture):
    return ImageEnhance.Brightness(picture).enhance(1.05)


def much_brighter(picture):
    return ImageEnhance.Brightness(picture).enhance(1.2)


def darker(picture):
    return ImageEnhance.Brightness(picture).enhance(0.8)


@pytest.mark.parametrize("change", [smaller, poor, brighter, much_brighter, darker])
@pytest.mark.parametrize("name", NAMES)
def test_a_copy_is_known(name, change):
    assert likeness(photo(name)).is_alike(likeness(change(photo(name))))


def test_other_photos_are_no_copies():
    assert find_copies([likeness(photo(name)) for name in NAMES]) == {}


def test_each_copy_is_told_with_the_first_of_them():
    small = likeness(photo("chelsea").resize((90, 60)))
    copies = find_copies([likeness(photo("coffee")), likeness(photo("chelsea")), None, small, small])
    assert copies == {3: Copy(1), 4: Copy(1)}


@pytest.mark.parametrize("name", NAMES)
def test_a_mirrored_copy_is_known_as_one_and_is_no_other_photo(name):
    mirrored = poor(ImageOps.mirror(photo(name)))
    seen = [likeness(photo(each)) for each in NAMES]
    assert find_copies([*seen, likeness(mirrored)]) == {4: Copy(NAMES.index(name), is_mirrored=True)}


def test_noise_is_its_own_copy_and_that_of_no_other():
    hashes = [likeness_of(random_rgb((64, 64), seed=seed)) for seed in range(50)]
    assert find_copies([*hashes, hashes[7]]) == {50: Copy(7)}


def test_pictures_of_one_brightness_and_smooth_ones_of_other_colours_are_told_apart():
    assert likeness_of(np.full((64, 64, 3), 90, np.uint8)) is None
    ramp = np.linspace(0, 255, 64, dtype=np.uint8)
    red, blue = np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64, 3), np.uint8)
    red[..., 0], blue[..., 2] = ramp, ramp
    assert find_copies([likeness_of(red), likeness_of(blue)]) == {}


def falling(top, bottom):
    """Return a picture whose colours go from ``top`` to ``bottom``, as those of a sky do."""
    return np.linspace(top, bottom, 64).round().astype(np.uint8)[:, None].repeat(64, axis=1)


def test_smooth_pictures_of_other_hues_are_told_apart_however_dark_they_are():
    day = falling((70, 130, 220), (230, 235, 250))
    dusk, night = falling((5, 3, 12), (60, 22, 12)), falling((0, 0, 6), (12, 14, 40))
    skies = [likeness_of(sky) for sky in (day, dusk, night)]
    assert find_copies(skies) == {}
    assert find_copies([*skies, likeness(poor(Image.fromarray(night)))]) == {3: Copy(2)}


def test_a_likeness_is_remembered_as_text():
    found = likeness(photo("astronaut"))
    assert Likeness.parse(str(found)) == found
    assert Likeness.parse("no likeness") is None
