"""The mask-weighted loss against every figure of the mask maths."""

import pytest
import torch

from blissmask.masks.weights import to_loss_weight
from blissmask.training.weighting.loss import (
    error_map,
    item_coefficients,
    region_masses,
    region_sums,
    weight_masses,
    weighted_sums,
)
from tests.builders.loss_of_a_step import weighted_mean


def error_free(losses):
    """Return a prediction and target, (1, 1, 1, 1, n), whose squared errors are ``losses``."""
    target = torch.zeros(1, 1, 1, 1, len(losses))
    return torch.tensor(losses).sqrt().reshape(target.shape), target


def batch(*, items=2, channels=16, seed=0, shape=(1, 4, 6)):
    generator = torch.Generator().manual_seed(seed)
    pred = torch.randn(items, channels, *shape, generator=generator, requires_grad=True)
    target = torch.randn(items, channels, *shape, generator=generator)
    weights = torch.rand(items, 1, *shape, generator=generator)
    return pred, target, weights


@pytest.mark.parametrize(
    ("gamma", "floor", "expected"), [(1, 0, 1.714286), (2, 0, 1.333333), (1, 0.1, 1.873418), (0.7, 0.05, 1.937924)]
)
def test_weighted_mean_of_four_losses_is_the_golden_figure(gamma, floor, expected):
    pred, target = error_free([1.0, 2.0, 3.0, 4.0])
    mask = torch.tensor([1.0, 0.5, 0.0, 0.25]).reshape(1, 1, 1, 1, 4)
    assert weighted_mean(pred, target, to_loss_weight(mask, gamma=gamma, min_weight=floor)).item() == pytest.approx(
        expected, abs=1e-6
    )


def test_weighted_mean_is_the_expanded_form_of_the_guide():
    pred, target, weights = batch()
    expanded = weights.expand_as(pred)
    guide = ((pred - target).square() * expanded).sum() / expanded.sum()
    assert weighted_mean(pred, target, weights).item() == pytest.approx(guide.item(), rel=1e-6)


def test_all_ones_mask_equals_the_unmasked_loss():
    pred, target, weights = batch()
    plain = torch.nn.functional.mse_loss(pred, target)
    for mean in ("batch", "sample", "global"):
        assert weighted_mean(pred, target, torch.ones_like(weights), mean=mean).item() == pytest.approx(
            plain.item(), rel=1e-6
        )


def test_what_lies_under_weight_zero_in_the_target_changes_no_gradient():
    pred, target, weights = batch()
    weights[..., :3] = 0.0
    other = target.clone()
    other[..., :3] += 100.0
    (first,) = torch.autograd.grad(weighted_mean(pred, target, weights), pred)
    (second,) = torch.autograd.grad(weighted_mean(pred, other, weights), pred)
    assert torch.equal(first, second)
    assert not first[..., :3].any()


def test_an_empty_mask_gives_loss_zero_and_finite_gradients():
    pred, target, weights = batch()
    loss = weighted_mean(pred, target, torch.zeros_like(weights))
    (gradient,) = torch.autograd.grad(loss, pred)
    assert loss.item() == 0.0
    assert not gradient.any()


def test_empty_items_count_in_no_mean():
    pred, target, weights = batch(items=3)
    weights[1] = 0.0
    kept = [0, 2]
    for mean in ("batch", "sample", "global"):
        with_empty = weighted_mean(pred, target, weights, mean=mean)
        without = weighted_mean(pred[kept], target[kept], weights[kept], mean=mean)
        assert with_empty.item() == pytest.approx(without.item(), rel=1e-6)


def test_tiny_weights_are_not_biased_by_an_epsilon():
    pred, target, weights = batch()
    small = torch.full_like(weights, 1e-6)
    plain = torch.nn.functional.mse_loss(pred, target)
    assert weighted_mean(pred, target, small).item() == pytest.approx(plain.item(), rel=1e-6)


def test_half_precision_predictions_are_weighted_in_float32():
    pred, target, weights = batch(shape=(21, 16, 16))
    exact = weighted_mean(pred.bfloat16().float(), target, weights)
    assert weighted_mean(pred.bfloat16(), target, weights).item() == pytest.approx(exact.item(), rel=1e-6)
    assert weighted_mean(pred.half(), target, weights).dtype == torch.float32


def test_sample_mean_weighs_items_equally_and_global_mean_by_mask_area():
    pred = torch.tensor([1.0, 2.0]).reshape(2, 1, 1, 1, 1).expand(2, 1, 1, 1, 4)
    weights = torch.tensor([[1.0, 0, 0, 0], [1.0, 1, 1, 1]]).reshape(2, 1, 1, 1, 4)
    target = torch.zeros_like(pred)
    assert weighted_mean(pred, target, weights, mean="sample").item() == pytest.approx((1 + 4) / 2)
    assert weighted_mean(pred, target, weights, mean="global").item() == pytest.approx((1 + 16) / 5)


def split(pred, target, weights, sizes, mean):
    """Return the gradient of one step that takes the batch in micro-batches of ``sizes``."""
    parts = list(zip(pred.split(sizes), target.split(sizes), weights.split(sizes), strict=True))
    coefficients = item_coefficients([weight_masses(w, pred.shape[1]) for _, _, w in parts], mean=mean)
    losses = [
        (weighted_sums(error_map(p, t), w) * c.float()).sum() for (p, t, w), c in zip(parts, coefficients, strict=True)
    ]
    return torch.autograd.grad(sum(losses), pred)[0]


@pytest.mark.parametrize("mean", ["sample", "global"])
@pytest.mark.parametrize("sizes", [[1, 1, 1, 1], [2, 2], [3, 1]])
def test_accumulation_gives_the_gradient_of_one_big_batch(mean, sizes):
    pred, target, weights = batch(items=4)
    weights[1] *= 0.01
    (whole,) = torch.autograd.grad(weighted_mean(pred, target, weights, mean=mean), pred)
    assert (split(pred, target, weights, sizes, mean) - whole).norm() / whole.norm() < 1e-6


def test_batch_mean_is_the_mean_of_micro_batch_means():
    pred, target, weights = batch(items=2)
    weights[1] *= 0.01
    each = [weighted_mean(pred[i : i + 1], target[i : i + 1], weights[i : i + 1]) for i in range(2)]
    (expected,) = torch.autograd.grad(sum(each) / 2, pred)
    assert (split(pred, target, weights, [1, 1], "batch") - expected).norm() / expected.norm() < 1e-6


def test_huber_is_the_squared_error_up_to_delta_and_linear_beyond():
    pred = torch.tensor([0.5, 3.0]).reshape(1, 1, 1, 1, 2)
    errors = error_map(pred, torch.zeros_like(pred), loss_type="huber", huber_delta=1.0)
    assert errors.flatten().tolist() == pytest.approx([0.25, 2 * 3.0 - 1])


@pytest.mark.parametrize(("delta", "expected"), [(0.25, [0.1875, 1.4375]), (2.0, [0.25, 8.0])])
def test_huber_grows_linearly_from_the_delta_that_is_given(delta, expected):
    """Beyond delta it is ``2 * delta * |error| - delta ** 2``, here of the errors 0.5 and 3."""
    pred = torch.tensor([0.5, -3.0]).reshape(1, 1, 1, 1, 2)
    errors = error_map(pred, torch.zeros_like(pred), loss_type="huber", huber_delta=delta)
    assert errors.flatten().tolist() == pytest.approx(expected)


def test_region_losses_are_plain_means_over_each_region():
    errors = torch.tensor([2.0, 4.0, 6.0, 8.0]).reshape(1, 1, 1, 2, 2)
    regions = torch.zeros(1, 4, 1, 2, 2)
    regions[0, 0, 0, 0] = 1.0
    regions[0, 3, 0, 1] = 1.0
    sums, masses = region_sums(errors, regions), region_masses(regions, channels=2)
    assert (sums / masses)[[0, 3]].tolist() == pytest.approx([1.5, 3.5])
    assert masses[[1, 2]].tolist() == [0.0, 0.0]
