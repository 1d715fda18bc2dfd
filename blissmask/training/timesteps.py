"""How noise levels are drawn. 0 is the clean latent, 1 pure noise.

A distribution is its quantile function and its cumulative function, so a range is cut out exactly, without drawing
again until it fits, and stratified draws work for every distribution. Formulas and constants: musubi-tuner's samplers
of the same names.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from blissmask.training.seeds import generator_for

_EDGE = 1e-7
"""Uniforms are kept this far from 0 and 1, where normal quantiles are infinite."""


@dataclass(frozen=True, slots=True)
class NoiseDistribution:
    """Noise levels in [0, 1].

    Attributes:
        quantile: uniforms in (0, 1) -> noise levels; rising.
        cumulative: a noise level -> the share of draws below it; the inverse of ``quantile``.
    """

    quantile: Callable[[Tensor], Tensor]
    cumulative: Callable[[float], float]

    def rescaled(self, low: float, high: float) -> NoiseDistribution:
        """Squeeze the whole distribution into [low, high]: ``t * (high - low) + low``; equal ends fix the level."""
        if (low, high) == (0.0, 1.0):
            return self
        if low == high:
            return NoiseDistribution(lambda uniforms: torch.full_like(uniforms, low), lambda level: float(level >= low))
        return NoiseDistribution(
            lambda uniforms: self.quantile(uniforms) * (high - low) + low,
            lambda level: self.cumulative(min(1.0, max(0.0, (level - low) / (high - low)))),
        )

    def truncated(self, low: float, high: float) -> NoiseDistribution:
        """Keep only [low, high], with the shape the distribution has there."""
        if (low, high) == (0.0, 1.0):
            return self
        below, within = self.cumulative(low), self.share(low, high)
        return NoiseDistribution(
            lambda uniforms: self.quantile((below + uniforms.double() * within).clamp(_EDGE, 1 - _EDGE)).clamp(
                low, high
            ),
            lambda level: min(1.0, max(0.0, (self.cumulative(level) - below) / within)) if within else 0.0,
        )

    def share(self, low: float, high: float) -> float:
        """Return the share of draws in [low, high], 0..1."""
        return self.cumulative(high) - self.cumulative(low)


def uniform() -> NoiseDistribution:
    """Return levels uniform in (0, 1)."""
    return NoiseDistribution(lambda uniforms: uniforms, lambda level: level)


def shifted_sigmoid(*, scale: float, shift: float) -> NoiseDistribution:
    """Return ``sigmoid(scale * N)`` moved towards noise by ``t * shift / (1 + (shift - 1) * t)``; shift 1 leaves it.

    Args:
        scale: > 0, width of the normal.
        shift: > 0; above 1 favours noise.
    """

    def quantile(uniforms: Tensor) -> Tensor:
        levels = torch.sigmoid(scale * torch.special.ndtri(uniforms))
        return levels * shift / (1 + (shift - 1) * levels)

    def cumulative(level: float) -> float:
        unshifted = level / (shift - (shift - 1) * level)
        return _normal_cumulative(_logit(unshifted) / scale)

    return NoiseDistribution(quantile, cumulative)


def log_snr(*, mean: float, std: float) -> NoiseDistribution:
    """Return ``sigmoid(-L / 2)`` for a log signal-to-noise ratio L ~ N(mean, std); std > 0."""
    return NoiseDistribution(
        # The level falls with L, so the upper quantile of L is the lower of the level.
        lambda uniforms: torch.sigmoid(-0.5 * (mean - std * torch.special.ndtri(uniforms))),
        lambda level: _normal_cumulative((2.0 * _logit(level) + mean) / std),
    )


FLUX_LINE = ((256, 0.5), (4096, 1.15))
QWEN_LINE = ((256, 0.5), (8192, 0.9))


def resolution_shift(grid_hw: tuple[int, int], line: tuple[tuple[int, float], tuple[int, float]]) -> float:
    """Return ``exp(mu)`` with mu linear in the token count ``(h // 2) * (w // 2)``: 1024x1024 pixels give 3.15819 on the flux line.

    Args:
        grid_hw: latent rows and columns.
        line: two points (tokens, mu).
    """
    (tokens_a, mu_a), (tokens_b, mu_b) = line
    tokens = (grid_hw[0] // 2) * (grid_hw[1] // 2)
    return math.exp(mu_a + (mu_b - mu_a) * (tokens - tokens_a) / (tokens_b - tokens_a))


def draw_levels(
    distribution: NoiseDistribution, count: int, *, seed: int, micro_batch: int, strata: int = 0, first: int = 0
) -> Tensor:
    """Draw ``count`` noise levels, float32; the same for the same seed and micro-batch, whatever ran before.

    Args:
        distribution: what to draw from.
        count: items of the micro-batch.
        seed: the run's seed.
        micro_batch: number of the micro-batch since the start of the run.
        strata: when > 0, the unit interval is cut into this many parts, and each part is drawn from once in every
            ``strata`` draws: the first ``strata`` of the run, the next ones, and so on.
        first: draws of the run before this micro-batch's; only strata look at it.
    """
    uniforms = torch.rand(count, generator=generator_for(seed, "timesteps", micro_batch), dtype=torch.float64)
    if strata:
        places = range(first, first + count)
        parts = torch.tensor([_stratum(seed, place, strata) for place in places], dtype=torch.float64)
        uniforms = (parts + uniforms) / strata
    return distribution.quantile(uniforms.clamp(_EDGE, 1 - _EDGE)).float()


def loss_factors(levels_B: Tensor, scheme: str) -> Tensor:
    """Return what the loss of each item is multiplied by.

    ``none``: 1. ``sigma_sqrt``: ``t**-2``. ``cosmap``: ``2 / (pi * (1 - 2t + 2t**2))``. Source: musubi-tuner's
    weighting schemes.
    """
    match scheme:
        case "sigma_sqrt":
            return levels_B.clamp(min=1e-3) ** -2.0
        case "cosmap":
            return 2 / (math.pi * (1 - 2 * levels_B + 2 * levels_B**2))
        case _:
            return torch.ones_like(levels_B)


def _stratum(seed: int, place: int, strata: int) -> int:
    order = torch.randperm(strata, generator=generator_for(seed, "strata", place // strata))
    return int(order[place % strata])


def _logit(level: float) -> float:
    if level <= 0.0:
        return -math.inf
    return math.inf if level >= 1.0 else math.log(level / (1.0 - level))


def _normal_cumulative(value: float) -> float:
    return 0.5 * math.erfc(-value / math.sqrt(2.0))
