"""A photo lies on its side where a quarter turn brings a face upright that is not so already."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blissmask.vision.faces.sideways import lies_on_its_side

PHOTOS = Path(__file__).parents[2] / "photos"


def small(name, turns=0):
    picture = Image.open(PHOTOS / f"{name}.png").convert("RGB")
    picture.thumbnail((256, 256))
    return np.ascontiguousarray(np.rot90(np.asarray(picture), turns))


@pytest.mark.parametrize(("turns", "expected"), [(0, False), (1, True), (2, False), (3, True)])
@pytest.mark.parametrize("name", ["astronaut", "camera"])
def test_a_face_tells_how_a_photo_lies(name, turns, expected):
    assert lies_on_its_side(small(name, turns)) is expected


@pytest.mark.parametrize("name", ["chelsea", "coffee"])
@pytest.mark.parametrize("turns", [0, 1])
def test_without_a_face_nothing_is_known(name, turns):
    assert lies_on_its_side(small(name, turns)) is False


def test_too_small_a_photo_is_not_looked_at():
    assert lies_on_its_side(np.zeros((40, 60, 3), np.uint8)) is False
