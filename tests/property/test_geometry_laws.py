"""Laws of geometry, buckets, shares and fingerprints for all inputs."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from blissmask.config.sections.dataset_section import DatasetSection
from blissmask.dataset.buckets import area_sizes, make_buckets
from blissmask.dataset.clip_ranges import clip_ranges, frames_at_rate
from blissmask.dataset.geometry import cover, read_geometry
from blissmask.dataset.pixel_mask import still_mask
from blissmask.masks.latent import exact_shares
from blissmask.masks.tiers import TierTable

SIDES = st.integers(1, 6000)
SIZES = st.tuples(SIDES, SIDES)
RESOLUTIONS = st.tuples(st.integers(64, 1600), st.integers(64, 1600))
SMALL = st.integers(1, 60)


@given(size=SIZES, resolution=RESOLUTIONS, no_upscale=st.booleans(), grid=st.sampled_from([16, 32]))
def test_every_picture_gets_a_size_on_the_grid(size, resolution, no_upscale, grid):
    section = DatasetSection(resolution=resolution, enable_bucket=True, bucket_no_upscale=no_upscale)
    width, height = make_buckets(section, grid_multiple=grid).fit(size).size_wh
    assert (width % grid, height % grid, width > 0, height > 0) == (0, 0, True, True)


@given(resolution=RESOLUTIONS)
def test_no_bucket_is_larger_than_the_resolution(resolution):
    assert all(width * height <= resolution[0] * resolution[1] for width, height in area_sizes(resolution, 16))


@given(resolution=RESOLUTIONS)
def test_every_bucket_has_its_turned_twin(resolution):
    sizes = area_sizes(resolution, 16)
    assert sorted(size[::-1] for size in sizes) == list(sizes)


@given(source=SIZES, target=st.tuples(st.integers(16, 2000), st.integers(16, 2000)))
def test_the_crop_lies_inside_the_scaled_picture(source, target):
    geometry = cover(source, target)
    assert read_geometry(str(geometry)) == geometry, "cache entries remember it as text"
    for scaled, start, side in zip(geometry.scaled_wh, geometry.crop_xy, target, strict=True):
        assert 0 <= start <= start + side <= scaled


@given(source=SIZES, target=st.tuples(st.integers(16, 2000), st.integers(16, 2000)))
def test_only_one_axis_is_cropped_by_more_than_rounding(source, target):
    geometry = cover(source, target)
    assert min(scaled - side for scaled, side in zip(geometry.scaled_wh, target, strict=True)) <= 1


@settings(deadline=None, max_examples=100)
@given(
    short=st.integers(1, 4),
    long=st.integers(100, 2000),
    turned=st.booleans(),
    target=st.sampled_from([(32, 16), (16, 32), (48, 48)]),
)
def test_photo_and_mask_of_a_thin_picture_lie_on_each_other(short, long, turned, target):
    ramp_HW = np.repeat(np.linspace(0, 1, long, dtype=np.float32)[:, None], short, axis=1)
    grey_HW = ramp_HW.T if turned else ramp_HW
    geometry = cover(grey_HW.shape[::-1], target)
    rgb_HW3 = np.repeat(np.rint(grey_HW * 255).astype(np.uint8)[..., None], 3, axis=2)
    # Nearest and Lanczos differ by less than one step of the source.
    assert np.abs(geometry.fit_rgb(rgb_HW3)[..., 0] / 255 - geometry.fit_weights(grey_HW)).max() < 1.5 / long + 0.005


@settings(deadline=None, max_examples=50)
@given(source=st.tuples(SMALL, SMALL), seed=st.integers(0, 99))
def test_weights_and_shares_of_any_tier_mask_agree(source, seed):
    values = np.array([255, 128, 80, 0])
    weights_HW = (np.random.default_rng(seed).choice(values, source[::-1]) / 255).astype(np.float32)
    mask = still_mask(weights_HW, cover(source, (32, 16)), TierTable())
    assert mask.shares_RfHW is not None
    again = np.tensordot(values / 255, mask.shares_RfHW, axes=1)
    assert np.abs(again - mask.weights_fHW).max() < 1e-5


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 999), cells=st.integers(1, 8))
def test_rounded_shares_sum_to_one_and_move_by_less_than_a_step(seed, cells):
    shares = (
        np.random.default_rng(seed)
        .dirichlet(np.ones(4) * 0.3, (1, cells, cells))
        .transpose(3, 0, 1, 2)
        .astype(np.float32)
    )
    rounded = exact_shares(shares)
    assert (rounded.astype(np.float64).sum(axis=0) == 1).all()
    assert np.abs(rounded - shares).max() < 1 / 2048 + 1e-6


@given(counts=st.lists(st.integers(0, 64), min_size=3, max_size=3))
def test_shares_of_whole_pixels_are_kept_exactly(counts):
    face, body, hair = sorted(counts)[0], sorted(counts)[1] - sorted(counts)[0], sorted(counts)[2] - sorted(counts)[1]
    shares = np.array([face, body, hair, 64 - face - body - hair], np.float32).reshape(4, 1, 1, 1) / 64
    assert np.array_equal(exact_shares(shares), shares.astype(np.float16))


@given(frames=st.integers(1, 300), source=st.floats(1, 240), target=st.sampled_from([16.0, 24.0, 30.0]))
def test_frames_are_never_repeated_and_stay_in_order(frames, source, target):
    kept = frames_at_rate(frames, source, target)
    assert kept == sorted(set(kept))
    assert kept[0] == 0


@given(
    frames=st.integers(1, 300),
    targets=st.lists(st.integers(1, 129), min_size=1, max_size=3),
    mode=st.sampled_from(["head", "chunk", "slide", "uniform", "full"]),
    samples=st.integers(1, 9),
)
def test_every_clip_lies_in_the_video_and_has_4k_plus_1_frames(frames, targets, mode, samples):
    section = DatasetSection(target_frames=targets, frame_extraction=mode, frame_sample=samples)
    for clip in clip_ranges(frames, section, 4):
        assert (clip.frame_count % 4, 0 <= clip.start <= clip.start + clip.frame_count <= frames) == (1, True)
