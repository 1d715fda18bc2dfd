"""One cache entry made ready for training."""

import dataclasses

import pytest
import torch

from blissmask.cachefile.entry import CacheEntry
from blissmask.errors import CacheError
from blissmask.families.protocol import LatentSpec
from blissmask.masks.tiers import TIERS
from blissmask.training.data.items import make_item
from blissmask.training.weighting.prior import PriorRule
from blissmask.training.weighting.rule import WeightRule
from tests.builders.training import header_of

RULE = WeightRule(gamma=1.0, min_weight=0.0)


def make(
    weights,
    *,
    rule=RULE,
    prior=None,
    latents=None,
    regions=None,
    latent=None,
    shown_frames=0,
    **metadata,
):
    latents = torch.ones(16, 1, 1, 4) if latents is None else latents
    header = header_of(latents, **metadata)
    entry = CacheEntry(latents, weights, regions, {"t5": torch.ones(2, 8)})
    return make_item(header, entry, rule=rule, prior=prior, latent=latent, shown_frames=shown_frames)


def cells(*values):
    return torch.tensor(values).reshape(1, 1, 1, 4)


def test_outside_are_the_cells_whose_cached_weight_is_below_the_threshold():
    item = make(cells(1.0, 0.5, 0.05, 0.0), prior=PriorRule(1.0, mask_threshold=0.1))
    assert item.outside_1fhw.flatten().tolist() == [0.0, 0.0, 1.0, 1.0]


def test_a_floor_or_a_tier_weight_does_not_change_what_is_outside():
    regions = torch.eye(4).reshape(4, 1, 1, 4)
    rule = WeightRule(gamma=1.0, min_weight=0.3, own_weights=dict(zip(TIERS, (1.0, 0.0, 0.0, 0.0), strict=True)))
    item = make(cells(1.0, 0.5, 0.3, 0.0), rule=rule, regions=regions, prior=PriorRule(1.0, mask_threshold=0.1))
    assert item.outside_1fhw.flatten().tolist() == [0.0, 0.0, 0.0, 1.0]


def test_a_mask_without_an_outside_has_none():
    assert make(torch.ones(1, 1, 1, 4), prior=PriorRule(1.0, mask_threshold=0.1)).outside_1fhw is None


def test_without_mask_loss_the_weights_are_left_aside():
    item = make(cells(1.0, 0.0, 0.0, 0.0), rule=None)
    assert item.weights_1fhw is None
    assert item.mass == 64.0


def test_an_all_zero_mask_is_empty_and_a_faint_one_is_not():
    assert make(torch.zeros(1, 1, 1, 4)).empty
    assert not make(torch.full((1, 1, 1, 4), 1e-4)).empty


def test_latents_of_families_that_cache_them_as_the_vae_gives_them_are_shifted_and_scaled():
    spec = LatentSpec(channels=16, spatial_stride=8, temporal_stride=4, grid_multiple=16, train_scale=0.5)
    assert make(None, latent=spec).latents_Cfhw.unique().tolist() == [0.5]
    shifted = dataclasses.replace(spec, train_shift=0.25)
    latents = torch.full((16, 1, 1, 4), 2.0, dtype=torch.bfloat16)
    found = make(None, latent=shifted, latents=latents).latents_Cfhw
    assert found.dtype == torch.float32
    assert found.unique().tolist() == [0.875]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_latents_that_are_not_finite_are_refused(value):
    latents = torch.ones(16, 1, 1, 4, dtype=torch.bfloat16)
    latents[3, 0, 0, 1] = value
    with pytest.raises(CacheError, match="`latents`"):
        make(None, latents=latents)


def test_large_finite_latents_are_not_taken_for_infinite():
    make(None, latents=torch.full((16, 1, 1, 4), 3e38))


def test_frames_that_are_shown_are_left_out_of_weights_outside_and_regions():
    weights = torch.tensor([1.0, 0.5, 0.0]).reshape(1, 3, 1, 1).expand(1, 3, 1, 4)
    regions = torch.arange(3.0).reshape(1, 3, 1, 1).expand(4, 3, 1, 4)
    options = {
        "latents": torch.ones(16, 3, 1, 4),
        "regions": regions,
        "prior": PriorRule(1.0, mask_threshold=0.1),
        "shown_frames": 1,
    }
    item = make(weights, **options)
    assert item.weights_1fhw[..., 0].flatten().tolist() == [0.5, 0.0]
    assert item.outside_1fhw[..., 0].flatten().tolist() == [0.0, 1.0]
    assert item.regions_4fhw[0, :, 0, 0].tolist() == [1.0, 2.0]
    assert item.mass == 16 * 4 * 0.5
    assert make(None, **options).mass == 16 * 4 * 2


def test_a_picture_of_one_frame_predicts_it_whatever_clips_are_shown():
    item = make(cells(1.0, 0.5, 0.0, 0.0), shown_frames=1)
    assert item.shown_frames == 0
    assert item.mass == 16 * 1.5


def test_a_copy_of_an_item_has_memory_of_its_own():
    item = make(
        cells(1.0, 0.5, 0.0, 0.0), regions=torch.eye(4).reshape(4, 1, 1, 4), prior=PriorRule(1.0, mask_threshold=0.1)
    )
    copy = item.copied()
    for name in ("latents_Cfhw", "weights_1fhw", "outside_1fhw", "regions_4fhw"):
        assert torch.equal(getattr(copy, name), getattr(item, name))
        assert getattr(copy, name).data_ptr() != getattr(item, name).data_ptr()
    assert copy.conditioning["t5"].data_ptr() != item.conditioning["t5"].data_ptr()


def test_a_continuous_prior_holds_what_the_loss_weights_leave():
    rule = WeightRule(gamma=2.0, min_weight=0.0)
    item = make(cells(1.0, 0.5, 0.0, 0.0), rule=rule, prior=PriorRule(1.0, mask_threshold=None))
    assert item.outside_1fhw.flatten().tolist() == [0.0, 0.75, 1.0, 1.0]
