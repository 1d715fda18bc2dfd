"""Convert LoRA files between the spellings of :mod:`lora_formats`, of any family and trainer, without loading a model.

Between ``native`` and ``kohya`` nothing but names and alpha changes, so the way there and back is exact. ``diffusers``
has no alpha: the scale goes into B, exact where it is a power of two, as with an alpha of 1 and the usual ranks, and
rounded once elsewhere.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from blissmask.errors import ModelError, UsageError
from blissmask.training.lora.formats import NATIVE_PREFIX as PREFIX
from blissmask.training.lora.formats import LoraFormat, fold_alpha, format_of, split_key, to_format, to_native
from blissmask.training.lora.fused import FusedLayers
from blissmask.training.lora.lokr_loha import FACTORS
from blissmask.training.lora.names import LayerNames

_FIRST, _SECOND = ("lora_A.weight", "lora_down.weight"), ("lora_B.weight", "lora_up.weight")
_NAMED = 3
_MOST_BLOCKS = 1000


@dataclass(frozen=True, slots=True)
class LoraSummary:
    """What a LoRA file holds.

    Attributes:
        file_format: its spelling.
        layers: how many.
        ranks: rank -> layers that have it; empty for LoKr and LoHa.
        scales: alpha divided by the rank -> layers.
    """

    file_format: LoraFormat
    layers: int
    ranks: Mapping[int, int]
    scales: Mapping[float, int]


def describe_lora(tensors: Mapping[str, Tensor], path: Path) -> LoraSummary:
    """Return what a file holds, by its keys and shapes.

    Raises ModelError when it is no whole LoRA in a spelling we know.
    """
    found = format_of(tensors)
    if found is None:
        raise ModelError(
            "this file is no LoRA in a spelling that can be converted",
            where=[path, f"its keys begin with {', '.join(f'`{key}`' for key in list(tensors)[:_NAMED])}"],
            fix="keys of LoRA files begin with `diffusion_model.`, `lora_unet_` or `transformer.`",
        )
    _refuse_torn(tensors, path)
    ranks: Counter[int] = Counter()
    scales: Counter[float] = Counter()
    for key, tensor in tensors.items():
        name, part = split_key(key)
        if part in _FIRST:
            rank, alpha = tensor.shape[0], tensors.get(f"{name}.alpha")
            ranks[rank] += 1
            scales[1.0 if alpha is None else float(alpha) / rank] += 1
    return LoraSummary(found, len({split_key(key)[0] for key in tensors}), ranks, scales)


def block_count(keys: Iterable[str]) -> int:
    """Return how many blocks of a kind the keys of a file can speak of: one more than the largest number in them, within reason."""
    return min(
        _MOST_BLOCKS, 1 + max((int(number) for key in keys for number in re.findall(r"\d{1,9}", key)), default=0)
    )


def convert_lora(tensors: Mapping[str, Tensor], wanted: LoraFormat, names: LayerNames, path: Path) -> dict[str, Tensor]:
    """Return ``tensors`` spelled as ``wanted``.

    Args:
        tensors: of a LoRA file, in any of the three spellings.
        wanted: the spelling.
        names: of the family, for at least as many blocks as the file has.
        path: of the file, for messages.

    Raises:
        ModelError: some keys are of no layer of the family.
        UsageError: LoKr and LoHa have no ``diffusers`` spelling.
    """
    source = describe_lora(tensors, path).file_format
    if wanted == "diffusers" and any(split_key(key)[1] in FACTORS for key in tensors):
        raise UsageError(
            "diffusers has no spelling for LoKr and LoHa", where=[path], fix="use `--lora-format native` or `kohya`"
        )
    if "diffusers" not in (source, wanted):
        return _renamed(tensors, wanted, names, path)
    fused = _sized(tensors, names, path)
    native = to_native(tensors, names.modules, fused)
    _refuse_unknown(native, names.modules, path)
    adapted = {split_key(key)[0].removeprefix(PREFIX).partition(":")[0] for key in native}
    return to_format(
        native, wanted, names.modules, {whole: parts for whole, parts in fused.items() if whole in adapted}
    )


def _renamed(tensors: Mapping[str, Tensor], wanted: LoraFormat, names: LayerNames, path: Path) -> dict[str, Tensor]:
    """Go between native and kohya: fused layers stay whole, so that the rank stays what it is."""
    whole = {**names.modules, **{original: original for original in names.fused}}
    native = to_native(tensors, whole)
    _refuse_unknown(native, whole, path)
    if wanted == "native" and any(split_key(key)[0].removeprefix(PREFIX) in names.fused for key in native):
        return fold_alpha(native)
    return to_format(native, wanted, whole)


def _sized(tensors: Mapping[str, Tensor], names: LayerNames, path: Path) -> FusedLayers:
    """Return the fused layers that the file adapts, with the outputs of each part."""
    whole = to_native(tensors, {**names.modules, **{original: original for original in names.fused}})
    sized = {}
    for original, parts in names.fused.items():
        joint = whole.get(f"{PREFIX}{original}.lora_B.weight")
        if joint is not None:
            # Query, key and value are as wide as what they read; the feed-forward has the rest.
            width = (
                joint.shape[0] // len(parts)
                if "mlp" not in parts
                else whole[f"{PREFIX}{original}.lora_A.weight"].shape[1]
            )
            sized[original] = tuple(
                (part, joint.shape[0] - width * (len(parts) - 1) if part == "mlp" else width) for part in parts
            )
            continue
        outputs = {
            part: b.shape[0]
            for part in parts
            if (b := whole.get(f"{PREFIX}{original}:{part}.lora_B.weight")) is not None
        }
        if outputs:
            sized[original] = tuple((part, _outputs(part, outputs, original, path)) for part in parts)
    return sized


def _outputs(part: str, outputs: Mapping[str, int], original: str, path: Path) -> int:
    """Return the outputs of a part that may not be adapted; query, key and value are equally wide."""
    others = [count for name, count in outputs.items() if name != "mlp"] if part != "mlp" else []
    if part not in outputs and not others:
        what = f"the size of a part of `{original}` cannot be told, since this LoRA does not adapt it"
        raise ModelError(what, where=[path], fix="use the file as it is; native and kohya files hold the layer whole")
    return outputs.get(part) or others[0]


def _refuse_torn(tensors: Mapping[str, Tensor], path: Path) -> None:
    first, second = (
        {split_key(key)[0] for key in tensors if split_key(key)[1] in parts} for parts in (_FIRST, _SECOND)
    )
    flat = {
        split_key(key)[0]
        for key, tensor in tensors.items()
        if split_key(key)[1] in (*_FIRST, *_SECOND) and tensor.ndim < 2
    }
    torn = sorted((first ^ second) | flat)
    if torn:
        raise ModelError(
            f"`{torn[0]}` has not both matrices of a LoRA in this file", where=[path], fix="get the file again, whole"
        )


def _refuse_unknown(native: Mapping[str, Tensor], known: Mapping[str, str], path: Path) -> None:
    wrong = [key for key in native if not split_key(key)[1] or split_key(key)[0].removeprefix(PREFIX) not in known]
    if wrong:
        more = [f"and {len(wrong) - _NAMED} more"] if len(wrong) > _NAMED else []
        raise ModelError(
            f"{len(wrong)} of {len(native)} tensors in this file are of no layer of the family, or no LoRA",
            where=[path, *wrong[:_NAMED], *more],
            fix="name the family it was trained for with `--arch`",
        )


def in_precision(tensors: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the tensors in another precision; alpha, a single number, keeps its own."""
    return {key: tensor if tensor.ndim == 0 else tensor.to(dtype) for key, tensor in tensors.items()}
