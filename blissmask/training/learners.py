"""Load the denoisers of a run and put into each what trains it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from blissmask.archs.protocol import Architecture, Denoiser, Expert, ModelFiles
from blissmask.config.training import ModelSection, TrainSection
from blissmask.errors import UsageError
from blissmask.training.batches import MicroBatch
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
        denoiser = plan.arch.load_denoiser(model_files(model), expert=expert.name, task=plan.task, device=plan.device, dtype=plan.dtype)
        if section.gradient_checkpointing:
            _checkpoint_blocks(denoiser)
        lora = inject_lora(denoiser, lora_shape(section), seed=section.seed)
        if section.fp8_base:
            _store_in_fp8(denoiser, plan.dtype)
        left_out += _leave_out_unreached(denoiser, lora, first, plan.device)
        if section.offload_inactive_dit:
            # Two 14B experts do not fit side by side; the loop brings each to the device when it is its turn.
            denoiser.module.to("cpu")
        noise = noise_of(section, expert, default_shift=plan.arch.default_shift)
        if learners and section.shared_lora:
            share_lora(learners[0].lora, lora)
            learners.append(Learner(expert.name, denoiser, lora, noise, learners[0].optimizer, learners[0].scheduler))
            continue
        optimizer = build_optimizer(lora.named_parameters(), section)
        steps = plan.steps if section.shared_lora else plan.schedule.steps_of(position)
        learners.append(Learner(expert.name, denoiser, lora, noise, optimizer, build_scheduler(optimizer, section, steps=steps)))
    return learners, left_out


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
    )


def model_files(model: ModelSection) -> ModelFiles:
    """Return where the weights come from."""
    return ModelFiles(**{name: getattr(model, name) for name in ModelFiles.__dataclass_fields__})


def _checkpoint_blocks(denoiser: Denoiser) -> None:
    module: Any = denoiser.module
    if not getattr(module, "_supports_gradient_checkpointing", False):
        raise UsageError(f"`{type(module).__name__}` does not support gradient checkpointing", fix="leave `--gradient-checkpointing` out")
    module.enable_gradient_checkpointing()


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
