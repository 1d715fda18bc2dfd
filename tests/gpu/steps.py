"""Steps of whole trainings at the sizes of released models: seconds, peak memory, and the forecast beside it."""

from __future__ import annotations

import importlib.util
import itertools
import resource
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from blissmask.config.model import Config
from blissmask.errors import MachineError, first_line
from blissmask.events import Event, Measured
from blissmask.tasks.run.plan import RunContext
from blissmask.tasks.train import train_lora
from blissmask.tasks.train.plan import plan as plan_training
from blissmask.tasks.train.rules import lora_shape, memory_options
from blissmask.training.memory.estimate import Load, forecast, size_of
from tests.builders.families import PLAIN, family_of
from tests.builders.training import ALL_LAYERS, stripes, train_config, weights_of, write_entry
from tests.gpu.figures import Figure, Place, skipped
from tests.gpu.true_sizes import released, true_sizes

GIB = 1 << 30
STEPS = 6
"""Of each training; the first loads libraries and compiles, and does not count."""
FORECAST_ERROR = 0.1
"""How far the forecast of memory may be off, as a share of the peak. Goal of the forecast that `train --dry-run` prints."""
RANK = 16
CHECKPOINTS = {"gradient_checkpointing": True}
PRIOR = {"prior_preservation_weight": 1.0}


@dataclass(frozen=True, slots=True)
class Model:
    """A denoiser of the family ``PLAIN``.

    Attributes:
        name: for the table.
        sizes: arguments of its class where they differ from the released model.
        text_width: of the rows of a caption.
        swapped: blocks that rest in CPU memory, half of them.
    """

    name: str
    sizes: Mapping[str, Any]
    text_width: int
    swapped: int


SMALL = Model("1.3B", {"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30}, text_width=4096, swapped=15)
LARGE = Model("14B", {}, text_width=4096, swapped=20)
MINIATURE = Model(
    "miniature",
    {"num_attention_heads": 1, "ffn_dim": 64, "num_layers": 2, "text_dim": 32, "freq_dim": 32},
    text_width=32,
    swapped=1,
)
PHOTO, CLIP = (16, 1, 128, 128), (16, 21, 60, 104)
"""Latents (C, F, H, W) of a photo of 1024 pixels, and of 81 frames at 832 x 480."""
SMALLEST_PHOTO, SMALLEST_CLIP = (16, 1, 4, 4), (16, 2, 4, 4)


def small_model(where: Place) -> Iterator[Figure]:
    """Yield the figures of the small model: what each option costs and saves on photos, and clips."""
    compiler = {"compile": True, "compile_backend": "aot_eager" if where.rehearses else "inductor"}
    photos: dict[str, dict[str, Any]] = {
        "as it is": {},
        "checkpointing": CHECKPOINTS,
        "prior": PRIOR,
        "prior, checkpointing": {**PRIOR, **CHECKPOINTS},
        "compiled": compiler,
        "int8": {"int8_base": True},
        "float8": {"fp8_base": True},
    }
    yield from _cases(where, SMALL, "photo", photos)
    yield from _cases(where, SMALL, "clip", {"checkpointing": CHECKPOINTS})
    yield _waiting(where, SMALL, "photo")


def large_model(where: Place) -> Iterator[Figure]:
    """Yield the figures of the large model, the likeliest to fit first."""
    model = MINIATURE if where.rehearses else LARGE
    photos: dict[str, dict[str, Any]] = {
        "int8, checkpointing": {"int8_base": True, **CHECKPOINTS},
        "half of the blocks swapped": {"blocks_to_swap": model.swapped, **CHECKPOINTS},
    }
    if importlib.util.find_spec("bitsandbytes") is not None:
        photos["4 bits, checkpointing"] = {"nf4_base": True, **CHECKPOINTS}
    if not where.rehearses:
        photos["checkpointing"] = CHECKPOINTS
    yield from _cases(where, LARGE, "photo", photos)


def _cases(where: Place, model: Model, kind: str, cases: Mapping[str, dict[str, Any]]) -> Iterator[Figure]:
    model, latents, cache = _set_out(where, model, kind)
    longest = 0.0
    for name, options in cases.items():
        what = f"{model.name}, {kind}, {name}"
        if where.seconds_left < longest:
            yield skipped(what, "the part's time is spent")
            continue
        started = time.perf_counter()
        yield _step(where, what, model, cache, latents, options)
        longest = max(longest, time.perf_counter() - started)


def _set_out(where: Place, model: Model, kind: str) -> tuple[Model, tuple[int, ...], Path]:
    """Return the model, the latents and the cache of a training here; the cache is written."""
    latents = {"photo": PHOTO, "clip": CLIP}[kind]
    if where.rehearses:
        model = replace(MINIATURE, name=model.name)
        latents = {"photo": SMALLEST_PHOTO, "clip": SMALLEST_CLIP}[kind]
    cache = where.folder / f"{model.name}-{kind}"
    shares = stripes(*latents[1:])
    for number in range(2):
        options = {"shape": latents, "weights": weights_of(shares), "regions": shares, "text_width": model.text_width}
        write_entry(cache, f"{kind}{number}", seed=number, **options)
    return model, latents, cache


class _Clock:
    """Notes when each step's numbers were there, so when the device had done it."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def emit(self, event: Event) -> None:
        if isinstance(event, Measured):
            self.times.append(time.perf_counter())


class _BusyClock(_Clock):
    """Notes, too, how long the device computed, from the end of the second step to that of the last."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.watched = DeviceType.CUDA if device.type == "cuda" else DeviceType.CPU
        activity = ProfilerActivity.CUDA if device.type == "cuda" else ProfilerActivity.CPU
        self._profile = profile(activities=[activity])
        self._started = self.seconds = 0.0

    def emit(self, event: Event) -> None:
        super().emit(event)
        if not isinstance(event, Measured):
            return
        if len(self.times) == 2:
            self._profile.start()
            self._started = time.perf_counter()
        elif len(self.times) == STEPS:
            self.seconds = time.perf_counter() - self._started
            self._profile.stop()

    def busy_seconds(self) -> float:
        """Return the length of the time in which something ran on the device."""
        ranges = [one.time_range for one in self._profile.events() if one.device_type == self.watched]
        microseconds, until = 0.0, float("-inf")
        for start, end in sorted((one.start, one.end) for one in ranges):
            microseconds += max(0.0, end - max(start, until))
            until = max(until, end)
        return microseconds / 1e6


def _waiting(where: Place, model: Model, kind: str) -> Figure:
    """Return the share of a training's time in which nothing runs on the device."""
    model, _, cache = _set_out(where, model, kind)
    what, clock = f"{model.name}, {kind}, the device waits", _BusyClock(where.device)
    if where.seconds_left < 0:
        return skipped(what, "the part's time is spent")
    failed = _train(where, what, model, cache, {}, clock)
    if failed is not None:
        return failed
    share = 1 - clock.busy_seconds() / clock.seconds
    return Figure(what, f"{100 * share:.1f} % of the time", {"waiting_share": share})


def _train(
    where: Place, what: str, model: Model, cache: Path, options: Mapping[str, Any], clock: _Clock
) -> Figure | None:
    """Train a few steps; return the line of what went wrong."""
    try:
        with true_sizes(model.sizes, where.device):
            train_lora.run(plan_training(_config(where, what, cache, options)), RunContext(clock))
    except MachineError as error:
        return Figure(what, f"did not fit: {first_line(error)}", {})
    except Exception as error:  # noqa: BLE001 - whatever breaks one case is told, and the others are measured
        return Figure(what, f"{type(error).__name__}: {first_line(error)}", {}, failed=True)
    return None


def _config(where: Place, what: str, cache: Path, options: Mapping[str, Any]) -> Config:
    return train_config(
        cache,
        where.folder / f"out-{what.replace(', ', '-').replace(' ', '-')}",
        device=where.device.type,
        dit_dtype="bfloat16",
        use_mask_loss=True,
        max_train_steps=STEPS,
        network_dim=RANK,
        **ALL_LAYERS,
        **options,
    )


def _step(
    where: Place, what: str, model: Model, cache: Path, latents: tuple[int, ...], options: dict[str, Any]
) -> Figure:
    """Train a few steps and return the median of their seconds, the peak, and the forecast."""
    clock = _Clock()
    forget_peak(where.device)
    failed = _train(where, what, model, cache, options, clock)
    if failed is not None:
        return failed
    seconds = median_step(clock.times)
    taken = peak(where.device)
    config = _config(where, what, cache, options)
    load = Load(
        tokens=latents[1] * (latents[2] // 2) * (latents[3] // 2),
        weight_bytes=2,
        on_gpu=where.device.type == "cuda",
        lora=lora_shape(config.lora),
    )
    parts = forecast([size_of(_shapes(model.sizes))], memory_options(config.memory), load)
    # What libraries and the driver take stands in no allocator.
    expected = parts.total - parts.libraries
    off = expected / taken - 1
    is_near = abs(off) <= FORECAST_ERROR
    verdict = "" if is_near else f", MISSED: {FORECAST_ERROR:.0%} is the goal"
    result = (
        f"{seconds * 1000:.0f} ms a step, peak {taken / GIB:.2f} GiB, "
        f"forecast {expected / GIB:.2f} GiB ({off:+.0%}{'' if where.rehearses else verdict})"
    )
    values = {"step_seconds": seconds, "peak_bytes": taken, "forecast_bytes": expected, "forecast_error": off}
    return Figure(what, result, values, failed=not is_near and not where.rehearses)


def median_step(times: Sequence[float]) -> float:
    """Return the median of the seconds between steps; the first step does not count."""
    return statistics.median(after - before for before, after in itertools.pairwise(times[1:]))


def _shapes(sizes: Mapping[str, Any]) -> list[tuple[str, tuple[int, ...]]]:
    return released(family_of(PLAIN).experts[0].part, sizes).published_shapes()


def forget_peak(device: torch.device) -> None:
    """Let :func:`peak` count from here."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak(device: torch.device) -> int:
    """Return the most bytes that were taken: of the GPU by this training, of the CPU by this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
