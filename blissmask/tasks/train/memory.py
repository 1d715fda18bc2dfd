"""The memory part of the training plan: an estimate, and with ``memory = "auto"`` the options that make it fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from blissmask.archs.protocol import Architecture
from blissmask.config.model import Config
from blissmask.errors import Problem
from blissmask.training.cached_set import CachedSet
from blissmask.training.device import denoiser_dtype, find_device, free_memory
from blissmask.training.memory import Load, choose_options, denoiser_files, describe, estimate, measure_model
from blissmask.training.processes import Processes

_GIB = 1 << 30


@dataclass(slots=True)
class MemoryPlan:
    """What was found and chosen.

    Attributes:
        config: with the options that were chosen.
        rows: for the overview.
        warnings: when it will not fit.
        details: ``memory_bytes``, where it is known.
    """

    config: Config
    rows: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    details: dict[str, object] = field(default_factory=dict)


def fit_memory(config: Config, arch: Architecture, sets: Sequence[CachedSet], processes: Processes) -> MemoryPlan:
    """Estimate the memory from the model file's header, and choose the options that make it fit when the user leaves that to us.

    Raises:
        ModelError: the model file is damaged.
        UsageError, MachineError: no such device.
    """
    found = MemoryPlan(config)
    section, auto = config.train, config.train.memory == "auto"
    files = denoiser_files(config.model)
    if not files:
        if auto:
            found.rows.append(("memory", "not known before the model is here; nothing is picked"))
        return found
    size, device = measure_model(files), find_device(config.model.device)
    weight_bytes = denoiser_dtype(section.dit_dtype, device).itemsize
    load = Load(_most_tokens(arch, sets), weight_bytes, swaps=device.type == "cuda", processes=processes.count)
    if auto:
        free = free_memory(device)
        section, fits = choose_options(size, section, load, free=free)
        found.config = config.model_copy(update={"train": section})
        found.rows.append(("memory auto", f"{describe(section)} ({_gib(free)} free)"))
        if not fits:
            what = f"the training needs about {_gib(estimate(size, section, load))} of memory, and {_gib(free)} are free"
            found.warnings.append(Problem(what, fix="lower `batch_size` or the resolution, or use a larger device"))
    needed = estimate(size, section, load)
    found.details["memory_bytes"] = needed
    found.rows.append(("memory, estimated", _gib(needed)))
    return found


def _most_tokens(arch: Architecture, sets: Sequence[CachedSet]) -> int:
    """Return the tokens of the largest micro-batch."""
    patch = max(1, arch.latent.grid_multiple // arch.latent.spatial_stride)
    shapes = [(cached.batch_size, header.latent_shape) for cached in sets for header in cached.headers]
    return max(batch_size * frames * rows * columns // patch**2 for batch_size, (_, frames, rows, columns) in shapes)


def _gib(count: int) -> str:
    return f"{count / _GIB:.1f} GiB"
