"""The names of a family's layers, for models of any depth, without loading one.

The family's miniature is an instance of the real class, so it has the same layers in fewer blocks.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from blissmask.families.family import Family, FamilyForTask
from blissmask.families.files.model_files import ModelFiles
from blissmask.families.protocol import Denoiser
from blissmask.families.registry import load_family
from blissmask.training.lora.fused import PART_ORDER, ApartNames, apart_names
from blissmask.training.lora.layers.targets import matching_names


@dataclass(frozen=True, slots=True)
class LayerNames:
    """The names of every layer that a LoRA can adapt.

    Attributes:
        modules: original name -> diffusers module name. The original name of a part of a fused layer ends in a colon
            and the part.
        fused: original name of a fused layer -> its parts, in the order of the output.
        apart: names of parts where kohya files keep them apart; see :mod:`fused`.
        native_alpha: see :class:`blissmask.families.family.Family`.
    """

    modules: dict[str, str]
    fused: dict[str, tuple[str, ...]]
    apart: ApartNames
    native_alpha: bool


def layer_names(family: Family, *, block_count: int) -> LayerNames:
    """Return the names of the linear layers of a family, for all of its tasks together.

    Args:
        family: the family.
        block_count: how many of each kind of repeated block there may be, >= 1.
    """
    return _layer_names(family.name, block_count)


# A conversion asks for each of its files in the plan and once more in the run: building the miniatures each time took
# half as long as all of it.
@functools.lru_cache(maxsize=64)
def _layer_names(family_name: str, block_count: int) -> LayerNames:
    family = load_family(family_name)
    modules: dict[str, str] = {}
    apart: dict[str, str] = {}
    for task_name in family.tasks:
        chosen = family.for_task(task_name)
        small = _miniature(chosen)
        for name in _linear_names(small, block_count):
            modules[small.original_name(name)] = name
        apart |= apart_names(small, (original for original in modules if ":" in original))
    fused: dict[str, list[str]] = {}
    for original in modules:
        whole, separator, part = original.partition(":")
        if separator:
            fused.setdefault(whole, []).append(part)
    ordered = {whole: tuple(sorted(parts, key=PART_ORDER.index)) for whole, parts in fused.items()}
    return LayerNames(modules, ordered, apart, family.native_alpha)


def trained_in_miniature(family: FamilyForTask, *, include: Sequence[str], exclude: Sequence[str]) -> list[str]:
    """Return the original names of the layers that a training adapts, of the blocks that the miniature has.

    Args:
        family: for the task that is trained.
        include, exclude: as for ``targets.target_names``; patterns of deeper blocks leave none.
    """
    small = _miniature(family)
    return [small.original_name(name) for name in matching_names(small, include=include, exclude=exclude)]


def _miniature(family: FamilyForTask) -> Denoiser:
    files, cpu = ModelFiles(model="tiny"), torch.device("cpu")
    return family.load_denoiser(files, family.experts[0], device=cpu, dtype=torch.float32)


def _linear_names(small: Denoiser, block_count: int) -> Iterator[str]:
    """Yield the module names of the linear layers; those of repeated blocks come once for each of ``block_count``."""
    rows = [
        name
        for name, module in small.module.named_modules()
        if isinstance(module, nn.ModuleList) and _is_repeated(module)
    ]
    choices = "|".join(re.escape(row) for row in rows)
    # The first block of each row stands for all of them.
    block = re.compile(rf"({choices})\.0\.(.+)") if rows else None
    for name, module in small.module.named_modules():
        if not isinstance(module, nn.Linear):
            continue
        found = block.fullmatch(name) if block else None
        if found:
            yield from (f"{found[1]}.{number}.{found[2]}" for number in range(block_count))
        else:
            yield name


def _is_repeated(row: nn.ModuleList) -> bool:
    """Return whether a list holds blocks of one kind; a list such as [Linear, Dropout] belongs to a single layer."""
    kinds = {type(module) for module in row}
    return len(kinds) == 1 and not next(iter(kinds)).__module__.startswith("torch.nn")
