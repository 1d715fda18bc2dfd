"""Photos whose colours are converted to sRGB are named, remember it, and are the only ones that it makes stale."""

import pytest

from tests.builders.cache import build, metadata, plan
from tests.builders.pictures import random_rgb, save, wide_profile


@pytest.fixture
def photos(tmp_path):
    """Two photos of the same values, one of them in Display P3."""
    for name, options in (("plain", {}), ("wide", {"icc_profile": wide_profile()})):
        save(tmp_path / "photos" / f"{name}.png", random_rgb((96, 64)), **options)
        (tmp_path / "photos" / f"{name}.txt").write_text("a photo", encoding="utf-8")
    return tmp_path


def test_values_that_mean_other_colours_are_encoded_as_other_colours(photos):
    build(photos)
    assert metadata(photos, "plain")["blissmask.colours"] != metadata(photos, "wide")["blissmask.colours"]


def test_photos_whose_colours_are_converted_are_named(photos):
    [warning] = [problem for problem in plan(photos).warnings if "colour profile" in problem.what]
    assert warning.what == "1 photo with another colour profile than sRGB"
    assert warning.where == (f"{photos / 'photos' / 'wide.png'}: Display P3",)


def test_the_profile_is_remembered_of_such_photos_alone(photos):
    build(photos)
    assert "blissmask.profile" not in metadata(photos, "plain")
    assert metadata(photos, "plain")["blissmask.source"] == "96x64 1 frames"
    assert metadata(photos, "wide")["blissmask.profile"] == "Display P3"
    assert build(photos).skipped == 2
