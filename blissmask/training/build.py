"""Load the denoisers of a run and put into each what trains it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from blissmask.config.training import ModelSection, TrainSection
from blissmask.errors import UsageError
from blissmask.families.files.model_files import model_files
from blissmask.families.protocol import Architecture, Denoiser, Expert
from blissmask.processes import Processes
from blissmask.training.data.batches import MicroBatch
from blissmask.training.experts import Learner, Onlooker, StepSchedule, noise_of
from blissmask.training.lora.layers import Lora, LoraShape, drop_unreached, inject_lora, share_lora
from blissmask.training.memory.blocks import compile_blocks, shard_base
from blissmask.training.memory.offload import BlockSwap, swap_blocks
from blissmask.training.memory.quantised import FLOAT8, INT8, quantise_blocks
from blissmask.training.optim.optimizer import build_optimizer, build_scheduler
from blissmask.training.step import noise_batch


@dataclass(frozen=True, slots=True)
class LearnerPlan:
    """What :func:`load_learners` needs to know.

    Attributes:
        arch: the family.
        task: e.g. ``t2v``.
        experts: those to train, in the order of ``schedule``.
        schedule: how many steps each gets.
        steps: optimiser steps of the run.
        device, dtype: of the denoisers.
    """

    arch: Architecture
    task: str
    experts: Sequence[Expert]
    schedule: StepSchedule
    steps: int
    device: torch.device
    dtype: torch.dtype


def load_learners(
    plan: LearnerPlan, model: ModelSection, section: TrainSection, first: MicroBatch
) -> tuple[list[Learner], list[str]]:
    """Load and equip every expert.

    Args:
        plan: what to load.
        model: the model files.
        section: LoRA, optimiser and schedule.
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
        denoiser, lora, swap = _load_adapted(plan, expert, model, section)
        left_out += _leave_out_unreached(denoiser, lora, first, plan.device)
        if section.compile:
            compile_blocks(denoiser, section.compile_backend)
        noise = noise_of(section, expert, default_shift=plan.arch.default_shift)
        if learners and section.shared_lora:
            share_lora(learners[0].lora, lora)
            learner = Learner(expert.name, denoiser, lora, noise, learners[0].optimizer, learners[0].scheduler, swap)
        else:
            optimizer = build_optimizer(lora.named_parameters(), section)
            steps = plan.steps if section.shared_lora else plan.schedule.steps_of(position)
            learner = Learner(
                expert.name, denoiser, lora, noise, optimizer, build_scheduler(optimizer, section, steps=steps), swap
            )
        if section.offload_inactive_dit:
            # Two 14B experts do not fit side by side; the loop brings each to the device when it is its turn.
            learner.to(torch.device("cpu"))
        learners.append(learner)
    return learners, left_out


def check_network_options(section: TrainSection) -> None:
    """Raise UsageError when options exclude each other, naming all that LoKr and LoHa do not have, before anything is loaded."""
    if section.scale_weight_norms and "schedulefree" in section.optimizer_type.lower():
        raise UsageError(
            "`scale_weight_norms` cannot reach both of the weights that a schedule-free optimiser keeps",
            fix="leave one of the two out",
        )
    if section.network_type == "lora":
        return
    given = {
        "network_dropout": section.network_dropout,
        "use_rslora": section.use_rslora,
        "use_dora": section.use_dora,
        "loraplus_lr_ratio": section.loraplus_lr_ratio,
        "scale_weight_norms": section.scale_weight_norms,
        'lora_format = "diffusers"': section.lora_format == "diffusers",
    }
    wrong = [f"`{name}`" for name, value in given.items() if value]
    if wrong:
        raise UsageError(
            f"{section.network_type} has no {', '.join(wrong)}", fix="leave it out, or use `--network-type lora`"
        )


def check_memory_options(section: TrainSection, processes: Processes) -> None:
    """Raise UsageError when options exclude each other, before anything is loaded."""
    if section.fp8_base and section.int8_base:
        raise UsageError(
            "`fp8_base` and `int8_base` are two ways to keep the same weights",
            fix="leave one of the two out; int8 is closer",
        )
    if section.blocks_to_swap and not section.gradient_checkpointing:
        raise UsageError(
            "`blocks_to_swap` needs gradient checkpointing: without it the backward pass keeps every block's weights on the device",
            fix="add `--gradient-checkpointing`",
        )
    if section.blocks_to_swap and section.compile:
        raise UsageError(
            "`compile` needs the weights in one place, and `blocks_to_swap` moves them", fix="leave one of the two out"
        )
    moving = [name for name in ("blocks_to_swap", "offload_inactive_dit") if getattr(section, name)]
    if section.fsdp and moving:
        raise UsageError(
            f"`fsdp` spreads the weights over the processes, and `{moving[0]}` moves them",
            fix="leave one of the two out",
        )
    if section.fsdp and processes.count == 1:
        raise UsageError(
            "`fsdp` spreads the weights over several processes, and there is one",
            fix="start it as `torchrun --nproc-per-node 2 -m blissmask train ...`",
        )
    if section.memory == "auto" and processes.count > 1:
        raise UsageError(
            f'`memory = "auto"` picks for one process, and {processes.count} could pick differently',
            fix="see what `blissmask train --memory auto --dry-run` picks, and give that to all",
        )


def _load_adapted(
    plan: LearnerPlan, expert: Expert, model: ModelSection, section: TrainSection
) -> tuple[Denoiser, Lora, BlockSwap | None]:
    """Load one denoiser, put LoRA into it and bring it to the device, in the precision and to the extent that is asked for."""
    # As it is stored in its file, the model may be larger than the device.
    smaller = section.blocks_to_swap or section.fsdp or _storage(section) is not None
    device = torch.device("cpu") if smaller else plan.device
    denoiser = plan.arch.load_denoiser(
        model_files(model), expert=expert.name, task=plan.task, device=device, dtype=plan.dtype
    )
    if section.gradient_checkpointing:
        _checkpoint_blocks(denoiser)
    lora = inject_lora(denoiser, lora_shape(section), seed=section.seed)
    swap = _keep_small(denoiser, section, plan.device)
    if swap is None and not section.fsdp:
        denoiser.module.to(plan.device)
    return denoiser, lora, swap


def load_onlooker(plan: LearnerPlan, expert: Expert, model: ModelSection, section: TrainSection) -> Onlooker:
    """Load an expert that is not trained, kept as small as those that are; it rests in CPU memory.

    Raises:
        ModelError: its file is missing, foreign or damaged.
    """
    cpu = torch.device("cpu")
    denoiser = plan.arch.load_denoiser(
        model_files(model), expert=expert.name, task=plan.task, device=cpu, dtype=plan.dtype
    )
    onlooker = Onlooker(expert.name, denoiser, _keep_small(denoiser, section, plan.device))
    if not section.fsdp:
        onlooker.to(cpu)
    return onlooker


def _keep_small(denoiser: Denoiser, section: TrainSection, device: torch.device) -> BlockSwap | None:
    """Quantise the frozen weights, and swap or spread them, as far as is asked for."""
    storage = _storage(section)
    if storage is not None:
        quantise_blocks(denoiser, storage, device=device)
    if section.blocks_to_swap:
        return swap_blocks(denoiser, section.blocks_to_swap, device=device)
    if section.fsdp:
        shard_base(denoiser, device=device)
    return None


def _storage(section: TrainSection) -> torch.dtype | None:
    return FLOAT8 if section.fp8_base else INT8 if section.int8_base else None


def lora_shape(section: TrainSection) -> LoraShape:
    """Return the LoRA that the configuration asks for."""
    return LoraShape(
        rank=section.network_dim,
        alpha=section.network_alpha or float(section.network_dim),
        dropout=section.network_dropout,
        rank_stabilised=section.use_rslora,
        dora=section.use_dora,
        include=tuple(section.include_patterns),
        exclude=tuple(section.exclude_patterns),
        kind=section.network_type,
        factor=section.lokr_factor,
    )


def _checkpoint_blocks(denoiser: Denoiser) -> None:
    module: Any = denoiser.module
    if not getattr(module, "_supports_gradient_checkpointing", False):
        raise UsageError(
            f"`{type(module).__name__}` does not support gradient checkpointing",
            fix="leave `--gradient-checkpointing` out",
        )
    module.enable_gradient_checkpointing()


def _leave_out_unreached(denoiser: Denoiser, lora: Lora, first: MicroBatch, device: torch.device) -> list[str]:
    batch = first.to(device)
    _, inputs = noise_batch(batch, torch.full((len(batch.names),), 0.5), seed=0, device=device)
    denoiser.predict(inputs).float().square().mean().backward()  # type: ignore[no-untyped-call]
    return drop_unreached(lora, denoiser.module)
