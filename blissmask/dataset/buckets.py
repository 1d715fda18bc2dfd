"""Which training size a picture gets. Sizes are (width, height).

Two ways to make buckets: musubi-tuner's, from the resolution's area alone, and sd-scripts', between a shortest and a
longest side, which a data set chooses by naming any of ``min_bucket_reso``, ``max_bucket_reso``, ``bucket_reso_steps``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from blissmask.config.dataset import DatasetSection
from blissmask.dataset.geometry import Geometry, cover
from blissmask.errors import Problem, UsageError

# sd-scripts' defaults for the keys that are not given.
_MIN_SIDE = 256
_MAX_SIDE = 1024
_SIDE_STEP = 64


@dataclass(frozen=True, slots=True)
class Buckets:
    """The training sizes of one data set.

    Attributes:
        sizes: the buckets in ascending order; one where bucketing is off.
        step: sides are multiples of this.
        keep_area: pictures of at most this many pixels are not scaled, only cut to a multiple of ``step``; 0 where all
            are scaled.
    """

    sizes: tuple[tuple[int, int], ...]
    step: int
    keep_area: int = 0

    def fit(self, source_wh: tuple[int, int]) -> Geometry:
        """Return how a picture of ``source_wh`` is brought to its bucket.

        The bucket with the nearest aspect ratio, the first one of several (source: musubi-tuner's ``BucketSelector``).
        """
        width, height = source_wh
        if width * height <= self.keep_area and min(source_wh) >= self.step:
            return cover(source_wh, (_down(width, self.step), _down(height, self.step)))
        aspect = width / height
        return cover(source_wh, min(self.sizes, key=lambda size_wh: abs(size_wh[0] / size_wh[1] - aspect)))


def make_buckets(dataset: DatasetSection, *, grid_multiple: int, always_bucket: bool = False) -> Buckets:
    """Return the training sizes of a completed data set section.

    Args:
        dataset: its resolution and bucket keys, defaults filled in.
        grid_multiple: the family's grid; sides must be multiples of it.
        always_bucket: group by aspect ratio whatever the section says, as musubi-tuner does with videos.

    Raises:
        UsageError: without buckets, ``resolution`` is not a multiple of the grid: no latent has that size; or bucket
            keys contradict.
    """
    assert dataset.resolution is not None
    resolution_wh = dataset.resolution
    area = resolution_wh[0] * resolution_wh[1]
    if not (dataset.enable_bucket or always_bucket):
        _refuse_off_grid(resolution_wh, grid_multiple)
        return Buckets((resolution_wh,), grid_multiple)
    # A resolution smaller than one grid cell would leave no bucket at all.
    if area < grid_multiple**2:
        _refuse_off_grid(resolution_wh, grid_multiple)
    step = dataset.bucket_reso_steps or _SIDE_STEP
    keep_area = area if dataset.bucket_no_upscale and not always_bucket else 0
    if dataset.min_bucket_reso is None and dataset.max_bucket_reso is None and dataset.bucket_reso_steps is None:
        return Buckets(area_sizes(resolution_wh, grid_multiple), grid_multiple, keep_area)
    shortest = dataset.min_bucket_reso or min(_MIN_SIDE, *resolution_wh)
    longest = dataset.max_bucket_reso or max(_MAX_SIDE, *resolution_wh)
    _refuse_contradictions(resolution_wh, shortest, longest, step, grid_multiple)
    return Buckets(side_sizes(resolution_wh, shortest=shortest, longest=longest, step=step), step, keep_area)


def area_sizes(resolution_wh: tuple[int, int], step: int) -> tuple[tuple[int, int], ...]:
    """Return musubi-tuner's buckets: sides are multiples of ``step``, the area is at most the resolution's.

    The shorter side is at least half the square root of the area.
    """
    area = resolution_wh[0] * resolution_wh[1]
    side = math.isqrt(area)
    sizes = set()
    for first in range(max(step, _down(side // 2, step)), side + step, step):
        second = _down(area // first, step)
        if second:
            sizes |= {(first, second), (second, first)}
    return tuple(sorted(sizes))


def side_sizes(
    resolution_wh: tuple[int, int], *, shortest: int, longest: int, step: int
) -> tuple[tuple[int, int], ...]:
    """Return sd-scripts' buckets: every multiple of ``step`` between ``shortest`` and ``longest`` with the other side that keeps the area.

    ``shortest`` is rounded down and ``longest`` up to a multiple of ``step``, as sd-scripts does.
    """
    area = resolution_wh[0] * resolution_wh[1]
    shortest, longest = max(step, _down(shortest, step)), -_down(-longest, step)
    square = _down(math.isqrt(area), step)
    sizes = {(square, square)} if square else set()
    for first in range(shortest, longest + 1, step):
        second = min(longest, _down(area // first, step))
        if second >= shortest:
            sizes |= {(first, second), (second, first)}
    return tuple(sorted(sizes))


def area_size(source_wh: tuple[int, int], area_wh: tuple[int, int], step: int) -> tuple[int, int]:
    """Return the size nearest in aspect ratio whose area is about that of ``area_wh``: for control pictures and vision encoders.

    Five widths around the ideal one are tried, the first best is taken (source: musubi-tuner's
    ``calculate_bucket_resolution``).
    """
    area, aspect = area_wh[0] * area_wh[1], source_wh[0] / source_wh[1]
    middle = _down(int(math.sqrt(area * aspect)), step)
    widths = [width for offset in range(-2, 3) if (width := middle + offset * step) > 0]
    sizes = [(width, height) for width in widths if (height := _down(area // width, step)) > 0]
    if not sizes:
        return (step, step)
    return min(sizes, key=lambda size_wh: abs(size_wh[0] / size_wh[1] - aspect))


def _down(number: int, step: int) -> int:
    return number // step * step


def _refuse_off_grid(resolution_wh: tuple[int, int], grid: int) -> None:
    width, height = resolution_wh
    if width % grid or height % grid or not width or not height:
        near = f"[{max(grid, round(width / grid) * grid)}, {max(grid, round(height / grid) * grid)}]"
        raise UsageError(
            f"`resolution` {width}x{height} is no multiple of {grid}, the grid of this model family",
            fix=f"use {near}, or set `enable_bucket = true`, which rounds by itself",
        )


def _refuse_contradictions(resolution_wh: tuple[int, int], shortest: int, longest: int, step: int, grid: int) -> None:
    width, height = resolution_wh
    problems = []
    if step % grid:
        problems.append(Problem(f"`bucket_reso_steps` {step} is no multiple of {grid}, the grid of this model family"))
    if shortest > min(resolution_wh):
        problems.append(Problem(f"`min_bucket_reso` {shortest} is larger than a side of `resolution` {width}x{height}"))
    if longest < max(resolution_wh):
        problems.append(Problem(f"`max_bucket_reso` {longest} is smaller than a side of `resolution` {width}x{height}"))
    if problems:
        raise UsageError.several(problems)
