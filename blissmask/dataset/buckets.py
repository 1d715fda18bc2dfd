"""Choose the training size (bucket) of a picture. Sizes are (width, height).

There are two ways to make buckets. musubi-tuner's uses the area of the resolution alone. sd-scripts' also uses a
shortest and a longest side; a data set chooses it by any of ``min_bucket_reso``, ``max_bucket_reso`` and
``bucket_reso_steps``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from blissmask.config.sections.dataset_section import DatasetSection
from blissmask.dataset.geometry import Geometry, cover
from blissmask.errors import Problem, UsageError

# sd-scripts' defaults of `min_bucket_reso`, `max_bucket_reso` and `bucket_reso_steps`.
_MIN_SIDE, _MAX_SIDE, _SIDE_STEP = 256, 1024, 64


@dataclass(frozen=True, slots=True)
class Buckets:
    """The training sizes of one data set.

    Attributes:
        sizes: the buckets in ascending order; one bucket where bucketing is off.
        step: sides are multiples of this.
        keep_area: pictures of up to this many pixels are cut to a multiple of ``step`` and not scaled; 0 where all are
            scaled.
    """

    sizes: tuple[tuple[int, int], ...]
    step: int
    keep_area: int = 0

    def fit(self, source_wh: tuple[int, int]) -> Geometry:
        """Return the geometry that brings a picture of ``source_wh`` to its bucket.

        The bucket is the one with the nearest aspect ratio, the first of several (source: musubi-tuner's
        ``BucketSelector``).
        """
        width, height = source_wh
        if width * height <= self.keep_area and min(source_wh) >= self.step:
            return cover(source_wh, (_down(width, self.step), _down(height, self.step)))
        return cover(source_wh, self.nearest(width / height))

    def nearest(self, aspect: float) -> tuple[int, int]:
        """Return the training size whose width / height is nearest to ``aspect``."""
        return _nearest_aspect(self.sizes, aspect)


def make_buckets(dataset: DatasetSection, *, grid_multiple: int, always_bucket: bool = False) -> Buckets:
    """Return the training sizes of a completed data set section.

    Args:
        dataset: the section with its resolution and bucket keys, defaults filled in.
        grid_multiple: the family's grid; sides must be multiples of it.
        always_bucket: make buckets even where the section turns them off, as musubi-tuner does for videos.

    Raises:
        UsageError: buckets are off and ``resolution`` is no multiple of the grid, so that no latent has that size; or
            the bucket keys contradict each other.
    """
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
    """Return musubi-tuner's buckets: sides are multiples of ``step``, and the area is at most that of the resolution.

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
    """Return sd-scripts' buckets: one side from ``shortest`` to ``longest``, the other as long as the area allows.

    Sides are multiples of ``step``; ``shortest`` is rounded down and ``longest`` up, as sd-scripts does.
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
    """Return a size with about the area of ``area_wh`` and the aspect ratio of ``source_wh``.

    Control pictures and vision encoders use it. Five widths around the ideal one are tried, and the first of equally
    near ones is taken (source: musubi-tuner's ``calculate_bucket_resolution``).
    """
    area, aspect = area_wh[0] * area_wh[1], source_wh[0] / source_wh[1]
    middle = _down(int(math.sqrt(area * aspect)), step)
    sizes = []
    for offset in range(-2, 3):
        width = middle + offset * step
        height = _down(area // width, step) if width > 0 else 0
        if height > 0:
            sizes.append((width, height))
    if not sizes:
        return (step, step)
    return _nearest_aspect(sizes, aspect)


def _nearest_aspect(sizes: Sequence[tuple[int, int]], aspect: float) -> tuple[int, int]:
    """Return the first of ``sizes`` whose width / height is nearest to ``aspect``."""

    def difference(size_wh: tuple[int, int]) -> float:
        return abs(size_wh[0] / size_wh[1] - aspect)

    return min(sizes, key=difference)


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
