"""Refuse LoRA files whose tensors cannot be those of a LoRA, whatever its spelling, kind and model.

Shapes: A (rank, inputs), B (outputs, rank); of convolutions, further axes follow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from blissmask.errors import ModelError

_FIRST = (".lora_A.weight", ".lora_down.weight")
_SECOND = (".lora_B.weight", ".lora_up.weight")
_ALPHA = ".alpha"


def refuse_impossible(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Check the tensors of a LoRA file.

    Args:
        tensors: by their keys in the file.
        path: of the file, for messages.

    Raises:
        ModelError: a tensor has no numbers, or no floating-point ones, an alpha is no number above 0, or the two
            matrices of a layer differ in rank.
    """
    ranks: dict[str, int] = {}
    for key, tensor in tensors.items():
        if not tensor.is_floating_point() and not key.endswith(_ALPHA):
            raise _impossible(f"`{key}` holds {str(tensor.dtype).removeprefix('torch.')} numbers", path)
        if tensor.numel() == 0:
            raise _impossible(f"`{key}` has shape {list(tensor.shape)}, which holds nothing", path)
        if key.endswith(_ALPHA) and (tensor.numel() != 1 or not _is_positive(tensor)):
            shown = f"is {float(tensor):g}" if tensor.numel() == 1 else f"has shape {list(tensor.shape)}"
            raise _impossible(f"`{key}` {shown}, and must be one number above 0", path)
        for ends, axis in ((_FIRST, 0), (_SECOND, 1)):
            if not key.endswith(ends):
                continue
            if tensor.ndim < 2:
                raise _impossible(f"`{key}` has shape {list(tensor.shape)}, and must be a matrix", path)
            layer, rank = key.removesuffix(next(end for end in ends if key.endswith(end))), tensor.shape[axis]
            if ranks.setdefault(layer, rank) != rank:
                raise _impossible(f"the matrices of `{layer}` have rank {ranks[layer]} and {rank}", path)


def _is_positive(tensor: Tensor) -> bool:
    number = float(tensor)
    return math.isfinite(number) and number > 0


def _impossible(what: str, path: Path) -> ModelError:
    return ModelError(f"this is no LoRA that can be read: {what}", where=[path], fix="get the file again, whole")
