"""Steps of whole trainings at the sizes of released models: seconds, peak memory, and the forecast beside it."""

from __future__ import annotations

import importlib.util
import resource
import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from blissmask.errors import MachineError, first_line
from blissmask.events import Event, Measured
from blissmask.tasks.run.plan import RunContext
from blissmask.tasks.train import train_lora
from blissmask.tasks.train.plan import plan as plan_training
from blissmask.tasks.train.rules import lora_shape, memory_options
from blissmask.training.memory.estimate import Load, forecast, size_of
from tests.builders.families import PLAIN, family_of
from tests.builders.training import stripes, train_config, weights_of, write_entry
from tests.gpu.figures import Figure, Place, skipped
from tests.gpu.true_sizes import released, true_sizes

GIB = 1 << 30
STEPS = 6
"""Of each training; the first loads libraries and compiles, and does not count."""
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
    latents = {"photo": PHOTO, "clip": CLIP}[kind]
    if where.rehearses:
        model = replace(MINIATURE, name=model.name)
        latents = {"photo": SMALLEST_PHOTO, "clip": SMALLEST_CLIP}[kind]
    cache = where.folder / f"{model.name}-{kind}"
    shares = stripes(*latents[1:])
    for number in range(2):
        options = {"shape": latents, "weights": weights_of(shares), "regions": shares, "text_width": model.text_width}
        write_entry(cache, f"{kind}{number}", seed=number, **options)
    longest = 0.0
    for name, options in cases.items():
        what = f"{model.name}, {kind}, {name}"
        if where.seconds_left < longest:
            yield skipped(what, "the part's time is spent")
            continue
        started = time.perf_counter()
        yield _step(where, what, model, cache, latents, options)
        longest = max(longest, time.perf_counter() - started)


class _Clock:
    """Notes when each step's numbers were there, so when the device had done it."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def emit(self, event: Event) -> None:
        if isinstance(event, Measured):
            self.times.append(time.perf_counter())


def _step(
    where: Place, what: str, model: Model, cache: Path, latents: tuple[int, ...], options: dict[str, Any]
) -> Figure:
    """Train a few steps and return the median of their seconds, the peak, and the forecast."""
    output = where.folder / f"out-{what.replace(', ', '-').replace(' ', '-')}"
    config = train_config(
        cache,
        output,
        device=where.device.type,
        dit_dtype="bfloat16",
        use_mask_loss=True,
        max_train_steps=STEPS,
        network_dim=16,
        **options,
    )
    clock = _Clock()
    _forget_peak(where.device)
    try:
        with true_sizes(model.sizes, where.device):
            train_lora.run(plan_training(config), RunContext(clock))
    except MachineError as error:
        return Figure(what, f"did not fit: {first_line(error)}", {})
    except Exception as error:  # noqa: BLE001 - whatever breaks one case is told, and the others are measured
        return Figure(what, f"{type(error).__name__}: {first_line(error)}", {}, failed=True)
    seconds = statistics.median(
        after - before for before, after in zip(clock.times[1:-1], clock.times[2:], strict=True)
    )
    peak = _peak(where.device)
    load = Load(
        tokens=latents[1] * (latents[2] // 2) * (latents[3] // 2),
        weight_bytes=2,
        on_gpu=where.device.type == "cuda",
        lora=lora_shape(config.lora),
    )
    expected = forecast([size_of(_shapes(model.sizes))], memory_options(config.memory), load).total
    result = f"{seconds * 1000:.0f} ms a step, peak {peak / GIB:.2f} GiB, forecast {expected / GIB:.2f} GiB"
    return Figure(what, result, {"step_seconds": seconds, "peak_bytes": peak, "forecast_bytes": expected})


def _shapes(sizes: Mapping[str, Any]) -> list[tuple[str, tuple[int, ...]]]:
    return released(family_of(PLAIN).experts[0].part, sizes).published_shapes()


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _peak(device: torch.device) -> int:
    """Return the most bytes that were taken: of the GPU by this training, of the CPU by this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
