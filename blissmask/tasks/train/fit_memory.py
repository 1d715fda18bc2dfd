"""The memory part of the training plan: an estimate, and with ``memory = "auto"`` the options that make it fit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from blissmask.cachefile.entry import CacheHeader
from blissmask.config.memory_section import MemorySection
from blissmask.config.model import Config
from blissmask.errors import Problem
from blissmask.families.family import FamilyForTask
from blissmask.families.files.model_files import model_files
from blissmask.families.protocol import Expert
from blissmask.processes import Processes
from blissmask.tasks.train.rules import lora_shape, memory_options
from blissmask.training.data.cached_set import CachedSet
from blissmask.training.device import denoiser_dtype, find_device, free_memory
from blissmask.training.experts import wanted_experts
from blissmask.training.memory.estimate import (
    Load,
    ModelSize,
    choose_options,
    estimate,
    measure_model,
    resting_bytes,
)
from blissmask.training.memory.options import MemoryOptions

_GIB = 1 << 30
_CONTROL = "latents_control_"


@dataclass(slots=True)
class MemoryPlan:
    """What was found and chosen.

    Attributes:
        config: with the options that were chosen.
        rows: for the overview.
        warnings: when it will not fit.
        details: ``memory_bytes``, where it is known.
        resting_bytes: of CPU memory that the denoisers of this process will take, where it is known.
    """

    config: Config
    rows: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    details: dict[str, object] = field(default_factory=dict)
    resting_bytes: int = 0


def fit_memory(config: Config, family: FamilyForTask, sets: Sequence[CachedSet], processes: Processes) -> MemoryPlan:
    """Estimate the memory from the model files' headers, and choose the options that make it fit when the user leaves that to us.

    Raises:
        ModelError: a model file is damaged.
        UsageError, MachineError: no such device.
    """
    found = MemoryPlan(config)
    options, auto = memory_options(config.memory), config.memory.memory == "auto"
    experts = family.experts
    trained = wanted_experts(experts, config.train.expert)
    sizes = _sizes(config, trained)
    if len(sizes) < len(trained):
        if auto:
            found.rows.append(("memory", "not known before the model is here; nothing is picked"))
        return found
    device = find_device(config.model.device)
    load = Load(
        most_tokens(family, sets),
        denoiser_dtype(config.memory.dit_dtype, device).itemsize,
        on_gpu=device.type == "cuda",
        lora=lora_shape(config.lora),
        shared_lora=config.train.shared_lora,
        processes=processes.count,
    )
    if auto:
        free = free_memory(device)
        options, fits = choose_options(sizes, options, load, free=free)
        found.config = config.model_copy(update={"memory": _with_options(config.memory, options)})
        found.rows.append(("memory auto", f"{options.describe()} ({_gib(free)} free)"))
        if not fits:
            what = (
                f"the training needs about {_gib(estimate(sizes, options, load))} of memory, and {_gib(free)} are free"
            )
            found.warnings.append(Problem(what, fix="lower `batch_size` or the resolution, or use a larger device"))
    needed = estimate(sizes, options, load)
    found.details["memory_bytes"] = needed
    found.rows.append(("memory, estimated", _gib(needed)))
    # Those that are not trained draw with those that are.
    others = (
        _sizes(config, [expert for expert in experts if expert not in trained])
        if config.previews.sample_prompts
        else []
    )
    found.resting_bytes = resting_bytes(sizes, others, options, load)
    return found


def _with_options(section: MemorySection, chosen: MemoryOptions) -> MemorySection:
    return section.model_copy(
        update={
            "gradient_checkpointing": chosen.gradient_checkpointing,
            "offload_inactive_dit": chosen.offload_inactive_dit,
            "blocks_to_swap": chosen.blocks_to_swap,
            "int8_base": chosen.int8_base,
        }
    )


def _sizes(config: Config, experts: Sequence[Expert]) -> list[ModelSize]:
    """Return the sizes of the denoisers whose files are here."""
    files = [expert.part.weight_files(model_files(config.model)) for expert in experts]
    return [measure_model(paths) for paths in files if paths]


def most_tokens(family: FamilyForTask, sets: Sequence[CachedSet]) -> int:
    """Return the tokens of the largest micro-batch: of the latents, and of control pictures, which stand beside them in every block.

    First frames of image-to-video are no tokens of their own: they are channels of the same ones.
    """
    patch = max(1, family.latent.grid_multiple // family.latent.spatial_stride)
    return max(
        cached.batch_size * sum(math.prod(shape[1:]) // patch**2 for shape in _token_shapes(header))
        for cached in sets
        for header in cached.headers
    )


def _token_shapes(header: CacheHeader) -> list[tuple[int, ...]]:
    controls = [shape for name, (_, shape) in header.contents.items() if name.startswith(_CONTROL)]
    return [header.latent_shape, *controls]


def _gib(count: int) -> str:
    return f"{count / _GIB:.1f} GiB"
