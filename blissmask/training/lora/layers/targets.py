"""Which layers of a denoiser a LoRA adapts: those of its family, and those that patterns add or leave out."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import nn

from blissmask.errors import UsageError
from blissmask.families.protocol import Denoiser
from blissmask.training.lora.fused import ApartNames, FusedLayers, apart_names, find_fused
from blissmask.training.lora.lokr_loha import NetworkType


def check_patterns(patterns: Sequence[str]) -> list[re.Pattern[str]]:
    """Return the regular expressions of layer names.

    Raises UsageError when one of ``patterns`` is no regular expression.
    """
    try:
        return [re.compile(pattern) for pattern in patterns]
    except re.error as error:
        raise UsageError(
            f"`{error.pattern!s}` is not a regular expression: {error}", fix="correct the pattern"
        ) from error


def target_names(denoiser: Denoiser, *, include: Sequence[str], exclude: Sequence[str]) -> list[str]:
    """Return the module names of the linear layers to adapt.

    Args:
        denoiser: names the layers that are adapted by default.
        include, exclude: as in :class:`blissmask.training.lora.layers.lora.LoraShape`.

    Raises:
        UsageError: a pattern is no regular expression, or the patterns leave no layer.
    """
    linear = _linear_names(denoiser)
    names = matching_names(denoiser, include=include, exclude=exclude)
    if not names:
        raise UsageError(
            "the LoRA would adapt no layer",
            where=[f"{len(linear)} linear layers, e.g. {', '.join(linear[:3])}"],
            fix="loosen `exclude_patterns`, or name layers with `include_patterns`",
        )
    return names


def matching_names(denoiser: Denoiser, *, include: Sequence[str], exclude: Sequence[str]) -> list[str]:
    """Return the module names that :func:`target_names` would return; none where the patterns leave no layer."""
    default = re.compile(denoiser.lora_targets)
    included, excluded = check_patterns(include), check_patterns(exclude)
    names = []
    for name in _linear_names(denoiser):
        original = denoiser.original_name(name)
        is_default = default.fullmatch(name) is not None and not _any_match(excluded, original)
        if is_default or _any_match(included, original):
            names.append(name)
    return names


def _linear_names(denoiser: Denoiser) -> list[str]:
    return [name for name, module in denoiser.module.named_modules() if isinstance(module, nn.Linear)]


def fused_targets(
    denoiser: Denoiser, linear: Sequence[tuple[str, nn.Linear]], names: Sequence[str], *, kind: NetworkType
) -> tuple[FusedLayers, ApartNames]:
    """Return the fused layers among the adapted ones, and what kohya files call the parts that they keep apart.

    Raises UsageError for what no file could hold.
    """
    adapted = {denoiser.original_name(name) for name in names}
    fused = find_fused([(denoiser.original_name(name), layer) for name, layer in linear], adapted)
    apart = apart_names(denoiser, (f"{whole}:{part}" for whole, parts in fused.items() for part, _ in parts))
    held_whole = [whole for whole, parts in fused.items() if f"{whole}:{parts[0][0]}" not in apart]
    if held_whole and kind != "lora":
        raise UsageError(
            f"`{held_whole[0]}` is one layer in this family's own files, "
            f"and a {kind} of its parts cannot be written as one",
            fix="use `--network-type lora` for this family",
        )
    return fused, apart


def _any_match(patterns: Sequence[re.Pattern[str]], name: str) -> bool:
    return any(pattern.fullmatch(name) for pattern in patterns)
