"""Load the denoisers of a run and put into each what trains it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from blissmask.archs.loading import model_files
from blissmask.archs.protocol import Architecture, Denoiser, Expert
from blissmask.config.training import ModelSection, TrainSection
from blissmask.errors import UsageError
from blissmask.training.batches import MicroBatch
from blissmask.training.block_swap import BlockSwap, swap_blocks
from blissmask.training.experts import Learner, StepSchedule, noise_of
from blissmask.training.lora import Lora, LoraShape, drop_unreached, inject_lora, share_lora
from blissmask.training.optimizer import build_optimizer, build_scheduler
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


def load_learners(plan: LearnerPlan, model: ModelSection, section: TrainSection, first: MicroBatch) -> tuple[list[Learner], list[str]]:
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
            _compile_blocks(denoiser, section.compile_backend)
        noise = noise_of(section, expert, default_shift=plan.arch.default_shift)
        if learners and section.shared_lora:
            share_lora(learners[0].lora, lora)
            learner = Learner(expert.name, denoiser, lora, noise, learners[0].optimizer, learners[0].scheduler, swap)
        else:
            optimizer = build_optimizer(lora.named_parameters(), section)
            steps = plan.steps if section.shared_lora else plan.schedule.steps_of(position)
            learner = Learner(expert.name, denoiser, lora, noise, optimizer, build_scheduler(optimizer, section, steps=steps), swap)
        if section.offload_inactive_dit:
            # Two 14B experts do not fit side by side; the loop brings each to the device when it is its turn.
            learner.to(torch.device("cpu"))
        learners.append(learner)
    return learners, left_out


def check_network_options(section: TrainSection) -> None:
    """Raise UsageError, naming every option that LoKr and LoHa do not have, before anything is loaded."""
    if section.network_type == "lora":
        return
    given = {
        "network_dropout": section.network_dropout,
        "use_rslora": section.use_rslora,
        "use_dora": section.use_dora,
        "loraplus_lr_ratio": section.loraplus_lr_ratio,
        'lora_format = "diffusers"': section.lora_format == "diffusers",
    }
    wrong = [f"`{name}`" for name, value in given.items() if value]
    if wrong:
        raise UsageError(f"{section.network_type} has no {', '.join(wrong)}", fix="leave it out, or use `--network-type lora`")


def check_memory_options(section: TrainSection) -> None:
    """Raise UsageError when options exclude each other, before anything is loaded."""
    if section.blocks_to_swap and not section.gradient_checkpointing:
        raise UsageError(
            "`blocks_to_swap` needs gradient checkpointing: without it the backward pass keeps every block's weights on the device",
            fix="add `--gradient-checkpointing`",
        )
    if section.blocks_to_swap and section.compile:
        raise UsageError("`compile` needs the weights in one place, and `blocks_to_swap` moves them", fix="leave one of the two out")


def _load_adapted(plan: LearnerPlan, expert: Expert, model: ModelSection, section: TrainSection) -> tuple[Denoiser, Lora, BlockSwap | None]:
    """Load one denoiser, put LoRA into it and bring it to the device, in the precision and to the extent that is asked for."""
    # With swapping the model may be larger than the device.
    device = torch.device("cpu") if section.blocks_to_swap else plan.device
    denoiser = plan.arch.load_denoiser(model_files(model), expert=expert.name, task=plan.task, device=device, dtype=plan.dtype)
    if section.gradient_checkpointing:
        _checkpoint_blocks(denoiser)
    lora = inject_lora(denoiser, lora_shape(section), seed=section.seed)
    if section.fp8_base:
        _store_in_fp8(denoiser, plan.dtype)
    swap = swap_blocks(denoiser, section.blocks_to_swap, device=plan.device) if section.blocks_to_swap else None
    return denoiser, lora, swap


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
        raise UsageError(f"`{type(module).__name__}` does not support gradient checkpointing", fix="leave `--gradient-checkpointing` out")
    module.enable_gradient_checkpointing()


def _compile_blocks(denoiser: Denoiser, backend: str) -> None:
    """Compile each repeated block on its own: one compilation serves all blocks of a kind."""
    if backend not in torch.compiler.list_backends(exclude_tags=()):
        raise UsageError(f"there is no compiler `{backend}`", where=[", ".join(torch.compiler.list_backends())], fix="use one of these")
    for block in denoiser.module.modules():
        if type(block).__name__ in denoiser.block_class_names:
            block.compile(backend=backend)


def _store_in_fp8(denoiser: Denoiser, compute: torch.dtype) -> None:
    """Keep the frozen linear weights of the repeated blocks in float8 and cast each to ``compute`` when it runs.

    Norms, embeddings and the output layer stay as they are, like in musubi-tuner. The LoRA layers do too: the model-wide switch of
    diffusers would turn off the casting of their inputs, which float32 adapters on a bfloat16 model need.
    """
    from diffusers.hooks import apply_layerwise_casting_hook

    for block in denoiser.module.modules():
        if type(block).__name__ not in denoiser.block_class_names:
            continue
        for name, layer in block.named_modules():
            if isinstance(layer, nn.Linear) and "lora_" not in name:
                apply_layerwise_casting_hook(layer, storage_dtype=torch.float8_e4m3fn, compute_dtype=compute, non_blocking=True)


def _leave_out_unreached(denoiser: Denoiser, lora: Lora, first: MicroBatch, device: torch.device) -> list[str]:
    batch = first.to(device)
    _, inputs = noise_batch(batch, torch.full((len(batch.names),), 0.5), seed=0, device=device)
    denoiser.predict(inputs).float().square().mean().backward()  # type: ignore[no-untyped-call]
    return drop_unreached(lora, denoiser.module)
