"""Noise levels: golden shifts, ranges, strata, and that every draw depends on its place alone."""

import pytest
import torch

from blissmask.training.timesteps import (
    SHIFT_LINES,
    draw_levels,
    log_snr,
    loss_factors,
    shifted_sigmoid,
    uniform,
)

DISTRIBUTIONS = {
    "uniform": uniform(),
    "sigmoid": shifted_sigmoid(scale=1.0, shift=1.0),
    "shift": shifted_sigmoid(scale=1.2, shift=3.0),
    "logsnr": log_snr(mean=-6.0, std=2.0),
}
every_distribution = pytest.mark.parametrize("distribution", DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)


def levels(distribution, count=20_000, **options):
    return draw_levels(distribution, count, seed=1, micro_batch=0, **options)


@pytest.mark.parametrize(
    ("size_wh", "flux_shift", "qwen_shift", "krea2_shift"),
    [
        ((1024, 1024), 3.15819, 2.00080, 2.47502),
        ((1328, 1328), 5.06712, 2.30326, 3.32588),
        ((960, 544), 2.22995, 1.80384, 1.99120),
        ((512, 512), 1.87761, 1.71379, 1.78827),
    ],
)
def test_the_shift_of_a_size_is_the_golden_figure(size_wh, flux_shift, qwen_shift, krea2_shift):
    def shift(name, stride):
        return SHIFT_LINES[name].shift((size_wh[1] // stride, size_wh[0] // stride))

    assert shift("flux_shift", stride=8) == pytest.approx(flux_shift, abs=1e-5)
    assert shift("flux2_shift", stride=16) == pytest.approx(flux_shift, abs=1e-5)
    assert shift("qwen_shift", stride=8) == pytest.approx(qwen_shift, abs=1e-5)
    assert shift("krea2_shift", stride=8) == pytest.approx(krea2_shift, abs=1e-5)


def test_shift_moves_the_median_to_shift_over_shift_plus_one():
    assert levels(shifted_sigmoid(scale=1.0, shift=3.0)).median().item() == pytest.approx(0.75, abs=0.01)


def test_logsnr_draws_have_the_mean_and_width_asked_for():
    drawn = levels(log_snr(mean=-6.0, std=2.0)).double()
    logsnr = -2 * torch.log(drawn / (1 - drawn))
    assert logsnr.mean().item() == pytest.approx(-6.0, abs=0.1)
    assert logsnr.std().item() == pytest.approx(2.0, abs=0.1)


@every_distribution
def test_the_cumulative_function_is_the_inverse_of_the_quantiles(distribution):
    uniforms = torch.linspace(0.01, 0.99, 25, dtype=torch.float64)
    back = [distribution.cumulative(float(level)) for level in distribution.quantile(uniforms)]
    assert back == pytest.approx(uniforms.tolist(), abs=1e-9)


@every_distribution
def test_a_truncated_range_has_the_shape_the_distribution_has_there(distribution):
    cut = levels(distribution.truncated(0.3, 0.9))
    assert cut.min() >= 0.3
    assert cut.max() <= 0.9
    kept = levels(distribution, 200_000)
    kept = kept[(kept >= 0.3) & (kept <= 0.9)]
    assert cut.quantile(0.5).item() == pytest.approx(kept.quantile(0.5).item(), abs=0.02)


@every_distribution
def test_a_rescaled_range_squeezes_the_whole_distribution_into_it(distribution):
    whole, squeezed = levels(distribution), levels(distribution.rescaled(0.2, 0.6))
    assert torch.allclose(squeezed, whole * 0.4 + 0.2, atol=1e-6)


def test_the_share_of_a_range_is_the_share_of_the_draws_in_it():
    shift = shifted_sigmoid(scale=1.0, shift=3.0)
    drawn = levels(shift)
    assert shift.share(0.875, 1.0) == pytest.approx(float((drawn >= 0.875).float().mean()), abs=0.01)


def test_draws_depend_on_the_seed_and_the_micro_batch_alone():
    torch.manual_seed(0)
    first = draw_levels(uniform(), 4, seed=5, micro_batch=7)
    torch.manual_seed(1)
    torch.rand(3)
    assert torch.equal(first, draw_levels(uniform(), 4, seed=5, micro_batch=7))
    assert not torch.equal(first, draw_levels(uniform(), 4, seed=5, micro_batch=8))
    assert not torch.equal(first, draw_levels(uniform(), 4, seed=6, micro_batch=7))


def test_drawing_leaves_the_global_generator_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    draw_levels(uniform(), 4, seed=5, micro_batch=7, strata=4)
    assert torch.equal(before, torch.get_rng_state())


@every_distribution
def test_strata_are_each_visited_once_by_as_many_draws(distribution):
    drawn = torch.cat(
        [draw_levels(distribution, 2, seed=3, micro_batch=number, strata=8, first=2 * number) for number in range(4)]
    )
    parts = sorted(int(distribution.cumulative(float(level)) * 8) for level in drawn)
    assert parts == list(range(8))


def test_weighting_schemes_are_the_published_formulas():
    level = torch.tensor([0.5])
    assert loss_factors(level, "none").item() == 1.0
    assert loss_factors(level, "sigma_sqrt").item() == pytest.approx(4.0)
    assert loss_factors(level, "cosmap").item() == pytest.approx(2 / (torch.pi * 0.5))
