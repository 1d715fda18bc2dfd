"""The built-in backend decides the classes of a large photo strip by strip, with few planes in memory at a time."""

import tracemalloc

import numpy as np
import pytest

from blissmask.parsing import embedded
from blissmask.vision.guided_filter import LinearModel
from blissmask.vision.photo import Photo, paste
from blissmask.vision.selfie_multiclass import BACKGROUND, FACE_SKIN, HAIR

WINDOW = (0, 0, 1200, 512)
PIXELS = WINDOW[2] * WINDOW[3]


@pytest.fixture
def photo():
    return Photo(np.random.default_rng(1).integers(0, 256, (WINDOW[3], WINDOW[2], 3), dtype=np.uint8))


@pytest.fixture
def sharp():
    chance = np.random.default_rng(2)
    guide_wh = (WINDOW[2] // 6, WINDOW[3] // 6)

    def model():
        # Colours explain a part of each mask, and the masks are about a quarter of what there is.
        coefficients_4hw = chance.normal(0, 0.2, (4, *guide_wh[::-1])).astype(np.float32)
        coefficients_4hw[3] += 0.25
        return LinearModel(coefficients_4hw, (0, 0), guide_wh)

    body_Khw = chance.random((len(embedded.BODY_CLASSES), *guide_wh[::-1]), dtype=np.float32)
    return embedded._Sharp(model(), model(), model(), body_Khw)


def test_every_pixel_gets_its_most_probable_class_the_first_of_equal_ones(photo, sharp):
    labels_HW = embedded._strip_labels(photo, sharp, WINDOW)
    face, hair, body = (each.apply(photo.rgb_HW3, WINDOW) for each in (sharp.face, sharp.hair, sharp.body))
    best = np.stack([1 - face - hair - body, face, hair, body]).argmax(axis=0)
    scale = np.array([[1 / 6, 0, 0], [0, sharp.body_Khw.shape[1] / WINDOW[3], 0]])
    parts = np.stack([paste(part_hw, scale, WINDOW) for part_hw in sharp.body_Khw]).argmax(axis=0)
    of_body = np.array(embedded.BODY_CLASSES)[parts]
    assert np.array_equal(labels_HW, np.choose(best, [BACKGROUND, FACE_SKIN, HAIR, of_body]))
    assert len(np.unique(labels_HW)) == 3 + len(embedded.BODY_CLASSES)


def test_a_strip_takes_four_planes_of_numbers_and_four_of_bytes_at_most(photo, sharp):
    """A plane of numbers has 12 MB of a strip of 48 megapixels; six of them were the largest part of a worker's peak."""
    embedded._strip_labels(photo, sharp, WINDOW)
    tracemalloc.start()
    embedded._strip_labels(photo, sharp, WINDOW)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Rows that are multiplied at a time come on top.
    assert peak < PIXELS * (4 * 4 + 4) * 1.1
