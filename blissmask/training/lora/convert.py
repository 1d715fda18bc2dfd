"""Convert LoRA files between the spellings of :mod:`formats`, of any family and trainer, without loading a model.

Between ``native`` and ``kohya`` only names and alpha change, so the way there and back is exact. ``diffusers`` has no
alpha: the scale goes into B. That is exact where the scale is a power of two, as with an alpha of 1 and the usual
ranks; other scales round once.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from blissmask.errors import ModelError, UsageError, first_few
from blissmask.plurals import counted, verb
from blissmask.training.lora.dora_norms import WeightOf, for_division_by_base, for_division_by_sum, has_norms
from blissmask.training.lora.formats import (
    NAMED_KEYS,
    LoraFormat,
    fold_alpha,
    format_of,
    layer_key,
    parts_of,
    split_key,
    to_format,
    to_native,
)
from blissmask.training.lora.formats import NATIVE_PREFIX as PREFIX
from blissmask.training.lora.fused import FusedLayers
from blissmask.training.lora.lokr_loha import FACTORS
from blissmask.training.lora.names import LayerNames

_FIRST = ("lora_A.weight", "lora_down.weight")
_MOST_BLOCKS = 1000
"""Bounds the names that a hostile file makes us build; the largest models have some 60 blocks of a kind."""


@dataclass(frozen=True, slots=True)
class LoraSummary:
    """What a LoRA file holds.

    Attributes:
        file_format: its spelling.
        layers: number of adapted layers.
        ranks: rank -> number of layers with it; empty for LoKr and LoHa.
        scales: alpha divided by the rank -> number of layers with it.
        dora: whether it holds norms of outputs (DoRA).
    """

    file_format: LoraFormat
    layers: int
    ranks: Mapping[int, int]
    scales: Mapping[float, int]
    dora: bool


def describe_lora(tensors: Mapping[str, Tensor], path: Path) -> LoraSummary:
    """Return what a file holds, by its keys and shapes.

    Raises ModelError when it is no whole LoRA in one of the three spellings.
    """
    found = format_of(tensors)
    if found is None:
        raise _no_spelling(tensors, path)
    ranks: Counter[int] = Counter()
    scales: Counter[float] = Counter()
    for key, tensor in tensors.items():
        name, part = split_key(key)
        if part in _FIRST:
            rank, alpha = tensor.shape[0], tensors.get(f"{name}.alpha")
            ranks[rank] += 1
            scales[1.0 if alpha is None else float(alpha) / rank] += 1
    return LoraSummary(found, len({split_key(key)[0] for key in tensors}), ranks, scales, has_norms(tensors))


def _no_spelling(keys: Iterable[str], path: Path) -> ModelError:
    """Return the error of a file whose keys do not all begin in one of our ways; it names those that do not."""
    by_format: dict[LoraFormat | None, list[str]] = {}
    for key in keys:
        by_format.setdefault(format_of([key]), []).append(key)
    commonest = max(by_format, key=lambda found: len(by_format[found]))
    if commonest is None:
        what, odd = "this file is no LoRA in a spelling that can be converted", by_format[None]
    else:
        odd = [key for found, own in by_format.items() if found != commonest for key in own]
        what = f"{counted(len(odd), 'tensor')} of this LoRA {verb(len(odd), 'is', 'are')} spelled unlike the others"
    fix = (
        "all keys of a file begin with `diffusion_model.`, `lora_unet_` or `transformer.`, or as other programs write "
        "them: `base_model.model.`, `lycoris_`, `lora_transformer_`, or the name of the layer"
    )
    return ModelError(what, where=[path, *first_few([f"`{key}`" for key in odd], most=NAMED_KEYS)], fix=fix)


def block_count(keys: Iterable[str]) -> int:
    """Return how many blocks of a kind the keys of a file can name: one more than the largest number in them."""
    numbers = [int(number) for key in keys for number in re.findall(r"\d{1,9}", key)]
    return min(_MOST_BLOCKS, 1 + max(numbers, default=0))


def convert_lora(
    tensors: Mapping[str, Tensor],
    wanted: LoraFormat,
    names: LayerNames,
    path: Path,
    *,
    by_base: bool = False,
    weight_of: WeightOf | None = None,
) -> dict[str, Tensor]:
    """Return ``tensors`` spelled as ``wanted``.

    Args:
        tensors: of a LoRA file, in any of the three spellings.
        wanted: the spelling.
        names: the family's, for at least as many blocks as the file has.
        path: of the file, for messages.
        by_base: whether readers divide its norms of DoRA by those of the frozen weights; see :mod:`dora_norms`.
        weight_of: the frozen weights; needed by :func:`needs_weights`.

    Raises:
        ModelError: some keys belong to no layer of the family, or as :func:`refuse_inconvertible`.
        UsageError: as :func:`refuse_inconvertible`.
    """
    describe_lora(tensors, path)
    refuse_inconvertible(tensors, wanted, names, path)
    if not _goes_in_parts(tensors, wanted, names, path):
        return _renamed(tensors, wanted, names, path)
    native, fused_here = in_parts(tensors, names, path)
    if needs_weights(tensors, wanted, by_base=by_base):
        # The caller asked, and has them.
        assert weight_of is not None
        if wanted == "diffusers":
            native = for_division_by_sum(native, weight_of)
        else:
            native = for_division_by_base(native, {whole: names.fused[whole] for whole in fused_here}, weight_of)
    return to_format(native, wanted, names.modules, fused_here, names.apart, native_alpha=names.native_alpha)


def refuse_inconvertible(tensors: Mapping[str, Tensor], wanted: LoraFormat, names: LayerNames, path: Path) -> None:
    """Refuse, before anything is computed, LoKr and LoHa that a conversion could not spell as ``wanted``.

    Args:
        tensors: of a LoRA file, in any of the three spellings.
        wanted, names, path: as for :func:`convert_lora`.

    Raises:
        ModelError: LoKr or LoHa of a whole fused layer would have to be taken apart.
        UsageError: LoKr and LoHa have no ``diffusers`` spelling.
    """
    if not is_factored(tensors):
        return
    if wanted == "diffusers":
        raise UsageError(
            "diffusers has no spelling for LoKr and LoHa", where=[path], fix="use `--lora-format native` or `kohya`"
        )
    if _goes_in_parts(tensors, wanted, names, path):
        refuse_whole_factors(tensors, names, path)


def _goes_in_parts(tensors: Mapping[str, Tensor], wanted: LoraFormat, names: LayerNames, path: Path) -> bool:
    """Return whether a conversion takes fused layers apart: between native and kohya, most need new names alone."""
    return "diffusers" in (format_of(tensors), wanted) or bool(names.apart) or _has_parts(tensors, names, path)


def in_parts(tensors: Mapping[str, Tensor], names: LayerNames, path: Path) -> tuple[dict[str, Tensor], FusedLayers]:
    """Return the native tensors of a file, fused layers in parts, and the fused layers that it adapts.

    Raises:
        ModelError: some keys belong to no layer of the family, or a LoKr or LoHa is of a whole fused layer.
    """
    refuse_whole_factors(tensors, names, path)
    fused = adapted_fused(tensors, names, path)
    native = to_native(tensors, names.modules, fused, names.apart, path=path)
    _refuse_unknown(native, names.modules, path)
    adapted = {split_key(key)[0].removeprefix(PREFIX).partition(":")[0] for key in native}
    return native, {whole: parts for whole, parts in fused.items() if whole in adapted}


def spelled_layers(
    tensors: Mapping[str, Tensor], wanted: LoraFormat, names: LayerNames, path: Path, *, factored: bool
) -> list[str]:
    """Return the keys, up to the names of their tensors, of the layers that a conversion would write.

    Args:
        tensors: of a LoRA file, in any of the three spellings.
        wanted, names, path: as for :func:`convert_lora`.
        factored: whether LoKr or LoHa are written.

    Raises:
        ModelError: the file holds a layer under two names.
    """
    native = to_native(tensors, _with_whole_layers(names), apart=names.apart, path=path)
    adapted = dict.fromkeys(split_key(key)[0].removeprefix(PREFIX) for key in native)
    parts = []
    for original in adapted:
        parts += [f"{original}:{part}" for part in names.fused[original]] if original in names.fused else [original]
    known = [part for part in parts if part in names.modules]
    keys = (layer_key(part, wanted, names.modules, names.apart, factored=factored) for part in known)
    return list(dict.fromkeys(keys))


def is_spelled_so(
    keys: Iterable[str], tensors: Mapping[str, Tensor], wanted: LoraFormat, names: LayerNames, path: Path
) -> bool:
    """Return whether a file has the keys that a conversion would give it.

    Args:
        keys: as they are in the file.
        tensors: of it, as they are read.
        wanted, names, path: as for :func:`convert_lora`.

    Raises:
        ModelError: the file holds a layer under two names.
    """
    found = [split_key(key) for key in keys]
    layers = spelled_layers(tensors, wanted, names, path, factored=is_factored(tensors))
    return {name for name, _ in found} == set(layers) and {part for _, part in found} <= parts_of(wanted)


def refuse_unknown(tensors: Mapping[str, Tensor], names: LayerNames, path: Path) -> None:
    """Raise ModelError when a tensor of a file belongs to no layer of the family, or a layer is there under two names.

    Args:
        tensors: of a LoRA file, in any of the three spellings.
        names, path: as for :func:`convert_lora`.
    """
    whole = _with_whole_layers(names)
    _refuse_unknown(to_native(tensors, whole, apart=names.apart, path=path), whole, path)


def is_factored(keys: Iterable[str]) -> bool:
    """Return whether a file holds LoKr or LoHa, by its keys."""
    return any(split_key(key)[1] in FACTORS for key in keys)


def needs_weights(tensors: Mapping[str, Tensor], wanted: LoraFormat, *, by_base: bool) -> bool:
    """Return whether the conversion takes the frozen weights: DoRA's norms are not the same in both spellings."""
    if not has_norms(tensors):
        return False
    if wanted == "diffusers":
        return by_base
    return format_of(tensors) == "diffusers"


def _has_parts(tensors: Mapping[str, Tensor], names: LayerNames, path: Path) -> bool:
    """Return whether a file holds parts of fused layers apart, as trainers of diffusers' models write them."""
    native = to_native(tensors, _with_whole_layers(names), path=path)
    return any(":" in split_key(key)[0] for key in native)


def _renamed(tensors: Mapping[str, Tensor], wanted: LoraFormat, names: LayerNames, path: Path) -> dict[str, Tensor]:
    """Convert between native and kohya: fused layers stay whole, so that each keeps its rank."""
    whole = _with_whole_layers(names)
    native = to_native(tensors, whole, path=path)
    _refuse_unknown(native, whole, path)
    if wanted == "native" and any(split_key(key)[0].removeprefix(PREFIX) in names.fused for key in native):
        return fold_alpha(native)
    return to_format(native, wanted, whole, native_alpha=names.native_alpha)


def _with_whole_layers(names: LayerNames) -> dict[str, str]:
    """Return the table of module names with whole fused layers added; diffusers lacks them, so each is its own name."""
    return names.modules | {original: original for original in names.fused}


def adapted_fused(tensors: Mapping[str, Tensor], names: LayerNames, path: Path) -> FusedLayers:
    """Return the fused layers that the file adapts, with the number of outputs of each part.

    Those of LoKr and LoHa are not among them: without a B nothing tells their outputs, and nothing is fused.

    Raises:
        ModelError: the outputs of a part that is not adapted cannot be told.
    """
    native = to_native(tensors, _with_whole_layers(names), apart=names.apart, path=path)
    sized = {}
    for original, parts in names.fused.items():
        whole_b = native.get(f"{PREFIX}{original}.lora_B.weight")
        if whole_b is not None:
            inputs = native[f"{PREFIX}{original}.lora_A.weight"].shape[1]
            sized[original] = _parts_of_whole(parts, outputs=whole_b.shape[0], inputs=inputs)
            continue
        outputs = {}
        for part in parts:
            part_b = native.get(f"{PREFIX}{original}:{part}.lora_B.weight")
            if part_b is not None:
                outputs[part] = part_b.shape[0]
        if outputs:
            sized[original] = tuple((part, _outputs(part, outputs, original, path)) for part in parts)
    return sized


def _parts_of_whole(parts: Sequence[str], *, outputs: int, inputs: int) -> tuple[tuple[str, int], ...]:
    """Divide the outputs of a whole layer: q, k and v are as wide as its input, the feed-forward has the rest."""
    if "mlp" not in parts:
        return tuple((part, outputs // len(parts)) for part in parts)
    rest = outputs - inputs * (len(parts) - 1)
    return tuple((part, rest if part == "mlp" else inputs) for part in parts)


def _outputs(part: str, outputs: Mapping[str, int], original: str, path: Path) -> int:
    """Return the number of outputs of a part, adapted or not: query, key and value are equally wide."""
    if part in outputs:
        return outputs[part]
    equally_wide = [count for name, count in outputs.items() if name != "mlp"]
    if part == "mlp" or not equally_wide:
        what = f"the size of a part of `{original}` cannot be told, since this LoRA does not adapt it"
        raise ModelError(what, where=[path], fix="use the file as it is; native and kohya files hold the layer whole")
    return equally_wide[0]


def refuse_whole_factors(tensors: Mapping[str, Tensor], names: LayerNames, path: Path) -> None:
    """Raise ModelError for LoKr or LoHa of a fused layer as a whole, whose factors cannot be taken apart.

    Args:
        tensors: of a LoRA file, in any of the three spellings.
        names, path: as for :func:`convert_lora`.
    """
    for key in to_native(tensors, _with_whole_layers(names), apart=names.apart, path=path):
        name, part = split_key(key)
        if part in FACTORS and name.removeprefix(PREFIX) in names.fused:
            what = f"`{name.removeprefix(PREFIX)}` would have to be taken apart, and LoKr and LoHa of it cannot be"
            fix = "use the file as it is, or fuse it into a base model with `--base-weights`"
            raise ModelError(what, where=[path], fix=fix)


def _refuse_unknown(native: Mapping[str, Tensor], known: Mapping[str, str], path: Path) -> None:
    """Raise ModelError when a tensor belongs to no layer of the family, or is no part of a LoRA."""
    wrong = []
    for key in native:
        name, part = split_key(key)
        if not part or name.removeprefix(PREFIX) not in known:
            wrong.append(key)
    if wrong:
        are = verb(len(wrong), "is", "are")
        raise ModelError(
            f"{len(wrong)} of {len(native)} tensors in this file {are} of no layer of the family, or no LoRA",
            where=[path, *first_few(wrong, most=NAMED_KEYS)],
            fix="use a LoRA of this family, or name the family it was trained for with `--arch`",
        )


def in_precision(tensors: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the tensors in another precision; alpha keeps its own: bfloat16 makes 256 of an alpha of 257."""
    return {key: tensor if split_key(key)[1] == "alpha" else tensor.to(dtype) for key, tensor in tensors.items()}
