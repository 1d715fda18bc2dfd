"""The families of the registry and their miniatures, for tests that run over all of them or need any one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from blissmask.families.family import FamilyForTask
from blissmask.families.files.model_files import ModelFiles
from blissmask.families.protocol import Denoiser
from blissmask.families.registry import FAMILIES, load_family

CPU = torch.device("cpu")
TINY = ModelFiles(model="tiny")
NAMES = FAMILIES.names()
TASKS = [(name, task) for name in NAMES for task in load_family(name).tasks]
"""Every family with each of its tasks."""

CACHE_SUFFIX = "wan"
"""Of the caches in miniature that :mod:`tests.builders.training` writes: 16 latent channels, and text rows of a T5 encoder."""


def family_of(name: str, task: str = "") -> FamilyForTask:
    """Return a family with its task chosen, its default when empty."""
    return load_family(name).for_task(task)


def _first(has_property: Callable[[FamilyForTask], bool]) -> FamilyForTask:
    """Return the first family whose default task has a property."""
    return next(family for family in map(family_of, NAMES) if has_property(family))


def _reads_small_caches(family: FamilyForTask, *, experts: int) -> bool:
    return family.cache_suffix == CACHE_SUFFIX and len(family.experts) == experts


def _takes_pictures_alone(family: FamilyForTask) -> bool:
    return not family.task.takes_videos and family.task.control_range == (0, 0)


def _needs_controls(family: FamilyForTask) -> bool:
    return family.task.control_range[0] > 0


# Roles: families by what they can do, for tests that need a family of some kind and no certain one.
PLAIN = _first(partial(_reads_small_caches, experts=1)).name
"""A family that reads those caches, with one denoiser."""
TWO_EXPERTS = _first(partial(_reads_small_caches, experts=2)).name
"""A family that reads those caches, with a high-noise and a low-noise expert."""
PICTURES = _first(_takes_pictures_alone).name
"""A family that makes pictures only, from text alone."""
EDIT = _first(_needs_controls).name
"""A family that needs a control picture for every item."""
ONE_FRAME = next((name, task) for name, task in TASKS if family_of(name, task).task.one_frame)
"""A family and its task that has one-frame training."""
SHOWN_FRAME = next((name, task) for name, task in TASKS if family_of(name, task).task.shown_frames)
"""A family and its task whose denoiser is shown the first frame and does not predict it."""


def tiny_denoiser(name: str, task: str = "", *, expert: int = 0, dtype: torch.dtype = torch.float32) -> Denoiser:
    """Return the miniature of a family's denoiser; ``expert`` is a position, 0 for the only one."""
    family = family_of(name, task)
    return family.load_denoiser(TINY, family.experts[expert], device=CPU, dtype=dtype)


def has_fused_layers(denoiser: Denoiser) -> bool:
    """Return whether the original repository keeps several layers of the denoiser in one."""
    return any(":" in denoiser.original_name(name) for name, _ in denoiser.module.named_modules())
