"""How noise levels are drawn. 0 is the clean latent, 1 pure noise. B items.

A distribution is a quantile function and a cumulative function. With both, a range is cut out exactly, without drawing
again until a level fits, and stratified draws work for every distribution. Formulas and constants are those of
musubi-tuner's samplers of the same names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from blissmask.training.seeds import generator_for

_EDGE = 1e-7
"""Uniforms stay this far from 0 and 1, where the quantiles of a normal distribution are infinite."""


@dataclass(frozen=True, slots=True)
class NoiseDistribution:
    """Noise levels in [0, 1].

    Attributes:
        quantile: uniforms in (0, 1) -> noise levels; it rises.
        cumulative: a noise level -> the share of draws below it; the inverse of ``quantile``.
    """

    quantile: Callable[[Tensor], Tensor]
    cumulative: Callable[[float], float]

    def rescaled(self, low: float, high: float) -> NoiseDistribution:
        """Squeeze the whole distribution into [low, high]: ``t * (high - low) + low``; equal ends fix the level."""
        if (low, high) == (0.0, 1.0):
            return self
        if low == high:
            return fixed(low)

        def quantile(uniforms: Tensor) -> Tensor:
            return self.quantile(uniforms) * (high - low) + low

        def cumulative(level: float) -> float:
            return self.cumulative(min(1.0, max(0.0, (level - low) / (high - low))))

        return NoiseDistribution(quantile, cumulative)

    def truncated(self, low: float, high: float) -> NoiseDistribution:
        """Keep only [low, high], with the shape that the distribution has there."""
        if (low, high) == (0.0, 1.0):
            return self
        below, within = self.cumulative(low), self.share(low, high)

        def quantile(uniforms: Tensor) -> Tensor:
            whole = (below + uniforms.double() * within).clamp(_EDGE, 1 - _EDGE)
            # Rounding may leave the range by a hair, and an expert must see no level of the other's.
            return self.quantile(whole).clamp(low, high)

        def cumulative(level: float) -> float:
            if not within:
                return 0.0
            return min(1.0, max(0.0, (self.cumulative(level) - below) / within))

        return NoiseDistribution(quantile, cumulative)

    def share(self, low: float, high: float) -> float:
        """Return the share of draws in [low, high], 0..1."""
        return self.cumulative(high) - self.cumulative(low)


def fixed(level: float) -> NoiseDistribution:
    """Return the distribution that always gives ``level``."""

    def quantile(uniforms: Tensor) -> Tensor:
        return torch.full_like(uniforms, level)

    def cumulative(other: float) -> float:
        return float(other >= level)

    return NoiseDistribution(quantile, cumulative)


def uniform() -> NoiseDistribution:
    """Return levels uniform in (0, 1)."""

    def quantile(uniforms: Tensor) -> Tensor:
        return uniforms

    def cumulative(level: float) -> float:
        return level

    return NoiseDistribution(quantile, cumulative)


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

    def quantile(uniforms: Tensor) -> Tensor:
        # The level falls when L rises, so a low quantile of the level is a high quantile of L: hence minus ``std``.
        return torch.sigmoid(-0.5 * (mean - std * torch.special.ndtri(uniforms)))

    def cumulative(level: float) -> float:
        return _normal_cumulative((2.0 * _logit(level) + mean) / std)

    return NoiseDistribution(quantile, cumulative)


@dataclass(frozen=True, slots=True)
class ShiftLine:
    """How the shift of the noise levels grows with the size of a picture: mu is linear in the number of tokens.

    Attributes:
        low, high: two points (tokens, mu) of the line; it goes on beyond them.
        token_side: latent cells along a side of a token.
    """

    low: tuple[int, float]
    high: tuple[int, float]
    token_side: int = 2

    def shift(self, grid_hw: tuple[int, int]) -> float:
        """Return ``exp(mu)`` for latent (rows, columns): 3.15819 for 1024x1024 pixels on the line of ``flux_shift``."""
        (tokens_a, mu_a), (tokens_b, mu_b) = self.low, self.high
        tokens = (grid_hw[0] // self.token_side) * (grid_hw[1] // self.token_side)
        return math.exp(mu_a + (mu_b - mu_a) * (tokens - tokens_a) / (tokens_b - tokens_a))


SHIFT_LINES: Mapping[str, ShiftLine] = {
    "flux_shift": ShiftLine((256, 0.5), (4096, 1.15)),
    # FLUX.2's latents are folded into tokens already.
    "flux2_shift": ShiftLine((256, 0.5), (4096, 1.15), token_side=1),
    "qwen_shift": ShiftLine((256, 0.5), (8192, 0.9)),
    "krea2_shift": ShiftLine((256, 0.5), (6400, 1.15)),
}
"""The samplings whose shift follows the size of a picture; each was made for a model and works with any."""

Sampling = Literal["uniform", "sigmoid", "shift", "flux_shift", "flux2_shift", "qwen_shift", "krea2_shift", "logsnr"]

NoiseOf = Callable[[tuple[int, int]], NoiseDistribution]
"""Latent (rows, columns) -> the noise levels to train on; only the resolution-dependent samplings look at the size."""


@dataclass(frozen=True, slots=True)
class NoiseOptions:
    """How the noise levels of a run are drawn.

    Attributes:
        sampling: the distribution.
        shift: of ``shift``, > 0.
        sigmoid_scale: width of all but ``uniform`` and ``logsnr``, > 0.
        logit_mean, logit_std: of ``logsnr``.
        low, high: the range of noise levels, 0 <= low <= high <= 1.
        keep_shape: cut the range out of the distribution instead of squeezing the distribution into it.
    """

    sampling: Sampling
    shift: float
    sigmoid_scale: float = 1.0
    logit_mean: float = 0.0
    logit_std: float = 1.0
    low: float = 0.0
    high: float = 1.0
    keep_shape: bool = False


def training_noise(options: NoiseOptions) -> NoiseOf:
    """Return the noise levels of a run over the whole of its range, as if there were one expert."""

    def distribution(grid_hw: tuple[int, int]) -> NoiseDistribution:
        whole = _sampling(options, grid_hw)
        if options.keep_shape:
            return whole.truncated(options.low, options.high)
        return whole.rescaled(options.low, options.high)

    return distribution


def expert_noise(options: NoiseOptions, low: float, high: float) -> NoiseOf:
    """Return the noise levels of the expert for [low, high], with the shape that the run's distribution has there."""
    everywhere = training_noise(options)

    def distribution(grid_hw: tuple[int, int]) -> NoiseDistribution:
        return everywhere(grid_hw).truncated(low, high)

    return distribution


def _sampling(options: NoiseOptions, grid_hw: tuple[int, int]) -> NoiseDistribution:
    match options.sampling:
        case "uniform":
            return uniform()
        case "sigmoid":
            return shifted_sigmoid(scale=options.sigmoid_scale, shift=1.0)
        case "shift":
            return shifted_sigmoid(scale=options.sigmoid_scale, shift=options.shift)
        case "logsnr":
            return log_snr(mean=options.logit_mean, std=options.logit_std)
        case by_size:
            return shifted_sigmoid(scale=options.sigmoid_scale, shift=SHIFT_LINES[by_size].shift(grid_hw))


def draw_levels(
    distribution: NoiseDistribution, count: int, *, seed: int, micro_batch: int, strata: int = 0, first: int = 0
) -> Tensor:
    """Draw ``count`` noise levels, float32; the same for the same seed and micro-batch, whatever ran before.

    Args:
        distribution: what to draw from.
        count: items of the micro-batch.
        seed: the run's seed.
        micro_batch: number of the micro-batch since the start of the run.
        strata: when > 0, the unit interval is cut into this many parts, and of every ``strata`` draws of the run in a
            row one falls into each part.
        first: number of draws of the run before this micro-batch; only strata need it.
    """
    uniforms = torch.rand(count, generator=generator_for(seed, "timesteps", micro_batch), dtype=torch.float64)
    if strata:
        places = range(first, first + count)
        parts = torch.tensor([_stratum(seed, place, strata) for place in places], dtype=torch.float64)
        uniforms = (parts + uniforms) / strata
    return distribution.quantile(uniforms.clamp(_EDGE, 1 - _EDGE)).float()


def loss_factors(levels_B: Tensor, scheme: str) -> Tensor:
    """Return the factor of each item's loss, (B,).

    ``none``: 1. ``sigma_sqrt``: ``t**-2``. ``cosmap``: ``2 / (pi * (1 - 2t + 2t**2))``. Source: musubi-tuner's
    weighting schemes.
    """
    match scheme:
        case "sigma_sqrt":
            # Below one step of the 1000-step scale a level counts as that step, or one item would outweigh all others.
            return levels_B.clamp(min=1e-3) ** -2.0
        case "cosmap":
            return 2 / (math.pi * (1 - 2 * levels_B + 2 * levels_B**2))
        case _:
            return torch.ones_like(levels_B)


def _stratum(seed: int, place: int, strata: int) -> int:
    """Return the part, from 0, into which draw number ``place`` of the run falls."""
    order = torch.randperm(strata, generator=generator_for(seed, "strata", place // strata))
    return int(order[place % strata])


def _logit(level: float) -> float:
    if level <= 0.0:
        return -math.inf
    if level >= 1.0:
        return math.inf
    return math.log(level / (1.0 - level))


def _normal_cumulative(value: float) -> float:
    return 0.5 * math.erfc(-value / math.sqrt(2.0))
