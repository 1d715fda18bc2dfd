"""The three spellings of LoRA files, and conversion between them when the model's modules are known.

    native      diffusion_model.blocks.0.self_attn.q.lora_A.weight, .lora_B.weight, .alpha        ComfyUI
    kohya       lora_unet_blocks_0_self_attn_q.lora_down.weight, .lora_up.weight, .alpha          musubi-tuner
    diffusers   transformer.blocks.0.attn1.to_q.lora_A.weight, .lora_B.weight                     diffusers

:mod:`file` writes ``native``; the others are made from it. ``diffusers`` has no alpha: the scale is in B. The tables
between names come from the model's own modules, so ``lora_unet_blocks_0_self_attn_q`` is never guessed back into dots.

What is read may mix them: the keys of other trainers begin in other ways (:func:`without_foreign_beginning`), with
``transformer.`` before the original names of layers or ``lora_unet_`` before those of diffusers.

Which programs read which spelling of a family whole is in :mod:`blissmask.families.files.lora_readers`.

Where the original repository has fused layers, native and kohya files have them, too (see :mod:`fused`). Their native
files have no alpha: the scale is in B, since the diffusers loader of such a family refuses alpha. So does that of some
other families, see ``Family.native_alpha``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from blissmask.errors import ModelError
from blissmask.training.lora.fused import (
    ApartNames,
    FusedLayers,
    fuse_parts,
    split_parts,
    with_missing_parts,
    without_missing_parts,
)
from blissmask.training.lora.lokr_loha import FACTORS

LoraFormat = Literal["native", "kohya", "diffusers"]

_NOTHING_FUSED: FusedLayers = {}
_NOTHING_APART: ApartNames = {}

NAMED_KEYS = 3
"""Keys that an error message names: the keys of a file are spelled alike, so that a few show how."""
NATIVE_PREFIX = "diffusion_model."
_KOHYA_PREFIX = "lora_unet_"
DIFFUSERS_PREFIX = "transformer."
PEFT_PREFIX = "base_model.model."
"""How peft's own files begin; see :mod:`peft_files`."""
_TO_KOHYA = {"lora_A.weight": "lora_down.weight", "lora_B.weight": "lora_up.weight"} | {
    part: part for part in ("alpha", "dora_scale", *FACTORS)
}
"""Native name of a layer's tensor -> kohya's."""
_MAGNITUDE = "lora_magnitude_vector"
"""The norms of DoRA in the diffusers spelling."""
NORMS = ("dora_scale", _MAGNITUDE)
"""The norms of DoRA, in any spelling."""
_PARTS = (*_TO_KOHYA, "lora_down.weight", "lora_up.weight", _MAGNITUDE)
_PREFIXES: Mapping[str, LoraFormat] = {NATIVE_PREFIX: "native", _KOHYA_PREFIX: "kohya", DIFFUSERS_PREFIX: "diffusers"}
_FOREIGN = {
    "model.diffusion_model.": NATIVE_PREFIX,
    "lora_transformer_": _KOHYA_PREFIX,
    "lora_unet__": _KOHYA_PREFIX,
    "lycoris_": _KOHYA_PREFIX,
}
"""How keys of other programs begin -> how ours do: checkpoints of ComfyUI, OneTrainer, VideoX-Fun, and LyCORIS."""
_OF_A_TEXT_ENCODER = ("lora_te", "text_encoder")
"""How keys of layers of a text encoder begin: kohya's (also ``lora_te1_``) and diffusers' (``text_encoder_2.``)."""


def to_format(
    tensors: Mapping[str, Tensor],
    wanted: LoraFormat,
    modules: Mapping[str, str],
    fused: FusedLayers = _NOTHING_FUSED,
    apart: ApartNames = _NOTHING_APART,
    *,
    native_alpha: bool = True,
) -> dict[str, Tensor]:
    """Spell native tensors another way.

    Args:
        tensors: as from ``file.lora_tensors``.
        wanted: the spelling.
        modules: original name -> diffusers module name of every adapted layer.
        fused: layers that are one layer in the original; where there are any, the scale of every layer goes into B.
        apart: names of their parts where kohya files keep them apart.
        native_alpha: whether native files of the family hold alpha; otherwise the scale goes into B there.
    """
    if apart and wanted == "kohya":
        whole_there = {whole: parts for whole, parts in fused.items() if f"{whole}:{parts[0][0]}" not in apart}
        joined = fuse_parts(fold_alpha(tensors), whole_there, prefix=NATIVE_PREFIX) if whole_there else tensors
        in_parts = {whole: parts for whole, parts in fused.items() if whole not in whole_there}
        parts = with_missing_parts(joined, in_parts, prefix=NATIVE_PREFIX)
        return {_kohya_key(key, apart): tensor for key, tensor in _with_alpha(parts).items()}
    if apart and any(split_key(key)[1] in FACTORS for key in tensors):
        # A Kronecker or Hadamard product of each part cannot be written as one of the whole layer.
        return {_apart_key(key, apart): tensor for key, tensor in tensors.items()}
    if wanted != "diffusers":
        whole = fuse_parts(fold_alpha(tensors), fused, prefix=NATIVE_PREFIX) if fused else dict(tensors)
        if wanted == "native":
            return whole if native_alpha else fold_alpha(whole)
        return {_kohya_key(key): tensor for key, tensor in _with_alpha(whole).items()}
    spelled = {}
    for key, tensor in tensors.items():
        name, part = split_key(key)
        module = f"{DIFFUSERS_PREFIX}{modules[name.removeprefix(NATIVE_PREFIX)]}"
        if part == "lora_B.weight":
            # Without alpha, which this spelling does not have, diffusers uses a scale of 1.
            spelled[f"{module}.{part}"] = scaled(tensor, layer_scale(tensors, name))
        elif part == "dora_scale":
            # A whole fused layer has norms of the parts that are not adapted, too.
            if f"{name}.lora_A.weight" in tensors:
                spelled[f"{module}.{_MAGNITUDE}"] = tensor.reshape(-1)
        elif part != "alpha":
            spelled[f"{module}.{part}"] = tensor
    return spelled


def to_native(
    tensors: Mapping[str, Tensor],
    modules: Mapping[str, str],
    fused: FusedLayers = _NOTHING_FUSED,
    apart: ApartNames = _NOTHING_APART,
    *,
    path: Path,
) -> dict[str, Tensor]:
    """Spell tensors of any of the three formats the native way; a tensor that fits none of them keeps its key.

    Args:
        tensors: of a LoRA file.
        modules: original name -> diffusers module name of every layer that can be adapted.
        fused: layers that are one layer in the original; they come back in parts.
        apart: as for :func:`to_format`.
    """
    names = _names(modules, [*modules, *fused], apart)
    parts = {kohya: native for native, kohya in _TO_KOHYA.items()} | {part: part for part in _TO_KOHYA}
    spelled: dict[str, Tensor] = {}
    keys: dict[str, str] = {}
    for key, tensor in tensors.items():
        name, part = split_key(key)
        known = names.get(name)
        native = key if known is None else f"{NATIVE_PREFIX}{known}.{parts.get(part, part)}"
        if known is not None and part in NORMS:
            native, tensor = f"{NATIVE_PREFIX}{known}.dora_scale", tensor.reshape(-1, 1)
        if native in spelled:
            raise _doubled(keys[native], key, path)
        spelled[native], keys[native] = tensor, key
    _refuse_whole_beside_parts(keys, path)
    in_parts = split_parts(spelled, fused, prefix=NATIVE_PREFIX)
    return without_missing_parts(in_parts, apart, prefix=NATIVE_PREFIX)


def _names(modules: Mapping[str, str], originals: Iterable[str], apart: ApartNames) -> dict[str, str]:
    """Return every name of a layer that a file may have, with its beginning -> original name."""
    # Later ones win: where a name means one layer in one program and another in the next, that of the spelling counts.
    named = [(module, original) for original, module in modules.items()]
    # Other trainers write the parts of fused layers under their own names, too.
    named_originals = [(original, original) for original in originals] + [(own, part) for part, own in apart.items()]
    names = {f"{_KOHYA_PREFIX}{module.replace('.', '_')}": original for module, original in named}
    names |= {f"{_KOHYA_PREFIX}{name.replace('.', '_')}": original for name, original in named_originals}
    names |= {f"{DIFFUSERS_PREFIX}{name}": original for name, original in named_originals}
    names |= {f"{DIFFUSERS_PREFIX}{module}": original for module, original in named}
    names |= {f"{NATIVE_PREFIX}{name}": original for name, original in named_originals}
    return names


def _doubled(first: str, second: str, path: Path) -> ModelError:
    what = "this file holds one layer twice, and nothing says which of the two counts"
    fix = "remove one of the two from it, or use the LoRA that it was made from"
    return ModelError(what, where=[path, f"`{first}`", f"`{second}`"], fix=fix)


def _refuse_whole_beside_parts(keys: Mapping[str, str], path: Path) -> None:
    """Raise ModelError where a fused layer stands in a file whole and in parts; ``keys`` are by native key."""
    for native, key in keys.items():
        name, part = split_key(native)
        whole, separator, _ = name.partition(":")
        beside = keys.get(f"{whole}.{part}")
        # Norms of DoRA are of every output, and stand for parts that are not adapted, too.
        if separator and part and part != "dora_scale" and beside is not None:
            raise _doubled(beside, key, path)


def without_foreign_beginning(keys: Iterable[str]) -> dict[str, str]:
    """Return the keys of a LoRA file of another program -> the keys that one of the spellings has.

    Where no key begins as one of ours, names of layers stand there by themselves, as DiffSynth-Studio and diffusers'
    ``save_lora_adapter`` write them. They are taken as diffusers', beside which :func:`to_native` knows the original.
    """
    ours = {}
    for key in keys:
        foreign = next((beginning for beginning in _FOREIGN if key.startswith(beginning)), "")
        ours[key] = f"{_FOREIGN[foreign]}{key.removeprefix(foreign)}" if foreign else key
    known = (*_PREFIXES, PEFT_PREFIX, *_OF_A_TEXT_ENCODER)
    if any(key.startswith(known) or not split_key(key)[1] for key in ours.values()):
        return ours
    return {key: f"{DIFFUSERS_PREFIX}{own}" for key, own in ours.items()}


def is_of_text_encoder(key: str) -> bool:
    """Return whether a key of a LoRA file is that of a layer of a text encoder."""
    return key.startswith(_OF_A_TEXT_ENCODER)


def format_of(tensors: Iterable[str]) -> LoraFormat | None:
    """Return the spelling of a LoRA file by its keys; None when they do not all have the same one."""
    found = {_format_of_key(key) for key in tensors}
    return found.pop() if len(found) == 1 else None


def _format_of_key(key: str) -> LoraFormat | None:
    for prefix, spelling in _PREFIXES.items():
        if key.startswith(prefix):
            return spelling
    return None


def fold_alpha(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Put the scale of every layer of a native file into its B, and leave alpha out; LoKr and LoHa keep theirs."""
    folded = {}
    for key, tensor in tensors.items():
        name, part = split_key(key)
        if part == "lora_B.weight":
            folded[key] = scaled(tensor, layer_scale(tensors, name))
        elif part != "alpha" or f"{name}.lora_A.weight" not in tensors:
            folded[key] = tensor
    return folded


def scaled(tensor: Tensor, scale: float) -> Tensor:
    """Return a matrix times a scale, in its precision, or in float32 where float16 cannot hold the product.

    float16 has no exponents below 2**-14: an alpha of 1 at rank 64 takes small numbers there, and they lose their
    digits or become 0. It rounds by at most 2**-11 elsewhere; a product that is twice as far off is kept whole.
    """
    product = tensor.float() * scale
    rounded = product.to(tensor.dtype)
    if tensor.dtype != torch.float16:
        return rounded
    off = torch.linalg.vector_norm(rounded.float() - product)
    return rounded if bool(off <= 2**-10 * torch.linalg.vector_norm(product)) else product


def _with_alpha(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Add alpha, equal to the rank, where it is missing: readers of this spelling disagree on the scale without it."""
    alphas = {
        f"{key.removesuffix('.lora_A.weight')}.alpha": torch.tensor(float(tensor.shape[0]))
        for key, tensor in tensors.items()
        if key.endswith(".lora_A.weight")
    }
    return alphas | dict(tensors)


def layer_key(
    original: str, wanted: LoraFormat, modules: Mapping[str, str], apart: ApartNames, *, factored: bool
) -> str:
    """Return the key of a layer, or of a part of a fused one, up to the names of its tensors.

    Args:
        original: its original name.
        wanted, modules, apart: as for :func:`to_format`.
        factored: whether the file holds LoKr or LoHa.
    """
    whole = original.partition(":")[0]
    if wanted == "diffusers":
        return f"{DIFFUSERS_PREFIX}{modules[original]}"
    if wanted == "kohya":
        return f"{_KOHYA_PREFIX}{apart.get(original, whole).replace('.', '_')}"
    return f"{NATIVE_PREFIX}{apart.get(original, whole) if factored else whole}"


def _kohya_key(key: str, apart: ApartNames = _NOTHING_APART) -> str:
    name, part = split_key(key)
    layer = layer_key(name.removeprefix(NATIVE_PREFIX), "kohya", {}, apart, factored=False)
    return f"{layer}.{_TO_KOHYA[part]}"


def _apart_key(key: str, apart: ApartNames) -> str:
    name, part = split_key(key)
    return f"{layer_key(name.removeprefix(NATIVE_PREFIX), 'native', {}, apart, factored=True)}.{part}"


def split_key(key: str) -> tuple[str, str]:
    """Return (module, part) of a key; the part is empty when LoRA files have no such part."""
    for part in _PARTS:
        if key.endswith(f".{part}"):
            return key.removesuffix(f".{part}"), part
    return key, ""


def parts_of(spelling: LoraFormat) -> set[str]:
    """Return the names that the tensors of a layer have in a spelling."""
    if spelling == "diffusers":
        return {"lora_A.weight", "lora_B.weight", _MAGNITUDE}
    return set(_TO_KOHYA.values() if spelling == "kohya" else _TO_KOHYA)


def layer_scale(tensors: Mapping[str, Tensor], name: str) -> float:
    """Return ``alpha / rank`` of the native layer ``name``; 1 without alpha."""
    alpha: Tensor | None = tensors.get(f"{name}.alpha")
    rank = tensors[f"{name}.lora_A.weight"].shape[0]
    return 1.0 if alpha is None else float(alpha.to(torch.float64)) / rank
