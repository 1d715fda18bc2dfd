"""Load the denoisers of a run and put into each what trains it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from blissmask.errors import CacheError, Hint, UsageError, first_line
from blissmask.families.family import FamilyForTask
from blissmask.families.files.model_files import ModelFiles
from blissmask.families.protocol import Denoiser, Expert
from blissmask.training.data.micro_batch import MicroBatch
from blissmask.training.device import is_out_of_memory
from blissmask.training.experts import FrozenExpert, Learner, StepSchedule
from blissmask.training.lora.base_weights import BaseLora, fuse_base_loras
from blissmask.training.lora.layers.inject import drop_unreached, inject_lora
from blissmask.training.lora.layers.lora import Lora, LoraShape
from blissmask.training.lora.layers.share import share_lora
from blissmask.training.lora.running_average import RunningAverage
from blissmask.training.memory.block_compiler import BlockCompiler
from blissmask.training.memory.blocks import shard_base
from blissmask.training.memory.offload import BlockSwap, swap_blocks
from blissmask.training.memory.options import MemoryOptions
from blissmask.training.memory.quantised import FLOAT8, INT8, NF4, quantise_blocks
from blissmask.training.optim.optimizer import OptimizerOptions, build_optimizer
from blissmask.training.optim.schedule import ScheduleOptions, build_scheduler
from blissmask.training.step.run_step import noise_batch
from blissmask.training.timesteps import NoiseOptions, expert_noise


@dataclass(frozen=True, slots=True)
class LearnerPlan:
    """What :func:`load_learners` needs to know.

    Attributes:
        family: the family, for its task.
        files: of the model.
        experts: those to train, in the order of ``schedule``.
        schedule: how many steps each gets.
        steps: optimiser steps of the run.
        device, dtype: of the denoisers.
        memory: what keeps them small.
        compiler: of their blocks; None compiles nothing.
        lora: what is put into each.
        base_loras: LoRA files that become a part of their frozen weights.
        seed: of the LoRA's first weights.
        shared_lora: whether the experts train one LoRA together.
        optimizer, rate: of each LoRA.
        noise: how the levels that the experts share out are drawn.
        guidance_scale: see :meth:`FamilyForTask.load_denoiser`.
        ema_decay: of the running average of each LoRA; None keeps none.
    """

    family: FamilyForTask
    files: ModelFiles
    experts: Sequence[Expert]
    schedule: StepSchedule
    steps: int
    device: torch.device
    dtype: torch.dtype
    memory: MemoryOptions
    lora: LoraShape
    base_loras: Sequence[BaseLora]
    seed: int
    shared_lora: bool
    optimizer: OptimizerOptions
    rate: ScheduleOptions
    noise: NoiseOptions
    compiler: BlockCompiler | None = None
    guidance_scale: float | None = None
    ema_decay: float | None = None


def load_learners(plan: LearnerPlan, first: MicroBatch) -> tuple[list[Learner], list[str]]:
    """Load and equip every expert.

    Args:
        plan: what to load.
        first: a micro-batch of the data set: one backward pass over it finds the layers that never get a gradient.

    Returns:
        The learners, and the names of the layers that were left out for want of a gradient.

    Raises:
        ModelError: model files are missing, foreign or damaged.
        UsageError: the LoRA or the optimiser cannot be made as asked.
    """
    learners: list[Learner] = []
    left_out: list[str] = []
    for position, expert in enumerate(plan.experts):
        denoiser, lora, swap = _load_adapted(plan, expert)
        left_out += _leave_out_unreached(denoiser, lora, first, plan.device)
        if plan.compiler is not None:
            plan.compiler.compile(denoiser)
        if learners and plan.shared_lora:
            share_lora(learners[0].lora, lora)
            optimizer, scheduler, average = learners[0].optimizer, learners[0].scheduler, learners[0].average
        else:
            optimizer = build_optimizer(lora.named_parameters(), plan.optimizer)
            steps = plan.steps if plan.shared_lora else plan.schedule.steps_of(position)
            scheduler = build_scheduler(optimizer, plan.rate, steps=steps)
            average = None if plan.ema_decay is None else RunningAverage(lora, plan.ema_decay)
        learner = Learner(
            name=expert.name,
            denoiser=denoiser,
            lora=lora,
            noise=expert_noise(plan.noise, *expert.timestep_range),
            optimizer=optimizer,
            scheduler=scheduler,
            swap=swap,
            average=average,
            compiler=plan.compiler,
        )
        if plan.memory.offload_inactive_dit:
            # Two 14B experts do not fit side by side; the loop brings each to the device when it is its turn.
            learner.to(torch.device("cpu"))
        learners.append(learner)
    return learners, left_out


def _load_adapted(plan: LearnerPlan, expert: Expert) -> tuple[Denoiser, Lora, BlockSwap | None]:
    """Load one denoiser, put LoRA into it and bring to the device what is to be there."""
    memory = plan.memory
    # As it is stored in its file, the model may be larger than the device.
    smaller = memory.blocks_to_swap or memory.fsdp or _storage(memory) is not None
    device = torch.device("cpu") if smaller else plan.device
    denoiser = plan.family.load_denoiser(
        plan.files, expert, device=device, dtype=plan.dtype, guidance_scale=plan.guidance_scale
    )
    fuse_base_loras(denoiser, plan.base_loras)
    if memory.gradient_checkpointing:
        _checkpoint_blocks(denoiser)
    lora = inject_lora(denoiser, plan.lora, seed=plan.seed)
    swap = _keep_small(denoiser, memory, plan.device)
    if swap is None and not memory.fsdp:
        denoiser.module.to(plan.device)
    return denoiser, lora, swap


def load_frozen_expert(plan: LearnerPlan, expert: Expert) -> FrozenExpert:
    """Load an expert that is not trained, kept as small as those that are; it rests in CPU memory.

    Raises:
        ModelError: its file is missing, foreign or damaged.
    """
    cpu = torch.device("cpu")
    denoiser = plan.family.load_denoiser(plan.files, expert, device=cpu, dtype=plan.dtype)
    frozen = FrozenExpert(expert.name, denoiser, swap=_keep_small(denoiser, plan.memory, plan.device))
    if not plan.memory.fsdp:
        frozen.to(cpu)
    return frozen


def load_preview_denoiser(plan: LearnerPlan, dit: Path) -> FrozenExpert:
    """Load the denoiser that draws in the place of the only one that is trained; it rests in CPU memory.

    Its LoRA layers are there, since no layer can be adapted once it is quantised; :func:`follow_lora` fills them.

    Args:
        plan: of the learners. LoRA files in their base are no part of this model.
        dit: its file.

    Raises:
        ModelError: the file is missing, foreign or damaged.
    """
    (expert,), cpu = plan.experts, torch.device("cpu")
    files = dataclasses.replace(plan.files, dit=dit)
    denoiser = plan.family.load_denoiser(files, expert, device=cpu, dtype=plan.dtype)
    lora = inject_lora(denoiser, plan.lora, seed=plan.seed)
    # The new layers would drop out inputs.
    denoiser.module.eval()
    drawing = FrozenExpert(expert.name, denoiser, lora, swap=_keep_small(denoiser, plan.memory, plan.device))
    drawing.to(cpu)
    return drawing


def _keep_small(denoiser: Denoiser, memory: MemoryOptions, device: torch.device) -> BlockSwap | None:
    """Quantise the frozen weights, and swap or spread them, as far as is asked for."""
    storage = _storage(memory)
    if storage is not None:
        quantise_blocks(denoiser, storage, device=device)
    if memory.blocks_to_swap:
        return swap_blocks(denoiser, memory.blocks_to_swap, device=device)
    if memory.fsdp:
        shard_base(denoiser, device=device)
    return None


def _storage(memory: MemoryOptions) -> torch.dtype | None:
    if memory.fp8_base:
        return FLOAT8
    if memory.nf4_base:
        return NF4
    return INT8 if memory.int8_base else None


def _checkpoint_blocks(denoiser: Denoiser) -> None:
    module: Any = denoiser.module
    if not getattr(module, "_supports_gradient_checkpointing", False):
        raise UsageError(
            f"`{type(module).__name__}` does not support gradient checkpointing",
            fix="leave `--gradient-checkpointing` out",
        )
    module.enable_gradient_checkpointing()


@contextlib.contextmanager
def _blaming(batch: MicroBatch) -> Iterator[None]:
    """Turn the first error of a model over what it was given into one that names the cache entries.

    Caches may come from other tools, with other contents or widths than the family's.
    """
    try:
        yield
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
        # An error of the device may come from any kernel before this one.
        if is_out_of_memory(error) or "CUDA error" in str(error):
            raise
        raise CacheError(
            f"the model cannot take what the cache holds: {first_line(error)}",
            where=batch.names,
            fix=Hint("make the cache for this model: `{command}`", "cache"),
        ) from error


def _leave_out_unreached(denoiser: Denoiser, lora: Lora, first: MicroBatch, device: torch.device) -> list[str]:
    batch = first.to(device)
    with _blaming(first):
        _, inputs = noise_batch(batch, torch.full((len(batch.names),), 0.5), seed=0, device=device)
        predicted = denoiser.predict(inputs)
    predicted.float().square().mean().backward()  # type: ignore[no-untyped-call]
    return drop_unreached(lora, denoiser.module)
