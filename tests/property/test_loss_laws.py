"""Laws of the weighted loss that hold for any mask."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from blissmask.training.weighting.loss import item_coefficients
from tests.builders.loss_of_a_step import weighted_mean

MEANS = st.sampled_from(["batch", "sample", "global"])
SEEDS = st.integers(0, 2**32 - 1)


def case(seed, items=3):
    generator = torch.Generator().manual_seed(seed)
    pred, target = torch.randn(2, items, 4, 1, 3, 5, generator=generator)
    weights = torch.rand(items, 1, 1, 3, 5, generator=generator)
    return pred, target, weights * (torch.rand(weights.shape, generator=generator) > 0.4)


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS, mean=MEANS, scale=st.floats(0.01, 100))
def test_scaling_all_weights_changes_nothing(seed, mean, scale):
    pred, target, weights = case(seed)
    assert weighted_mean(pred, target, weights * scale, mean=mean).item() == pytest.approx(
        weighted_mean(pred, target, weights, mean=mean).item(), rel=1e-5, abs=1e-12
    )


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS, mean=MEANS)
def test_the_order_of_items_changes_nothing(seed, mean):
    pred, target, weights = case(seed)
    order = [2, 0, 1]
    assert weighted_mean(pred[order], target[order], weights[order], mean=mean).item() == pytest.approx(
        weighted_mean(pred, target, weights, mean=mean).item(), rel=1e-5
    )


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS, mean=MEANS)
def test_the_loss_lies_between_the_smallest_and_the_largest_error(seed, mean):
    pred, target, weights = case(seed)
    errors = (pred - target).square().mean(dim=1)
    loss = weighted_mean(pred, target, weights, mean=mean).item()
    assert 0.0 <= loss <= errors.max().item() * (1 + 1e-5)


@settings(max_examples=50, deadline=None)
@given(
    masses=st.lists(st.lists(st.floats(0, 1e6), min_size=1, max_size=4), min_size=1, max_size=4),
    mean=MEANS,
)
def test_coefficients_are_finite_and_weigh_a_constant_error_to_itself(masses, mean):
    given_masses = [torch.tensor(part, dtype=torch.float64) for part in masses]
    coefficients = item_coefficients(given_masses, mean=mean)
    assert all(torch.isfinite(part).all() for part in coefficients)
    total = sum(float((c * m).sum()) for c, m in zip(coefficients, given_masses, strict=True) if (m > 1e-6).any())
    live = any((part > 1e-6).any() for part in given_masses)
    assert total == pytest.approx(1.0 if live else 0.0, rel=1e-9)


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS, mean=MEANS, weight=st.floats(0.01, 1))
def test_a_constant_mask_gives_the_plain_mean(seed, mean, weight):
    pred, target, weights = case(seed)
    constant = torch.full_like(weights, weight)
    plain = (pred - target).square().mean().item()
    assert weighted_mean(pred, target, constant, mean=mean).item() == pytest.approx(plain, rel=1e-5)


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS, mean=MEANS)
def test_a_batch_of_empty_masks_has_loss_zero_and_gradients_zero(seed, mean):
    pred, target, weights = case(seed)
    pred.requires_grad_()
    loss = weighted_mean(pred, target, torch.zeros_like(weights), mean=mean)
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(pred.grad, torch.zeros_like(pred))
