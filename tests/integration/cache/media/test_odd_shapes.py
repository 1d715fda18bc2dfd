"""Extremely thin pictures are cut before they are enlarged, and named; they cost the run neither memory nor its end."""

import numpy as np
import pytest

from blissmask.cachefile.read_headers import list_headers
from tests.builders.cache import PHOTO_WH, build, captions, entries, plan
from tests.builders.families import CACHE_SUFFIX
from tests.builders.pictures import photo_folder, random_rgb, save


def thin_folder(folder):
    """Write an ordinary photo and one of 1x8000 pixels, the lower half of which is masked out; return the folder."""
    photo_folder(folder / "photos", ["a.png"], size_wh=PHOTO_WH)
    save(folder / "photos" / "thin.png", random_rgb((1, 8000)))
    mask_HW = np.zeros((8000, 1), np.uint8)
    mask_HW[:4000] = 255
    save(folder / "masks" / "thin.png", mask_HW)
    captions(folder, ["a", "thin"])
    return folder


@pytest.fixture
def thin(tmp_path):
    return thin_folder(tmp_path)


def settings(folder, **changes):
    return {"mask_directory": folder / "masks", "resolution": [1024, 1024], "enable_bucket": True, **changes}


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """Return the folder and its plan at full resolution, whose mask of two thousand million pixels takes seconds."""
    folder = thin_folder(tmp_path_factory.mktemp("thin"))
    return folder, plan(folder, **settings(folder))


def test_a_thin_photo_with_a_mask_is_planned_at_full_resolution(planned):
    found = {entry.item.media.stem: entry for entry in planned[1].entries}
    assert found["thin"].geometry.scaled_wh == (512, 4_096_000)
    assert found["thin"].mean_weight == pytest.approx(0.5, abs=0.01)


def test_a_thin_photo_is_cached_beside_the_others(thin):
    summary = build(thin, **settings(thin, resolution=[128, 96]))
    assert (summary.failures, summary.written) == ([], 2)
    assert len(list_headers(thin / "cache", CACHE_SUFFIX)) == 2


def test_the_mask_of_a_thin_photo_lies_on_it(thin):
    build(thin, **settings(thin, resolution=[64, 48], enable_bucket=False))
    weights_hw = entries(thin)["thin"].weights_1fhw[0, 0]
    assert weights_hw.mean(dim=1).tolist() == [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]


def test_a_photo_that_loses_nearly_everything_to_the_crop_is_named(planned):
    folder, plan_of_all = planned
    told = {problem.what: problem.where for problem in plan_of_all.warnings}
    assert told["1 item loses nearly everything to the crop"] == (
        f"{folder / 'photos' / 'thin.png'}: 1x8000 to 512x2048",
    )
