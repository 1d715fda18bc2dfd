"""The model of a training that is over, into which one LoRA after another is loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from blissmask.errors import ModelError
from blissmask.events import PhaseFinished, PhaseStarted
from blissmask.tasks.ranking.candidates import Candidate
from blissmask.tasks.run.plan import RunContext
from blissmask.tasks.train.train_plan import TrainPlan
from blissmask.training.build import LearnerPlan, load_learners
from blissmask.training.data.micro_batch import collate
from blissmask.training.data.prefetch import ItemStore
from blissmask.training.experts import Learner
from blissmask.training.lora.file import load_lora


def load_model(training: TrainPlan, plan: LearnerPlan, store: ItemStore, context: RunContext) -> list[Learner]:
    """Return the learners with a fresh LoRA, which changes nothing yet.

    Raises:
        ModelError: the model cannot be loaded.
        MachineError: it does not fit into the memory.
    """
    first = collate([store.item(position) for position in training.data.order.indices(0)], 0)
    context.reporter.emit(PhaseStarted("Loading the model", None))
    learners, _ = load_learners(plan, first)
    context.reporter.emit(PhaseFinished("Loading the model"))
    return learners


def load_candidate(learners: Sequence[Learner], candidate: Candidate) -> None:
    """Bring a LoRA into the model, in the place of the one before.

    Raises:
        ModelError, InputError: a file cannot be read, or is of another shape than the training's.
    """
    # Learners that share their LoRA have one file.
    for path, learner in zip(candidate.files, learners, strict=False):
        load_lora(path, learner.lora)


def refuse_no_numbers(losses: Mapping[str, float], files: Sequence[Path]) -> None:
    """Raise ModelError where a loss is NaN or infinity: weights of any size are read, and large ones overflow.

    Args:
        losses: by name.
        files: of the LoRA that the model has now; none for the base model.
    """
    if all(map(math.isfinite, losses.values())):
        return
    if files:
        what = "with this LoRA the model computes losses that are no numbers"
        raise ModelError(what, where=files, fix="name LoRA files of earlier steps with `--rank-file`")
    what = "the model computes losses that are no numbers, without a LoRA"
    raise ModelError(what, fix="check `--dit`, or use `--dit-dtype float32`")


def bring_to_device(learner: Learner, learners: Sequence[Learner], training: TrainPlan, device: torch.device) -> None:
    """Move a learner to the device; where experts take turns there, the others rest on the CPU."""
    if training.config.memory.offload_inactive_dit:
        for other in learners:
            other.to(torch.device("cpu"))
    learner.to(device)
