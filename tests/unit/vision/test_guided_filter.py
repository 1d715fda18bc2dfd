"""The guided filter moves coarse edges onto those of the photo."""

import numpy as np

from blissmask.vision.guided_filter import GuidedFilter


def _halves(size, edge):
    rgb = np.full((size, size, 3), 40, np.uint8)
    rgb[:, edge:] = (200, 120, 90)
    return rgb


def test_a_coarse_edge_moves_to_the_edge_of_the_photo():
    rgb = _halves(64, 32)
    coarse = np.tile(np.clip((np.arange(64) - 28) / 8 + 0.25, 0, 1).astype(np.float32), (64, 1))
    sharp = GuidedFilter(rgb, radius=6).fit(coarse).apply(rgb, (0, 0, 64, 64))
    assert (sharp[20] > 0.5).argmax() == 32


def test_a_small_guide_sharpens_at_the_full_size():
    rgb = _halves(256, 128)
    small = np.ascontiguousarray(rgb[::4, ::4])
    coarse = np.tile((np.arange(64) >= 31).astype(np.float32), (64, 1))
    sharp = GuidedFilter(small, radius=4).fit(coarse).apply(rgb, (0, 0, 256, 256))
    assert abs(int((sharp[100] > 0.5).argmax()) - 128) <= 1


def test_filtered_masks_that_sum_to_one_still_do():
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (48, 48, 3), dtype=np.uint8)
    mask = rng.random((48, 48), dtype=np.float32)
    guide = GuidedFilter(rgb, radius=3)
    both = guide.fit(mask).apply(rgb, (0, 0, 48, 48)) + guide.fit(1 - mask).apply(rgb, (0, 0, 48, 48))
    assert np.allclose(both, 1, atol=2e-3)


def test_strips_join_without_a_seam():
    rng = np.random.default_rng(1)
    rgb = rng.integers(0, 256, (90, 60, 3), dtype=np.uint8)
    model = GuidedFilter(np.ascontiguousarray(rgb[::2, ::2]), radius=3).fit(rng.random((45, 30), dtype=np.float32))
    strips = np.concatenate([model.apply(rgb, (0, top, 60, top + 30)) for top in (0, 30, 60)])
    assert np.allclose(strips, model.apply(rgb, (0, 0, 60, 90)), atol=1e-4)


def test_a_part_of_the_guide_agrees_with_the_whole_away_from_its_border():
    rng = np.random.default_rng(2)
    rgb = rng.integers(0, 256, (60, 60, 3), dtype=np.uint8)
    mask = rng.random((60, 60), dtype=np.float32)
    guide = GuidedFilter(rgb, radius=2)
    inner = (20, 20, 40, 40)
    part = guide.fit(mask, (10, 10, 50, 50)).apply(rgb, inner)
    assert np.allclose(part, guide.fit(mask).apply(rgb, inner), atol=1e-3)
