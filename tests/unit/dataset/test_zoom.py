"""Zooms: cut around the subject and the face, never enlarged, in the bucket that other trainers find for them."""

import pytest

from blissmask.config.sections.dataset_section import DatasetSection
from blissmask.dataset.buckets import make_buckets
from blissmask.dataset.zoom import SHARES, zooms
from blissmask.masks.sight import Box

HEAD = Box(0.45, 0.2, 0.55, 0.35)
PERSON = Box(0.35, 0.2, 0.65, 0.95)


def made(source_wh, boxes=(("subject", PERSON), ("face", HEAD)), **section):
    section = DatasetSection(**{"resolution": (512, 512), "enable_bucket": True, **section})
    buckets = make_buckets(section, grid_multiple=16)
    return buckets, zooms(boxes, buckets.fit(source_wh), buckets)


def span(zoom, axis):
    """Return where the zoom begins and ends along an axis, in pixels of the photo."""
    geometry = zoom.geometry
    scale = geometry.scaled_wh[axis] / geometry.source_wh[axis]
    return geometry.crop_xy[axis] / scale, (geometry.crop_xy[axis] + geometry.size_wh[axis]) / scale


def test_a_large_photo_has_both():
    _, found = made((6000, 4000))
    assert [zoom.kind for zoom in found] == ["subject", "face"]


@pytest.mark.parametrize(("position", "box"), [(0, PERSON), (1, HEAD)])
def test_a_zoom_shows_its_box_whole_at_its_share_of_the_frame(position, box):
    _, found = made((6000, 4000))
    zoom = found[position]
    shares = []
    for axis, length in enumerate((6000, 4000)):
        start, end = span(zoom, axis)
        first, last = (place * length for place in box.along(axis))
        assert start <= first
        assert end >= last
        shares.append((last - first) / (end - start))
    assert max(shares) == pytest.approx(SHARES[zoom.kind], abs=0.02)


@pytest.mark.parametrize("source_wh", [(700, 500), (1200, 900), (2000, 3000), (6000, 4000)])
def test_a_zoom_is_never_enlarged(source_wh):
    _, found = made(source_wh)
    for zoom in found:
        assert zoom.geometry.scaled_wh[0] <= source_wh[0]


def test_a_small_photo_has_none():
    assert made((700, 500))[1] == []


def test_a_photo_of_medium_size_shows_less_than_the_share_and_keeps_its_pixels():
    [zoom] = made((1500, 1000), boxes=[("face", HEAD)])[1]
    assert zoom.geometry.scaled_wh == (1500, 1000)


def test_a_face_that_the_photo_or_the_subject_shows_nearly_as_large_is_no_zoom():
    close = Box(0.2, 0.1, 0.8, 0.9)
    assert made((6000, 4000), boxes=[("subject", close), ("face", close)])[1] == []


@pytest.mark.parametrize("section", [{}, {"bucket_no_upscale": True}, {"enable_bucket": False}])
def test_the_size_of_the_part_has_the_bucket_of_the_zoom(section):
    buckets, found = made((6000, 4000), **section)
    assert found
    for zoom in found:
        assert buckets.fit(zoom.region_wh).size_wh == zoom.geometry.size_wh


def test_a_zoom_at_the_edge_lies_inside_the_photo():
    [zoom] = made((6000, 4000), boxes=[("face", Box(0.9, 0.0, 1.0, 0.15))])[1]
    assert span(zoom, 0)[1] <= 6000.5
    assert span(zoom, 1)[0] == 0
