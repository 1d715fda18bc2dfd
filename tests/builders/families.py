"""The families of the registry and their miniatures, for tests that run over all of them or need any one."""

from __future__ import annotations

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


def family_of(name: str, task: str = "") -> FamilyForTask:
    """Return a family with its task chosen, its default when empty."""
    return load_family(name).for_task(task)


def tiny_denoiser(name: str, task: str = "", *, expert: int = 0, dtype: torch.dtype = torch.float32) -> Denoiser:
    """Return the miniature of a family's denoiser; ``expert`` is a position, 0 for the only one."""
    family = family_of(name, task)
    return family.load_denoiser(TINY, family.experts[expert], device=CPU, dtype=dtype)
