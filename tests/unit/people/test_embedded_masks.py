"""The built-in instance backend makes the masks of a large photo with few planes in memory at a time."""

import tracemalloc

import numpy as np

from blissmask.people import embedded
from blissmask.vision.guided_filter import LinearModel
from blissmask.vision.photo import Photo

SIZE_WH = (4000, 3000)


def whole_photo_but_a_corner(size_wh: tuple[int, int] = SIZE_WH) -> embedded._Sharpened:
    coefficients_4hw = np.zeros((4, 300, 400), np.float32)
    coefficients_4hw[3] = 1
    coefficients_4hw[3, :30, :40] = 0
    return embedded._Sharpened(LinearModel(coefficients_4hw, (0, 0), (400, 300)), (0, 0, *size_wh))


def test_a_mask_is_made_in_its_own_memory():
    """Besides the owner of every pixel: a plane of a photo of 48 megapixels has 48 MB."""
    photo = Photo(np.zeros((SIZE_WH[1], SIZE_WH[0], 3), np.uint8))
    plane = SIZE_WH[0] * SIZE_WH[1]
    tracemalloc.start()
    (mask_HW,) = embedded._masks_of_each(photo, [whole_photo_but_a_corner()])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not mask_HW[:250, :350].any()
    assert mask_HW[350:, 450:].all()
    # Owner and mask; strips in which parts are chosen take 16 MB, however large the photo.
    assert peak < 2 * plane + 18e6


def test_what_sharpened_a_mask_is_gone_before_masks_are_made(monkeypatch):
    left = []
    sharpened = [whole_photo_but_a_corner((400, 300)), None]
    monkeypatch.setattr(embedded, "_mask_of", lambda *_: left.append(list(sharpened)))
    embedded._masks_of_each(Photo(np.zeros((300, 400, 3), np.uint8)), sharpened)
    assert left == [[], []]
