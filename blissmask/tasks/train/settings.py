"""The settings that a training state remembers, and those of them that must stay the same to continue from it."""

from __future__ import annotations

from collections.abc import Sequence

from blissmask.config.fields.option import Section, lasting_fields
from blissmask.config.model import Config
from blissmask.families.family import FamilyForTask
from blissmask.processes import Processes
from blissmask.tasks.train.data.training_data import TrainingData
from blissmask.tasks.train.rules import caption_rule
from blissmask.tasks.train.steps import StepPlan
from blissmask.training.data.cached_set import identify
from blissmask.training.experts import Learner
from blissmask.training.record import saving

FIXED = (
    "arch",
    "task",
    "experts",
    "network_type",
    "network_dim",
    "network_alpha",
    "use_rslora",
    "use_dora",
    "lokr_factor",
    "optimizer_type",
    "shared_lora",
    "loraplus_lr_ratio",
    "seed",
    "validation_split",
)
"""Settings that cannot change: the tensors of the state would not fit, or other items would be held out."""

BASE = "base"
"""The setting that names the weights of the base model by content; those of a hub model are known once it is here."""

COMPILED = "compiled"
"""Whether the last steps were compiled, where a rule and not the user decided it."""

REMEMBERED = ("train", "memory", "lora", "optimizer", "timesteps", "mask_loss")
"""The sections that a training state remembers, in the order in which it writes them."""


def remembered_settings(
    config: Config, family: FamilyForTask, data: TrainingData, steps: StepPlan, processes: Processes
) -> dict[str, object]:
    """Return what a training state remembers of its run, but for :data:`BASE`; JSON values."""
    return {
        **lasting_options(config),
        "arch": family.name,
        "task": family.task_name,
        "experts": [expert.name for expert in steps.experts],
        "processes": processes.count,
        "captions": caption_rule(config.datasets) or "as written",
        "entries": len(data.used_headers),
        "batches_per_epoch": data.order.batches_per_epoch,
        saving.DATA: identify(data.sets),
    }


def lasting_options(config: Config) -> dict[str, object]:
    """Return the options that change what the steps do, by field name, as JSON values."""
    kept: dict[str, object] = {}
    for name in REMEMBERED:
        section: Section = getattr(config, name)
        kept |= section.model_dump(mode="json", include=lasting_fields(type(section)))
    return kept


def base_identities(learners: Sequence[Learner]) -> list[str]:
    """Return the identities of the denoisers' weights, by content; the value of :data:`BASE`."""
    return [learner.denoiser.identity for learner in learners]
