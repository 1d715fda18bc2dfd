"""The built-in semantic backend on real photos: what must be where, and what must end well."""

import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blissmask.config.sections.mask_sections import MasksSection
from blissmask.masks.tiers import TIERS
from blissmask.parsing import embedded
from blissmask.parsing.embedded import backend

PHOTOS = Path(__file__).parents[2] / "photos"
BACKEND = backend(MasksSection())
NUMBER = {name: number for number, name in enumerate(BACKEND.classes)}


def photo(name):
    return np.array(Image.open(PHOTOS / name).convert("RGB"))


def parse(rgb):
    return BACKEND.parse([rgb])[0]


@pytest.fixture(scope="module")
def astronaut_rgb():
    return photo("astronaut.png")


@pytest.fixture(scope="module")
def astronaut(astronaut_rgb):
    return parse(astronaut_rgb)


@pytest.fixture(scope="module")
def camera():
    return parse(photo("camera.png"))


def share(labels, name, box):
    left, top, right, bottom = box
    return float((labels[top:bottom, left:right] == NUMBER[name]).mean())


@pytest.mark.parametrize(
    ("name", "box"),
    [
        ("face-skin", (205, 85, 245, 135)),
        ("hair", (195, 25, 250, 45)),
        ("clothes", (140, 280, 300, 400)),
        ("background", (380, 20, 500, 200)),
        ("background", (5, 60, 70, 200)),
    ],
)
def test_every_part_of_the_astronaut_is_where_it_is(astronaut, name, box):
    assert share(astronaut.labels_HW, name, box) > 0.93


def test_one_person_with_one_face_is_seen(astronaut):
    assert (astronaut.people, astronaut.faces) == (1, 1)


def test_coverage_of_the_astronaut_stays_what_it_was(astronaut):
    shares = np.bincount(astronaut.labels_HW.reshape(-1), minlength=6) / astronaut.labels_HW.size
    assert shares[NUMBER["face-skin"]] == pytest.approx(0.029, abs=0.004)
    assert shares[NUMBER["hair"]] == pytest.approx(0.036, abs=0.004)
    assert shares[NUMBER["background"]] == pytest.approx(0.55, abs=0.04)


def test_a_grey_photo_from_the_side_has_face_hair_and_coat(camera):
    labels = camera.labels_HW
    assert share(labels, "hair", (190, 70, 240, 90)) > 0.8
    assert share(labels, "clothes", (140, 170, 200, 260)) > 0.93
    assert share(labels, "background", (300, 20, 500, 120)) == 1.0


@pytest.mark.parametrize("name", ["chelsea.png", "coffee.png"])
def test_a_cat_and_a_cup_are_background_and_nobody(name):
    parsed = parse(photo(name))
    assert (parsed.people, parsed.faces) == (0, 0)
    assert parsed.labels_HW.max() == 0


@pytest.mark.parametrize("size_wh", [(1, 1), (2, 1), (50000, 3), (3, 50000), (640, 480)])
def test_pictures_of_nothing_end_in_an_empty_mask(size_wh):
    parsed = parse(np.full((size_wh[1], size_wh[0], 3), 120, np.uint8))
    assert parsed.labels_HW.shape == size_wh[::-1]
    assert parsed.labels_HW.max() == 0
    assert parsed.people == 0


def test_a_copy_beyond_the_working_size_gives_the_same_mask(astronaut, astronaut_rgb):
    large = np.array(Image.fromarray(astronaut_rgb).resize((1900, 1900), Image.Resampling.BICUBIC))
    labels = parse(large).labels_HW
    assert labels.shape == (1900, 1900)
    again = np.array(Image.fromarray(labels).resize((512, 512), Image.Resampling.NEAREST))
    for name, least in (("face-skin", 0.93), ("hair", 0.93), ("clothes", 0.85)):
        one, two = astronaut.labels_HW == NUMBER[name], again == NUMBER[name]
        assert (one & two).sum() / (one | two).sum() > least, name


def test_threads_and_batches_change_nothing(astronaut, camera):
    rgbs = [photo("astronaut.png"), photo("camera.png")]
    alone = [astronaut.labels_HW, camera.labels_HW]
    batch = [parsed.labels_HW for parsed in BACKEND.parse(rgbs)]
    with ThreadPoolExecutor(2) as workers:
        threads = [parsed.labels_HW for parsed in workers.map(parse, rgbs)]
    for one, two, three in zip(alone, batch, threads, strict=True):
        assert np.array_equal(one, two)
        assert np.array_equal(one, three)


def test_every_class_has_a_tier():
    assert set(BACKEND.tiers) == set(BACKEND.classes)
    assert set(BACKEND.tiers.values()) == set(TIERS)


def test_the_photo_is_left_as_it_was(astronaut, astronaut_rgb):
    assert np.array_equal(astronaut_rgb, photo("astronaut.png"))


def test_class_maps_are_gone_before_outlines_are_sharpened(monkeypatch):
    """Each takes 35 MB of a large photo, as much as all that sharpening needs besides."""
    maps = []
    genuine = embedded.GuidedFilter

    def kept(join):
        def joined(class_map, scene):
            result = join(class_map, scene)
            maps.extend(weakref.ref(each.probabilities_hwC) for each in (class_map, result))
            return result

        return joined

    def sharpening(*arguments, **options):
        assert [reference() for reference in maps] == [None, None]
        return genuine(*arguments, **options)

    monkeypatch.setattr(embedded, "join_bodies", kept(embedded.join_bodies))
    monkeypatch.setattr(embedded, "GuidedFilter", sharpening)
    parse(photo("coffee.png"))
    assert len(maps) == 2
