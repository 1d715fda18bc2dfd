"""Bucket sizes and geometry against the figures that musubi-tuner and sd-scripts produce."""

import numpy as np
import pytest

from blissmask.config.sections.dataset_section import DatasetSection
from blissmask.dataset.buckets import area_size, area_sizes, make_buckets, side_sizes
from blissmask.dataset.geometry import cover
from blissmask.errors import UsageError


def buckets(**keys):
    step = keys.pop("step", 16)
    return make_buckets(DatasetSection(**keys), grid_multiple=step)


@pytest.mark.parametrize(
    ("resolution", "count"),
    [((1024, 1024), 65), ((960, 544), 47), ((512, 512), 33), ((720, 1280), 61), ((1328, 1328), 85)],
)
def test_there_are_as_many_buckets_as_in_musubi_tuner(resolution, count):
    assert len(area_sizes(resolution, 16)) == count


@pytest.mark.parametrize("resolution", [(1024, 1024), (960, 544), (512, 512), (720, 1280), (1328, 1328)])
def test_bucket_areas_are_within_three_percent_below_the_resolution(resolution):
    area = resolution[0] * resolution[1]
    shares = [width * height / area for width, height in area_sizes(resolution, 16)]
    assert 0.97 < min(shares) <= max(shares) <= 1.0


@pytest.mark.parametrize(
    ("resolution", "no_upscale", "image", "bucket", "scaled", "crop"),
    [
        (1024, False, (1920, 1080), (1360, 768), (1365, 768), (2, 0)),
        (1024, False, (1080, 1920), (768, 1360), (768, 1365), (0, 2)),
        (1024, False, (3000, 2000), (1248, 832), (1248, 832), (0, 0)),
        (1024, False, (640, 480), (1184, 880), (1184, 888), (0, 4)),
        (1024, True, (640, 480), (640, 480), (640, 480), (0, 0)),
        (1024, False, (512, 512), (1024, 1024), (1024, 1024), (0, 0)),
        (1024, False, (4000, 1000), (2048, 512), (2048, 512), (0, 0)),
        (1024, False, (1500, 900), (1328, 784), (1328, 797), (0, 6)),
        (1024, False, (832, 480), (1360, 768), (1360, 785), (0, 8)),
        (1024, True, (1365, 768), (1360, 768), (1365, 768), (2, 0)),
        ((960, 544), False, (1920, 1080), (960, 544), (967, 544), (3, 0)),
        ((960, 544), False, (1024, 1024), (720, 720), (720, 720), (0, 0)),
        ((960, 544), False, (3000, 2000), (880, 592), (888, 592), (4, 0)),
        ((960, 544), False, (640, 480), (832, 624), (832, 624), (0, 0)),
        ((960, 544), False, (4000, 1000), (1408, 368), (1472, 368), (32, 0)),
        ((960, 544), False, (1000, 4000), (352, 1472), (368, 1472), (8, 0)),
    ],
)
def test_a_picture_gets_the_bucket_scale_and_crop_of_musubi_tuner(resolution, no_upscale, image, bucket, scaled, crop):
    geometry = buckets(resolution=resolution, enable_bucket=True, bucket_no_upscale=no_upscale).fit(image)
    assert (geometry.size_wh, geometry.scaled_wh, geometry.crop_xy) == (bucket, scaled, crop)


@pytest.mark.parametrize(
    ("image", "scaled", "crop"), [((1080, 1920), (960, 1707), (0, 581)), ((1024, 1024), (960, 960), (0, 208))]
)
def test_without_bucketing_every_picture_is_cut_to_the_resolution(image, scaled, crop):
    geometry = buckets(resolution=(960, 544)).fit(image)
    assert (geometry.size_wh, geometry.scaled_wh, geometry.crop_xy) == ((960, 544), scaled, crop)


@pytest.mark.parametrize(
    ("area", "image", "size"),
    [
        (384, (1920, 1080), (512, 288)),
        (384, (3000, 2000), (464, 304)),
        (384, (2000, 3000), (304, 480)),
        (384, (640, 480), (432, 336)),
        (384, (4000, 1000), (768, 192)),
        (1024, (3000, 2000), (1248, 832)),
        (1024, (640, 480), (1184, 880)),
    ],
)
def test_control_pictures_get_the_size_of_musubi_tuner(area, image, size):
    assert area_size(image, (area, area), 16) == size


def test_sd_scripts_keys_give_the_buckets_of_sd_scripts():
    # 512 x 512 pixels, sides 256 to 768 in steps of 64, worked out by hand after sd-scripts' rule.
    tall = [(256, 768), (320, 704), (320, 768), (384, 640), (448, 576)]
    assert side_sizes((512, 512), shortest=256, longest=768, step=64) == (
        *tall,
        (512, 512),
        *sorted(size[::-1] for size in tall),
    )


def test_limits_are_rounded_outwards_to_the_step():
    assert side_sizes((512, 512), shortest=300, longest=700, step=64) == side_sizes(
        (512, 512), shortest=256, longest=704, step=64
    )


def test_the_bucket_keys_of_the_guide_are_used():
    made = buckets(
        resolution=(1024, 1024), enable_bucket=True, min_bucket_reso=512, max_bucket_reso=1536, bucket_reso_steps=64
    )
    assert made.fit((4000, 1000)).size_wh == (1536, 512)


def test_a_resolution_off_the_grid_is_refused_without_bucketing():
    with pytest.raises(UsageError, match="`resolution` 1000x1000 is no multiple of 16"):
        buckets(resolution=(1000, 1000))


def test_a_resolution_off_the_grid_is_rounded_by_bucketing():
    assert buckets(resolution=(1000, 1000), enable_bucket=True).fit((500, 500)).size_wh == (992, 1008)


def test_bucket_steps_off_the_grid_are_refused():
    with pytest.raises(UsageError, match="`bucket_reso_steps` 24"):
        buckets(resolution=(512, 512), enable_bucket=True, bucket_reso_steps=24)


def test_a_longest_side_below_the_resolution_is_refused():
    with pytest.raises(UsageError, match="`max_bucket_reso` 512 is smaller"):
        buckets(resolution=(1024, 1024), enable_bucket=True, max_bucket_reso=512)


def test_a_picture_of_one_pixel_gets_a_bucket_without_upscaling_too():
    assert buckets(resolution=(64, 64), enable_bucket=True, bucket_no_upscale=True).fit((1, 1)).size_wh == (64, 64)


def test_photo_and_mask_are_cut_at_the_same_place():
    geometry = cover((40, 20), (16, 16))
    rgb_HW3 = np.zeros((20, 40, 3), np.uint8)
    rgb_HW3[:, 20:] = 255
    weights_HW = (rgb_HW3[..., 0] / 255).astype(np.float32)
    assert np.abs(geometry.fit_rgb(rgb_HW3)[..., 0] / 255 - geometry.fit_weights(weights_HW)).max() < 0.01


def test_a_mask_of_another_size_is_brought_to_the_photo_first():
    geometry = cover((40, 20), (16, 16))
    large_HW = np.zeros((40, 80), np.float32)
    large_HW[:, 40:] = 1
    small_HW = np.ascontiguousarray(large_HW[::2, ::2])
    assert np.array_equal(geometry.fit_weights(large_HW), geometry.fit_weights(small_HW))


def test_colours_under_transparent_pixels_survive_enlarging():
    geometry = cover((8, 8), (16, 16))
    assert (geometry.fit_rgb(np.full((8, 8, 3), 200, np.uint8)) == 200).all()


@pytest.mark.parametrize("source_wh", [(1, 8000), (8000, 1), (3, 4000), (50_000, 2)])
def test_no_more_of_a_thin_picture_is_enlarged_than_is_kept(monkeypatch, source_wh):
    asked = []
    monkeypatch.setattr(
        "blissmask.dataset.geometry.resize_rgb",
        lambda _, size_wh: asked.append(size_wh) or np.zeros((size_wh[1], size_wh[0], 3), np.uint8),
    )
    target_wh = (512, 2048) if source_wh[0] < source_wh[1] else (2048, 512)
    fitted_HW3 = cover(source_wh, target_wh).fit_rgb(np.zeros((source_wh[1], source_wh[0], 3), np.uint8))
    assert fitted_HW3.shape == (target_wh[1], target_wh[0], 3)
    [(width, height)] = asked
    assert width * height < 16 * target_wh[0] * target_wh[1]
