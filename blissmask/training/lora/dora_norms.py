"""Convert DoRA's norms between two kinds of files: readers divide them by the norm of ``W + B @ A``, or by that of W.

See :mod:`blissmask.training.lora.file`. The conversion needs W, the frozen weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from torch import Tensor

from blissmask.training.lora.formats import NATIVE_PREFIX as PREFIX
from blissmask.training.lora.formats import NORMS, layer_scale, split_key
from blissmask.training.lora.norms import norm_ratio, output_norms

WeightOf = Callable[[str], Tensor]
"""Takes the original name of a layer or of a part of a fused one, returns its frozen weight (outputs, inputs)."""
_NORMS = ".dora_scale"


def has_norms(keys: Iterable[str]) -> bool:
    """Return whether a LoRA file in any spelling was trained with DoRA."""
    return any(split_key(key)[1] in NORMS for key in keys)


def for_division_by_base(
    native: Mapping[str, Tensor], fused: Mapping[str, tuple[str, ...]], weight_of: WeightOf
) -> dict[str, Tensor]:
    """Return native tensors whose norms are divided by the norm of W, from those divided by that of ``W + B @ A``.

    Args:
        native: layers in parts.
        fused: original name of a fused layer -> its parts. Those that are not adapted get the norms of W: the whole
            layer needs norms of all of its outputs.
        weight_of: the frozen weights.
    """
    converted = {key: _multiplied(key, tensor, native, weight_of, inverse=False) for key, tensor in native.items()}
    for whole, parts in fused.items():
        names = {f"{PREFIX}{whole}:{part}{_NORMS}": f"{whole}:{part}" for part in parts}
        if names.keys().isdisjoint(native):
            continue
        for key, name in names.items():
            if key not in native:
                converted[key] = output_norms(weight_of(name)).reshape(-1, 1)
    return converted


def for_division_by_sum(native: Mapping[str, Tensor], weight_of: WeightOf) -> dict[str, Tensor]:
    """Return native tensors the other way: norms that are divided by the norm of ``W + B @ A``."""
    return {key: _multiplied(key, tensor, native, weight_of, inverse=True) for key, tensor in native.items()}


def _multiplied(
    key: str, tensor: Tensor, native: Mapping[str, Tensor], weight_of: WeightOf, *, inverse: bool
) -> Tensor:
    if not key.endswith(_NORMS):
        return tensor
    name = key.removesuffix(_NORMS)
    if f"{name}.lora_A.weight" not in native:
        # A part of a fused layer that is not adapted.
        return tensor
    a_rI, b_Or = native[f"{name}.lora_A.weight"], native[f"{name}.lora_B.weight"]
    weight_OI = weight_of(name.removeprefix(PREFIX))
    ratio = norm_ratio(weight_OI, a_rI, b_Or, scale=layer_scale(native, name)).reshape(-1, 1)
    norms = tensor.float() / ratio if inverse else tensor.float() * ratio
    return norms.to(tensor.dtype)
