"""Refuse LoRA files whose tensors cannot be those of a LoRA, whatever its spelling, kind and model.

Shapes: A (rank, inputs), B (outputs, rank). Norms of DoRA have one number for each output. Factors of LoKr and LoHa are
matrices. Convolutions, whose matrices have further axes, are adapted by no family.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from blissmask.errors import ModelError
from blissmask.training.lora.formats import NORMS, split_key
from blissmask.training.lora.lokr_loha import FACTORS

_MATRICES = {"lora_A.weight": "lora_B.weight", "lora_down.weight": "lora_up.weight"}
"""The first matrix of a LoRA -> its second, in each spelling."""
_LOKR = (("lokr_w1", "lokr_w1_a", "lokr_w1_b"), ("lokr_w2", "lokr_w2_a", "lokr_w2_b"))
"""The two factors of LoKr, each whole or as a product."""
_LOHA = (("hada_w1_a", "hada_w1_b"), ("hada_w2_a", "hada_w2_b"))
"""The two products of LoHa."""
_TUCKER = (".lora_mid.weight", ".lokr_t1", ".lokr_t2", ".hada_t1", ".hada_t2")
"""Cores of LyCORIS's convolutions. A reader that left them out would compute another update."""
_BIASES = (".lora_A.bias", ".lora_B.bias", ".lora_down.bias", ".lora_up.bias")
"""Of peft (``lora_bias``) and diffusers; the layer's own bias stays as it is here."""
_UNREAD = (*_TUCKER, *_BIASES)


def refuse_impossible(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Check the tensors of a LoRA file.

    Args:
        tensors: by their keys in the file.
        path: of the file, for messages.

    Raises:
        ModelError: a tensor has no numbers, or no floating-point ones, an alpha is no number above 0, or the tensors of
            a layer are not those of one LoRA, LoKr or LoHa that fit each other.
    """
    layers: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name, part = split_key(key)
        if tensor.is_complex() or not (tensor.is_floating_point() or part == "alpha"):
            raise _impossible(f"`{key}` holds {str(tensor.dtype).removeprefix('torch.')} numbers", path)
        if tensor.numel() == 0:
            raise _impossible(f"`{key}` has shape {list(tensor.shape)}, which holds nothing", path)
        if part == "alpha" and (tensor.numel() != 1 or not _is_positive(tensor)):
            shown = f"is {float(tensor):g}" if tensor.numel() == 1 else f"has shape {list(tensor.shape)}"
            raise _impossible(f"`{key}` {shown}, and must be one number above 0", path)
        if key.endswith(_UNREAD):
            raise _impossible(f"`{key}` changes its layer in a way that is not read", path)
        if part in (*FACTORS, *_MATRICES, *_MATRICES.values()) and tensor.ndim != 2:
            raise _impossible(f"`{key}` has shape {list(tensor.shape)}, and must be a matrix", path)
        if part:
            layers.setdefault(name, {})[part] = tensor
    for name, parts in layers.items():
        outputs = _outputs(name, parts, path)
        for norms in NORMS:
            # LyCORIS (`wd_on_out = False`) has norms of inputs, of shape (1, inputs).
            if norms in parts and (*parts[norms].shape[:1], parts[norms].numel()) != (outputs, outputs):
                shape = list(parts[norms].shape)
                what = f"the norms of `{name}` have shape {shape}, and those of its {outputs} outputs alone are read"
                raise _impossible(what, path)


def _outputs(name: str, parts: Mapping[str, Tensor], path: Path) -> int:
    """Return the number of outputs of a layer. Raises ModelError where its parts are not those of one update."""
    kinds = [pair for pair in _MATRICES.items() if any(part in parts for part in pair)]
    lokr = [factor for factor in _LOKR if any(part in parts for part in factor)]
    loha = [pair for pair in _LOHA if any(part in parts for part in pair)]
    found = len(kinds) + bool(lokr) + bool(loha)
    if found > 1:
        raise _impossible(f"`{name}` has the tensors of {found} kinds of LoRA", path)
    if lokr or loha:
        return _outputs_of_factors(name, parts, path)
    if not kinds or not all(part in parts for part in kinds[0]):
        raise _impossible(f"`{name}` has not both matrices of a LoRA in this file", path)
    a, b = (parts[part] for part in kinds[0])
    if a.shape[0] != b.shape[1]:
        raise _impossible(f"the matrices of `{name}` have rank {a.shape[0]} and {b.shape[1]}", path)
    return b.shape[0]


def _outputs_of_factors(name: str, parts: Mapping[str, Tensor], path: Path) -> int:
    loha = any(part.startswith("hada") for part in parts)
    sizes = [_size_of_product(name, parts, names, path) for names in (_LOHA if loha else _LOKR)]
    if loha and sizes[0] != sizes[1]:
        raise _impossible(f"the products of `{name}` have sizes {sizes[0]} and {sizes[1]}", path)
    return sizes[0][0] if loha else sizes[0][0] * sizes[1][0]


def _size_of_product(name: str, parts: Mapping[str, Tensor], names: Sequence[str], path: Path) -> tuple[int, int]:
    """Return the size of a factor that is whole, the first of three names, or the product of the last two."""
    found = [part for part in names if part in parts]
    if len(names) == 3 and found == [names[0]]:
        rows, columns = parts[names[0]].shape
        return rows, columns
    first, second = names[-2:]
    if found != [first, second]:
        raise _impossible(
            f"one factor of `{name}` is not whole: this file has {' and '.join(found) or 'nothing'} of it", path
        )
    if parts[first].shape[1] != parts[second].shape[0]:
        ranks = f"{parts[first].shape[1]} and {parts[second].shape[0]}"
        raise _impossible(f"`{first}` and `{second}` of `{name}` have rank {ranks}", path)
    return parts[first].shape[0], parts[second].shape[1]


def _is_positive(tensor: Tensor) -> bool:
    number = float(tensor)
    return math.isfinite(number) and number > 0


def _impossible(what: str, path: Path) -> ModelError:
    return ModelError(f"this is no LoRA that can be read: {what}", where=[path], fix="get the file again, whole")
