"""Average and merge LoRA files, and lower their rank. The files are tensors; no model is needed.

- **Average**: the mean of every tensor, for checkpoints of one training. Rank and kind stay, DoRA's norms and the
  factors of LoKr and LoHa are averaged, too. The mean of products is not the product of means; for files of different
  trainings use a merge.
- **Merge**: the sum of the updates, exactly: A stands under A and B beside B, so that ranks add up.
- **Rank**: the closest update of a lower rank (Eckart and Young 1936), by singular values. A factorised update of rank
  R needs the singular values of an (R, R) matrix alone, never the whole layer.

LoKr and LoHa are LoRA of a high rank (see ``lokr_loha.factors_pair``), so they can be averaged, and lowered to a LoRA.
DoRA replaces the norms of the weights, which no sum of updates does; it can be averaged alone.

r, R: ranks; I and O: inputs and outputs of a layer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from blissmask.errors import ModelError, UsageError
from blissmask.plurals import verb
from blissmask.training.lora.dora_norms import has_norms
from blissmask.training.lora.formats import NATIVE_PREFIX as PREFIX
from blissmask.training.lora.formats import split_key
from blissmask.training.lora.fused import FusedLayers
from blissmask.training.lora.lokr_loha import FACTORS, factors_pair, factors_product, stored_scale

_SCALED = ("lora_B.weight", "lora_up.weight", "lokr_w1", "lokr_w1_a", "hada_w1_a")
"""The tensors of a layer that are multiplied when its scale changes; a layer has one of them."""


@dataclass(frozen=True, slots=True)
class LoraPart:
    """A LoRA file that goes into another one.

    Attributes:
        path: the file.
        tensors: what it holds.
        strength: its share in an average, or the factor of its update in a merge.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    strength: float


@dataclass(frozen=True, slots=True)
class LowerRank:
    """A LoRA of a lower rank.

    Attributes:
        tensors: native, the scale in B.
        kept: native name of a layer, or of a part of a fused one -> share of the squares of its update that is left.
            Layers whose rank was low enough are not in it.
    """

    tensors: dict[str, Tensor]
    kept: dict[str, float]


def average_loras(parts: Sequence[LoraPart]) -> dict[str, Tensor]:
    """Return the weighted mean of files of one spelling, with the keys, the alpha and the precision of the first.

    Raises:
        UsageError: they differ in layers, kind or rank.
    """
    first = parts[0]
    for other in parts[1:]:
        _refuse_unlike(first, other)
    whole = math.fsum(part.strength for part in parts)
    layers = [_by_layer(part.tensors) for part in parts]
    averaged = {}
    for key, tensor in first.tensors.items():
        name, kind = split_key(key)
        if kind == "alpha":
            averaged[key] = tensor
            continue
        total = torch.zeros(tensor.shape, dtype=torch.float64)
        for part, own in zip(parts, layers, strict=True):
            share = part.strength / whole
            if kind in _SCALED:
                share *= _scale(own[name]) / _scale(layers[0][name])
            total += share * part.tensors[key].double()
        averaged[key] = total.to(tensor.dtype)
    return averaged


def merge_loras(parts: Sequence[LoraPart]) -> dict[str, Tensor]:
    """Return the sum of the updates times their strengths as a LoRA whose ranks are the sums of theirs.

    Args:
        parts: native tensors, layers in parts; see :func:`refuse_unmergeable`.

    Raises:
        ModelError: they differ in the size of a layer.
    """
    pairs: dict[str, list[tuple[Tensor, Tensor]]] = {}
    dtypes: dict[str, torch.dtype] = {}
    for part in parts:
        for name, tensors in _by_layer(part.tensors).items():
            a_rI, b_Or = _pair(tensors)
            known = pairs.setdefault(name, [])
            if known and (known[0][0].shape[1], known[0][1].shape[0]) != (a_rI.shape[1], b_Or.shape[0]):
                raise ModelError(
                    f"`{name.removeprefix(PREFIX)}` has another size in this file than in the first",
                    where=[part.path],
                    fix="merge files for the same size of the model",
                )
            known.append((a_rI, part.strength * b_Or))
            dtypes.setdefault(name, tensors["lora_A.weight"].dtype)
    merged = {}
    for name, layers in pairs.items():
        merged[f"{name}.lora_A.weight"] = torch.cat([a_rI for a_rI, _ in layers]).to(dtypes[name])
        merged[f"{name}.lora_B.weight"] = torch.cat([b_Or for _, b_Or in layers], dim=1).to(dtypes[name])
    return merged


def lower_rank(tensors: Mapping[str, Tensor], fused: FusedLayers, rank: int) -> LowerRank:
    """Return the closest LoRA whose layers have at most ``rank``.

    Args:
        tensors: native, layers in parts, without DoRA; LoKr and LoHa become LoRA.
        fused: parts of fused layers that share one A are lowered together, so that they still share one.
        rank: >= 1; layers of a lower rank keep theirs.
    """
    layers = _by_layer(tensors)
    lowered: dict[str, Tensor] = {}
    kept: dict[str, float] = {}
    for names in _groups(layers, fused):
        own = [layers[name] for name in names]
        dtype = next(iter(own[0].values())).dtype
        pairs = [_pair(part, rank=rank) for part in own]
        a_RI, b_OR = pairs[0][0], torch.cat([b_OR for _, b_OR in pairs])
        # A LoKr comes with its largest singular values alone, so what it had before is counted apart.
        before = float(factors_product(_floats(own[0])).square().sum()) if _is_factored(own[0]) else None
        if a_RI.shape[0] > rank or before is not None:
            a_RI, b_OR, left, squares = _closest(a_RI, b_OR, rank)
            kept |= dict.fromkeys((name.removeprefix(PREFIX) for name in names), _share(left, before or squares))
        rows = torch.split(b_OR, [b_OR_part.shape[0] for _, b_OR_part in pairs])
        for name, own_rows in zip(names, rows, strict=True):
            lowered[f"{name}.lora_A.weight"] = a_RI.to(dtype)
            lowered[f"{name}.lora_B.weight"] = own_rows.to(dtype).contiguous()
    return LowerRank(lowered, kept)


def refuse_unmergeable(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise UsageError when a file cannot be merged: DoRA, and LoKr and LoHa, whose ranks would be thousands."""
    refuse_norms(tensors, path, "merged")
    if _holds_factors(tensors):
        raise UsageError(
            "LoKr and LoHa have no A and B that could be put together",
            where=[path],
            fix="make it a LoRA first, `--convert-lora FILE --rank N`, and merge that",
        )


def refuse_norms(tensors: Mapping[str, Tensor], path: Path, what: str) -> None:
    """Raise UsageError when a file holds DoRA, which cannot be ``what``."""
    if has_norms(tensors):
        raise UsageError(
            f"this LoRA was trained with DoRA and cannot be {what}: its norms replace those of the weights",
            where=[path],
            fix="files of one training can be averaged with `--average`; "
            "to train on top of it, fuse it with `--base-weights`",
        )


def _closest(a_RI: Tensor, b_OR: Tensor, rank: int) -> tuple[Tensor, Tensor, float, float]:
    """Return A and B of the closest update of ``rank``, the squares of it, and those of the whole update."""
    # In float64: the norms of a float32 file's rows need not be numbers in float32.
    a_RI, b_OR = a_RI.double(), b_OR.double()
    b_basis, b_rest = torch.linalg.qr(b_OR)
    a_basis, a_rest = torch.linalg.qr(a_RI.T)
    left, values, right = torch.linalg.svd(b_rest @ a_rest.T, full_matrices=False)
    squares = values.double().square()
    roots = values[:rank].sqrt()
    a_rI = roots.unsqueeze(1) * right[:rank] @ a_basis.T
    b_Or = b_basis @ left[:, :rank] * roots
    return a_rI, b_Or, float(squares[:rank].sum()), float(squares.sum())


def _share(left: float, before: float) -> float:
    # An update of zero keeps all of nothing.
    return min(1.0, left / before) if before else 1.0


def _groups(layers: Mapping[str, Mapping[str, Tensor]], fused: FusedLayers) -> list[list[str]]:
    """Return the layers by native name; the parts of a fused layer stand together where all of them share one A."""
    groups = []
    together: set[str] = set()
    for whole, parts in fused.items():
        names = [f"{PREFIX}{whole}:{part}" for part, _ in parts]
        if _share_a([layers.get(name, {}) for name in names]):
            groups.append(names)
            together.update(names)
    return groups + [[name] for name in layers if name not in together]


def _share_a(parts: Sequence[Mapping[str, Tensor]]) -> bool:
    if not all("lora_A.weight" in part for part in parts):
        return False
    return all(torch.equal(part["lora_A.weight"], parts[0]["lora_A.weight"]) for part in parts)


def _by_layer(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    layers: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name, part = split_key(key)
        layers.setdefault(name, {})[part] = tensor
    return layers


def _floats(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {part: tensor.float() for part, tensor in tensors.items()}


def _is_factored(tensors: Mapping[str, Tensor]) -> bool:
    return any(part in FACTORS for part in tensors)


def _pair(tensors: Mapping[str, Tensor], *, rank: int = 0) -> tuple[Tensor, Tensor]:
    """Return A (R, inputs) and B (outputs, R), float32, the scale in B; ``rank`` as for ``lokr_loha.factors_pair``."""
    numbers = _floats(tensors)
    if _is_factored(numbers):
        return factors_pair(numbers, rank=rank)
    a_rI, b_Or = numbers["lora_A.weight"], numbers["lora_B.weight"]
    scale = float(numbers["alpha"]) / a_rI.shape[0] if "alpha" in numbers else 1.0
    return a_rI, scale * b_Or


def _scale(own: Mapping[str, Tensor]) -> float:
    """Return the scale of a layer in any spelling, by the names of its tensors."""
    if _is_factored(own):
        return stored_scale(own)
    first = own["lora_A.weight"] if "lora_A.weight" in own else own["lora_down.weight"]
    return float(own["alpha"].double()) / first.shape[0] if "alpha" in own else 1.0


def _refuse_unlike(first: LoraPart, other: LoraPart) -> None:
    shapes, others = _shapes(first.tensors), _shapes(other.tensors)
    if shapes == others:
        return
    key = min(key for key, _ in shapes.items() ^ others.items())
    name, part = split_key(key)
    sizes = [str(list(found[key])) if key in found else "not there" for found in (shapes, others)]
    raise UsageError(
        f"these LoRA cannot be averaged: `{part}` of `{name}` is {sizes[0]} in one and {sizes[1]} in the other",
        where=[first.path, other.path],
        fix=_how_to_combine([part.path for part in (first, other) if _holds_factors(part.tensors)]),
    )


def _how_to_combine(factored: Sequence[Path]) -> str:
    """Return what to do with files that cannot be averaged; ``factored`` are those that hold LoKr or LoHa."""
    if not factored:
        return "average files of one training; others can be added up with `--merge`"
    them = " and ".join(path.name for path in factored)
    return (
        f"average files of one training; others can be added up with `--merge`, once {them} "
        f"{verb(len(factored), 'is', 'are')} made a LoRA, with `--convert-lora FILE --rank N`"
    )


def _holds_factors(keys: Iterable[str]) -> bool:
    return any(split_key(key)[1] in FACTORS for key in keys)


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {key: tensor.shape for key, tensor in tensors.items() if split_key(key)[1] != "alpha"}
