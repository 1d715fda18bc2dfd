"""Two relatives of LoRA that peft trains: LoKr, a Kronecker product, and LoHa, a Hadamard product of two LoRA products.

    LoKr   W + scale * kron(w1, w2), each factor whole or a product of two     lokr_w1, lokr_w2_a, lokr_w2_b ...
    LoHa   W + scale * (w1_a @ w1_b) * (w2_a @ w2_b)                           hada_w1_a, hada_w1_b, hada_w2_a ...

Files use the names that LyCORIS gave these factors. LyCORIS and musubi-tuner take ``alpha / rank`` for the scale, but
1 where both factors are whole, which a large rank makes them. So do we: see :func:`use_scale_of_whole_factors`. The
scale goes into the first factor of a file, and alpha is the rank: every reader then multiplies by 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoHaConfig, LoKrConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor

from blissmask.errors import ModelError

NetworkType = Literal["lora", "lokr", "loha"]

_LOKR_FACTORS = ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b")
_LOHA_FACTORS = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
FACTORS = _LOKR_FACTORS + _LOHA_FACTORS
_SCALED = ("lokr_w1", "lokr_w1_a", "hada_w1_a")
"""The factors into which the scale goes; a layer has one of them."""


def peft_config(kind: NetworkType, *, rank: int, alpha: float, factor: int, targets: str) -> Any:
    """Return peft's configuration of a LoKr or LoHa.

    Args:
        kind: ``lokr`` or ``loha``.
        rank: >= 1; factors smaller than it stay whole.
        alpha: > 0; the update is scaled by ``alpha / rank``.
        factor: size of LoKr's first factor; -1 for about the square root of the layer's.
        targets: regular expression of the layers.
    """
    if kind == "loha":
        return LoHaConfig(r=rank, alpha=alpha, target_modules=targets)
    return LoKrConfig(r=rank, alpha=alpha, decompose_factor=factor, target_modules=targets)


def use_scale_of_whole_factors(layers: Iterable[BaseTunerLayer], *, adapter: str) -> None:
    """Scale LoKr layers by 1 where both factors are whole, as LyCORIS and musubi-tuner do.

    peft scales them by ``alpha / rank`` as well. With a rank that stands for "whole", e.g. 999, and an alpha of 1, the
    LoRA would learn 999 times as slowly as with the same settings there.
    """
    for layer in layers:
        if adapter in layer.lokr_w1 and adapter in layer.lokr_w2:
            layer.scaling[adapter] = 1.0


def factor_tensors(layer: BaseTunerLayer, *, adapter: str, rank: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the factors of one layer, as files hold them, and alpha."""
    tensors = {"alpha": torch.tensor(float(rank))}
    scale = layer.scaling[adapter]
    for name, factor in _factors(layer, adapter).items():
        stored = factor.detach().float() * (scale if name in _SCALED else 1.0)
        tensors[name] = stored.to("cpu", dtype).contiguous()
    return tensors


def fill_factors(layer: BaseTunerLayer, tensors: Mapping[str, Tensor], *, adapter: str, name: str, path: Path) -> None:
    """Fill one layer from a file's tensors.

    Args:
        layer: of the run.
        tensors: of this layer: factor name -> tensor, and ``alpha`` where the file has it.
        adapter: peft's name of the adapter.
        name: of the layer, for messages.
        path: of the file, for messages.

    Raises:
        ModelError: the file holds other factors, or factors of another size.
    """
    own = _factors(layer, adapter)
    found = {part: tensor for part, tensor in tensors.items() if part != "alpha"}
    if {part: factor.shape for part, factor in own.items()} != {part: tensor.shape for part, tensor in found.items()}:
        expected = ", ".join(f"{part} {tuple(factor.shape)}" for part, factor in own.items())
        held = ", ".join(f"{part} {tuple(tensor.shape)}" for part, tensor in found.items()) or "nothing"
        raise ModelError(
            f"`{name}` holds {held} in this file, and needs {expected}",
            where=[path],
            fix="use the `network_type`, `network_dim` and `lokr_factor` that the file was trained with",
        )
    ratio = stored_scale(tensors) / layer.scaling[adapter]
    with torch.no_grad():
        for part, factor in own.items():
            factor.copy_(found[part].float() * (ratio if part in _SCALED else 1.0))


def factors_product(tensors: Mapping[str, Tensor]) -> Tensor:
    """Return the update (outputs, inputs) of a layer by a file's tensors, scaled as LyCORIS's readers scale it.

    Args:
        tensors: of one layer: all factors of LoKr or LoHa by name, and ``alpha`` where the file has it.
    """
    scale = stored_scale(tensors)
    if "hada_w1_a" in tensors:
        first, second = (_split_product(tensors, factor) for factor in ("hada_w1", "hada_w2"))
        return scale * first * second
    first, second = (_whole_or_split(tensors, factor) for factor in ("lokr_w1", "lokr_w2"))
    return scale * torch.kron(first, second)


def factors_pair(tensors: Mapping[str, Tensor], *, rank: int) -> tuple[Tensor, Tensor]:
    """Return the update of :func:`factors_product` as a LoRA, A (R, inputs) and B (outputs, R).

    Args:
        tensors: as for :func:`factors_product`, float32.
        rank: of a LoKr, which may have as many ranks as the layer has inputs, at most so many are returned, those of
            the largest singular values; a LoHa comes whole.
    """
    scale = stored_scale(tensors)
    if "hada_w1_a" in tensors:
        # The sum over i and j of (b_i * c_j) (a_i * d_j), for the products of b and a, and of c and d.
        b_Or, a_rI, c_Or, d_rI = (tensors[name] for name in _LOHA_FACTORS)
        joint_b = (b_Or.unsqueeze(2) * c_Or.unsqueeze(1)).flatten(1)
        joint_a = (a_rI.unsqueeze(1) * d_rI.unsqueeze(0)).flatten(0, 1)
        return joint_a, scale * joint_b
    # The singular values and vectors of a Kronecker product are the products of those of its factors.
    factors = (_whole_or_split(tensors, factor) for factor in ("lokr_w1", "lokr_w2"))
    (left_1, values_1, right_1), (left_2, values_2, right_2) = (
        torch.linalg.svd(factor, full_matrices=False) for factor in factors
    )
    values, chosen = torch.outer(values_1, values_2).flatten().topk(min(rank, len(values_1) * len(values_2)))
    first, second = chosen // len(values_2), chosen % len(values_2)
    joint_b = torch.stack([torch.kron(left_1[:, i], left_2[:, j]) for i, j in zip(first, second, strict=True)], dim=1)
    joint_a = torch.stack([torch.kron(right_1[i], right_2[j]) for i, j in zip(first, second, strict=True)])
    return joint_a, scale * joint_b * values


def _whole_or_split(tensors: Mapping[str, Tensor], factor: str) -> Tensor:
    return tensors[factor] if factor in tensors else _split_product(tensors, factor)


def _split_product(tensors: Mapping[str, Tensor], factor: str) -> Tensor:
    return tensors[f"{factor}_a"] @ tensors[f"{factor}_b"]


def _factors(layer: BaseTunerLayer, adapter: str) -> dict[str, Tensor]:
    """Return the factors that a layer has, by LyCORIS's names; peft's attributes have the same names."""
    return {name: getattr(layer, name)[adapter] for name in FACTORS if adapter in getattr(layer, name, {})}


def stored_scale(tensors: Mapping[str, Tensor]) -> float:
    """Return the scale that LyCORIS reads from a file: ``alpha / rank``; 1 without alpha or without split factors."""
    for name in ("lokr_w1_b", "lokr_w2_b", "hada_w1_b"):
        if name in tensors and "alpha" in tensors:
            return float(tensors["alpha"]) / tensors[name].shape[0]
    return 1.0
