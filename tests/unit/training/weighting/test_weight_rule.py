"""From cached mask weights and region shares to loss weights."""

import pytest
import torch

from blissmask.cachefile.entry import CacheEntry
from blissmask.masks.tiers import TIERS
from blissmask.training.weighting.rule import WeightRule, feather

FACE_BODY = torch.zeros(4, 1, 1, 2)
FACE_BODY[0, 0, 0] = torch.tensor([1.0, 0.5])
FACE_BODY[1, 0, 0] = torch.tensor([0.0, 0.5])


def entry(weights, regions=None):
    return CacheEntry(torch.zeros(16, *weights.shape[1:]), weights, regions, {})


def mixed_cell():
    """Return an entry of a cell that is all face and one that is half face, half body."""
    return entry(torch.tensor([1.0, (1 + 128 / 255) / 2]).reshape(1, 1, 1, 2), FACE_BODY)


def test_latent_transform_shapes_the_mean_of_the_cell():
    weights = WeightRule(gamma=2.0, min_weight=0.0).loss_weights(mixed_cell())
    assert weights.flatten().tolist() == pytest.approx([1.0, ((1 + 128 / 255) / 2) ** 2])


def test_pixel_transform_is_the_mean_of_the_shaped_pixels():
    weights = WeightRule(gamma=2.0, min_weight=0.1, transform="pixel").loss_weights(mixed_cell())
    body = (128 / 255) ** 2 * 0.9 + 0.1
    assert weights.flatten().tolist() == pytest.approx([1.0, (1.0 + body) / 2])


def test_both_transforms_agree_where_a_cell_is_of_one_tier():
    regions = torch.eye(4).reshape(4, 1, 1, 4)
    weights = torch.tensor([1.0, 128 / 255, 80 / 255, 0.0]).reshape(1, 1, 1, 4)
    latent = WeightRule(gamma=0.7, min_weight=0.05).loss_weights(entry(weights, regions))
    pixel = WeightRule(gamma=0.7, min_weight=0.05, transform="pixel").loss_weights(entry(weights, regions))
    assert torch.allclose(latent, pixel, atol=1e-6)
    assert latent.flatten().tolist() == pytest.approx([1.0, 0.636398, 0.471996, 0.05], abs=1e-6)


def test_tier_weights_at_train_time_replace_the_cached_ones():
    rule = WeightRule(gamma=1.0, min_weight=0.0, own_weights=dict(zip(TIERS, (0.5, 1.0, 0.0, 0.0), strict=True)))
    assert rule.loss_weights(mixed_cell()).flatten().tolist() == pytest.approx([0.5, 0.75])


def test_cells_without_regions_keep_their_cached_weight():
    control_frame = entry(torch.ones(1, 1, 1, 2), torch.zeros(4, 1, 1, 2))
    for transform in ("latent", "pixel"):
        rule = WeightRule(gamma=1.0, min_weight=0.0, transform=transform, own_weights=dict.fromkeys(TIERS, 0.2))
        assert rule.loss_weights(control_frame).tolist() == torch.ones(1, 1, 1, 2).tolist()


def test_feather_keeps_constants_and_the_range_and_softens_edges():
    plane = torch.zeros(1, 2, 8, 8)
    plane[..., 4:] = 1.0
    soft = feather(plane, 1.0)
    assert torch.allclose(feather(torch.full_like(plane, 0.3), 2.0), torch.full_like(plane, 0.3))
    assert 0 < soft[0, 0, 0, 3] < 0.5 < soft[0, 0, 0, 4] < 1
    assert torch.equal(soft[0, 0], soft[0, 1])
