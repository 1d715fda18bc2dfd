"""Estimate the memory of a training, make it fit with ``memory = "auto"``, and explain when it did not fit."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field

import torch

from blissmask.cachefile.entry import CacheHeader
from blissmask.config.model import Config
from blissmask.config.sections.memory_section import MemorySection
from blissmask.errors import MachineError, Problem
from blissmask.families.family import FamilyForTask
from blissmask.families.files.model_files import is_tiny, model_files
from blissmask.families.protocol import Expert
from blissmask.processes import Processes
from blissmask.tasks.run.plan import Table
from blissmask.tasks.train.memory.forecast import Micro, card_table, published_size, text_rows
from blissmask.tasks.train.rules import lora_shape, memory_options
from blissmask.training.cost import Preservation, operations
from blissmask.training.data.cached_set import CachedSet
from blissmask.training.device import denoiser_dtype, find_device, free_memory, is_out_of_memory
from blissmask.training.experts import wanted_experts
from blissmask.training.memory.estimate import (
    Forecast,
    Load,
    ModelSize,
    choose_options,
    estimate,
    forecast,
    measure_model,
    resting_bytes,
    trained_numbers,
)
from blissmask.training.memory.options import MemoryOptions

_GIB = 1 << 30
_CONTROL = "latents_control_"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """The memory of a training, and the options that were chosen for it.

    Attributes:
        config: with the options that were chosen.
        rows: for the overview.
        warnings: when it will not fit.
        details: ``memory_bytes``, and the same by part, where they are known.
        resting_bytes: CPU memory that the denoisers of this process will take; 0 where it is not known.
        trained_numbers: about how many numbers are trained; 0 where it is not known.
        tables: for `--dry-run`, where the sizes are known: what each usual GPU needs.
        operations: floating-point operations of a step's largest micro-batch, preservation left out; 0 where they are
            not known.
        by_published_size: whether the model files are not here, and the sizes are those of the released model.
    """

    config: Config
    rows: tuple[tuple[str, str], ...] = ()
    warnings: tuple[Problem, ...] = ()
    details: dict[str, object] = field(default_factory=dict)
    resting_bytes: int = 0
    trained_numbers: int = 0
    tables: tuple[Table, ...] = ()
    operations: float = 0.0
    by_published_size: bool = False


def fit_memory(config: Config, family: FamilyForTask, sets: Sequence[CachedSet], processes: Processes) -> MemoryPlan:
    """Estimate the memory by the headers of the model files; with ``memory = "auto"``, choose options that make it fit.

    Raises:
        ModelError: a model file is damaged.
        UsageError, MachineError: no such device.
    """
    is_auto = config.memory.memory == "auto"
    trained = wanted_experts(family.experts, config.train.expert)
    sizes = _sizes(trained, config)
    published = config.run.dry_run and not sizes and not is_tiny(model_files(config.model))
    if published:
        sizes = [size for size in map(_published, trained) if size.blocks]
    if len(sizes) < len(trained):
        unknown = ("memory", "not known before the model is here; nothing is picked")
        return MemoryPlan(config=config, rows=(unknown,) if is_auto else ())
    device = find_device(config.model.device)
    micro = largest_micro(family, sets)
    load = _load(config, micro, device=device, process_count=processes.count)
    options = given = memory_options(config.memory)
    rows: list[tuple[str, str]] = []
    warnings: list[Problem] = []
    if is_auto:
        free = free_memory(device)
        options, fits = choose_options(sizes, options, load, free=free)
        config = config.model_copy(update={"memory": _with_options(config.memory, options)})
        rows.append(("memory auto", f"{options.describe()} ({_gib(free)} free)"))
        if not fits:
            most = _gib(estimate(sizes, options, load))
            what = f"the training needs about {most} of memory, and {_gib(free)} are free"
            warnings.append(Problem(what, fix="lower `batch_size` or the resolution, or use a larger device"))
    needed = forecast(sizes, options, load)
    rows += [("memory, estimated", _gib(needed.total)), ("  of it", _parts(needed))]
    if published:
        what = "the model is not here yet; its memory is estimated by the published size of the family"
        warnings.append(Problem(what, fix="name its files under [model] when they are here"))
    return MemoryPlan(
        config=config,
        rows=tuple(rows),
        warnings=tuple(warnings),
        details={"memory_bytes": needed.total, "memory_bytes_by_part": asdict(needed)},
        resting_bytes=resting_bytes(sizes, _sizes_for_previews(config, family, trained), options, load),
        trained_numbers=trained_numbers(sizes, load),
        tables=(card_table(config, sizes, micro, given),) if config.run.dry_run else (),
        operations=operations(
            sizes[0],
            tokens=micro.tokens,
            items=micro.items,
            recomputes=options.gradient_checkpointing,
            held=Preservation(),
        ),
        by_published_size=published,
    )


def _sizes_for_previews(config: Config, family: FamilyForTask, trained: Sequence[Expert]) -> list[ModelSize]:
    """Return the sizes of the denoisers that draw previews beside those that are trained."""
    if not (config.previews.sample_prompts or config.previews.prompts):
        return []
    sizes = _sizes([expert for expert in family.experts if expert not in trained], config)
    if config.previews.preview_dit is not None:
        sizes.append(measure_model([config.previews.preview_dit]))
    return sizes


def _published(expert: Expert) -> ModelSize:
    return published_size(expert.part)


def _load(config: Config, micro: Micro, *, device: torch.device, process_count: int) -> Load:
    return Load(
        tokens=micro.tokens,
        weight_bytes=denoiser_dtype(config.memory.dit_dtype, device).itemsize,
        on_gpu=device.type == "cuda",
        lora=lora_shape(config.lora),
        shared_lora=config.train.shared_lora,
        processes=process_count,
    )


def _with_options(section: MemorySection, chosen: MemoryOptions) -> MemorySection:
    return section.model_copy(
        update={
            "gradient_checkpointing": chosen.gradient_checkpointing,
            "offload_inactive_dit": chosen.offload_inactive_dit,
            "blocks_to_swap": chosen.blocks_to_swap,
            "int8_base": chosen.int8_base,
        }
    )


def _sizes(experts: Sequence[Expert], config: Config) -> list[ModelSize]:
    """Return the sizes of the denoisers whose files are here."""
    named = model_files(config.model)
    files = [expert.part.weight_files(named) for expert in experts]
    return [measure_model(paths) for paths in files if paths]


def largest_micro(family: FamilyForTask, sets: Sequence[CachedSet]) -> Micro:
    """Return the micro-batch of the most tokens, those of captions included.

    Control pictures add tokens beside the latents in every block. First frames of image-to-video add none: they are
    channels of the same tokens.
    """
    patch = max(1, family.latent.grid_multiple // family.latent.spatial_stride)
    rows, found = text_rows(family), []
    for cached in sets:
        most = max(
            sum(math.prod(shape[1:]) for shape in _token_shapes(header)) // patch**2 for header in cached.headers
        )
        found.append(Micro(cached.batch_size * (most + rows), cached.batch_size))
    return max(found, key=lambda micro: micro.tokens)


def _token_shapes(header: CacheHeader) -> list[tuple[int, ...]]:
    controls = [shape for name, (_, shape) in header.contents.items() if name.startswith(_CONTROL)]
    return [header.latent_shape, *controls]


def _parts(needed: Forecast) -> str:
    parts = {
        "frozen weights": needed.weights,
        "LoRA": needed.lora,
        "optimiser": needed.optimizer,
        "activations": needed.activations,
        "libraries": needed.libraries,
    }
    return ", ".join(f"{name} {_gib(count)}" for name, count in parts.items())


def _gib(count: int) -> str:
    return f"{count / _GIB:.1f} GiB"


@contextlib.contextmanager
def explained_out_of_memory(config: Config, sets: Sequence[CachedSet]) -> Iterator[None]:
    """Turn an allocation that failed into a MachineError that names what makes the training smaller."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise _out_of_memory(config, sets) from error


def _out_of_memory(config: Config, sets: Sequence[CachedSet]) -> MachineError:
    sizes = ((cached.batch_size, *header.latent_shape[1:]) for cached in sets for header in cached.headers)
    batch_size, frames, rows, columns = max(sizes, key=math.prod)
    where = (
        f"the largest micro-batch: {batch_size} x {frames} x {rows} x {columns} latent cells "
        "(items, frames, rows, columns)"
    )
    first, *others = _savings(config, batch_size)
    advice = f"use {first}" + (f", then {', '.join(others)}" if others else "")
    return MachineError(
        "the training does not fit into the memory",
        where=[where],
        fix=f"{advice};\nwhat was saved is kept, and the same command goes on from there",
    )


def _savings(config: Config, batch_size: int) -> list[str]:
    """Return the options that save memory and are not used yet, the cheapest first."""
    memory, savings = config.memory, list[str]()
    if not memory.gradient_checkpointing:
        savings.append("`--gradient-checkpointing`")
    if config.train.expert == "both" and not memory.offload_inactive_dit:
        savings.append("`--offload-inactive-dit`")
    if not memory_options(memory).rounds_base:
        savings.append("`--int8-base`")
    if not memory.blocks_to_swap:
        savings.append("`--blocks-to-swap N`")
    if batch_size > 1:
        savings.append("a smaller `batch_size`")
    savings.append("a smaller `resolution`")
    return savings
