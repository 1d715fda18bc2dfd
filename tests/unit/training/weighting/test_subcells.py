"""Weights for the parts of a latent cell: a cell of 2 x 2 parts holds them in its channels (channel c * 4 + row * 2 + column)."""

import pytest
import torch

from blissmask.cachefile.entry import CacheEntry
from blissmask.training.data.items import make_item
from blissmask.training.data.mask_totals import MaskTotals
from blissmask.training.data.micro_batch import collate
from blissmask.training.weighting.loss import (
    channels_of_a_weight,
    error_map,
    item_coefficients,
    region_masses,
    region_sums,
    weight_masses,
    weighted_sums,
)
from blissmask.training.weighting.prior import PriorRule
from blissmask.training.weighting.rule import WeightRule
from tests.builders.training import header_of

CHANNELS, ROWS, COLUMNS = 8, 2, 3
PLAIN_RULE = WeightRule(gamma=1.0, min_weight=0.0)


def seeded(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def weights(seed=5):
    """Return weights of the parts, (1, 1, 4, 6)."""
    return torch.rand(1, 1, 2 * ROWS, 2 * COLUMNS, generator=torch.Generator().manual_seed(seed))


def for_every_channel(weights_11HW):
    """Return (C, 1, h, w): the weight of the part that each channel belongs to, found one by one."""
    every = torch.zeros(CHANNELS, 1, ROWS, COLUMNS)
    for channel in range(CHANNELS):
        row, column = channel % 4 // 2, channel % 2
        every[channel, 0] = weights_11HW[0, 0, row::2, column::2]
    return every


def entry(*, subweights=None, subregions=None, weights=None, regions=None, seed=0):
    latents = seeded(CHANNELS, 1, ROWS, COLUMNS, seed=seed)
    plain = torch.ones(1, 1, ROWS, COLUMNS) if weights is None else weights
    return CacheEntry(latents, plain, regions, {}, subweights, subregions)


def item(name="a", *, rule=PLAIN_RULE, prior=None, **planes):
    made = entry(**planes)
    header = header_of(made.latents_Cfhw, stem=name)
    return make_item(header, made, rule=rule, prior=prior)


def test_errors_times_weights_are_those_of_a_weight_for_every_channel():
    pred, target = seeded(1, CHANNELS, 1, ROWS, COLUMNS, seed=1), seeded(1, CHANNELS, 1, ROWS, COLUMNS, seed=2)
    ours = weighted_sums(error_map(pred, target, subcells=2), weights()[None])
    assert ours.item() == pytest.approx(((pred - target).square() * for_every_channel(weights())[None]).sum().item())


def test_the_mass_is_the_sum_of_a_weight_for_every_channel():
    channels = channels_of_a_weight(weights(), torch.zeros(CHANNELS, 1, ROWS, COLUMNS))
    assert channels == 2
    assert weight_masses(weights()[None], channels).item() == pytest.approx(
        for_every_channel(weights()).double().sum().item()
    )


@pytest.mark.parametrize("part", range(4))
def test_a_part_of_weight_0_beside_parts_of_weight_1_gets_a_gradient_of_exactly_zero(part):
    masked = torch.ones(1, 1, 2 * ROWS, 2 * COLUMNS)
    masked[0, 0, part // 2, part % 2] = 0.0
    batch = collate([item(subweights=masked)], 0)
    pred = seeded(1, CHANNELS, 1, ROWS, COLUMNS, seed=1).requires_grad_()
    errors = error_map(pred, batch.latents_BCFHW, subcells=batch.subcells)
    (coefficients,) = item_coefficients([batch.masses_B], mean="batch")
    (weighted_sums(errors, batch.weights_B1FHW) * coefficients).sum().backward()
    silent = torch.zeros_like(pred, dtype=torch.bool)
    silent[0, part::4, 0, 0, 0] = True
    assert (pred.grad[silent] == 0).all()
    assert (pred.grad[~silent] != 0).all()


def test_gamma_floor_prior_and_region_weights_reach_the_parts():
    shares = torch.zeros(4, 1, 2 * ROWS, 2 * COLUMNS)
    shares[0, ..., 0], shares[3, ..., 1:] = 1.0, 1.0
    halves = shares[:1] + 0.25 * shares[3:]
    made = item(
        rule=WeightRule(gamma=2.0, min_weight=0.1),
        prior=PriorRule(1.0, mask_threshold=0.3),
        subweights=halves,
        subregions=shares,
    )
    assert made.weights_1fhw[0, 0, 0, :2].tolist() == pytest.approx([1.0, 0.25**2 * 0.9 + 0.1])
    assert made.outside_1fhw[0, 0, 0, :2].tolist() == [0.0, 1.0]
    assert made.mass == pytest.approx(2 * made.weights_1fhw.sum().item())


def test_an_item_without_parts_beside_one_with_has_parts_of_equal_weight():
    plain = torch.rand(1, 1, ROWS, COLUMNS)
    batch = collate([item("a", subweights=weights()), item("b", weights=plain, seed=1)], 0)
    assert batch.subcells == 2
    assert torch.equal(batch.weights_B1FHW[1, :, :, ::2, 1::2], plain)
    alone = collate([item("b", weights=plain, seed=1)], 0)
    assert alone.subcells == 1
    assert batch.masses_B[1] == pytest.approx(alone.masses_B[0].item())
    pred = seeded(2, CHANNELS, 1, ROWS, COLUMNS, seed=3)
    both = weighted_sums(error_map(pred, batch.latents_BCFHW, subcells=2), batch.weights_B1FHW)
    one = weighted_sums(error_map(pred[1:], alone.latents_BCFHW), alone.weights_B1FHW)
    assert both[1].item() == pytest.approx(one.item())


def test_the_plain_error_of_a_region_is_the_mean_over_its_parts():
    shares = torch.zeros(1, 4, 1, 2 * ROWS, 2 * COLUMNS)
    shares[0, 0, ..., 0], shares[0, 3, ..., 1:] = 1.0, 1.0
    pred, target = torch.zeros(1, CHANNELS, 1, ROWS, COLUMNS), torch.zeros(1, CHANNELS, 1, ROWS, COLUMNS)
    # The left parts of the left cells, and nothing else, are off by 3.
    pred[:, 0::2, :, :, 0] = 3.0
    means = region_sums(error_map(pred, target, subcells=2), shares) / region_masses(shares, CHANNELS // 4)
    assert means[0].item() == 9.0
    assert means[3].item() == 0.0


def test_the_banner_counts_parts():
    totals = MaskTotals()
    halves = torch.zeros(1, 1, 2 * ROWS, 2 * COLUMNS)
    halves[..., ::2] = 1.0
    shares = torch.cat([halves, torch.zeros_like(halves), torch.zeros_like(halves), 1 - halves])
    totals.add(item(subweights=halves, subregions=shares), repeats=1)
    assert totals.mean_weight == 0.5
    assert totals.region_shares == (1.0, 0.0, 0.0, 0.0)
