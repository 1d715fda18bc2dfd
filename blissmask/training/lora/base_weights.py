"""Fuse LoRA files into the frozen weights, before a LoRA is trained on top of them.

For training adapters of distilled models, and for a LoRA that another one is to be trained on. Any file that
:mod:`convert` reads fits: LoRA, DoRA, LoKr and LoHa in the three spellings, fused layers whole or in parts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from blissmask.cachefile.read_file import read_metadata
from blissmask.errors import ModelError, first_few
from blissmask.families.family import Family
from blissmask.families.files.identity import file_identity, joined_identity
from blissmask.families.files.miniature import is_tiny_identity, tiny_identity
from blissmask.families.protocol import Denoiser
from blissmask.training.lora.convert import block_count, describe_lora
from blissmask.training.lora.file import DIVIDED_BY_BASE, DORA_DIVISOR, read_finite_lora
from blissmask.training.lora.formats import NAMED_KEYS, NATIVE_PREFIX, split_key, to_native
from blissmask.training.lora.fused import ApartNames, apart_names, find_fused
from blissmask.training.lora.lokr_loha import FACTORS, factors_product
from blissmask.training.lora.names import layer_names
from blissmask.training.lora.norms import output_norms
from blissmask.training.lora.peft_files import configs_of


@dataclass(frozen=True, slots=True)
class BaseLora:
    """A LoRA file that becomes a part of the base model.

    Attributes:
        path: the file.
        multiplier: of its update; 1 is how it was trained.
    """

    path: Path
    multiplier: float


@dataclass(frozen=True, slots=True)
class _Fitting:
    """The tensors of a file by the layers that they fit.

    Attributes:
        layers: original name -> native part -> tensor; fused layers whole or in parts, as the file has them.
        left: keys that fit no layer.
    """

    layers: Mapping[str, Mapping[str, Tensor]]
    left: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of a layer's update that belong to one linear layer of the model."""

    linear: nn.Linear
    start: int
    stop: int


def check_base_lora(path: Path, family: Family) -> tuple[int, list[str]]:
    """Return how many layers of ``family`` a file adapts, and its keys that fit none; no model is needed.

    Raises:
        ModelError: the file is missing, damaged, no LoRA, holds NaN or infinity, or nothing of it fits.
    """
    tensors = _read(path)
    names = layer_names(family, block_count=block_count(tensors))
    fitting = _fitting(tensors, names.modules, names.fused, names.apart, path=path)
    return len(fitting.layers), list(fitting.left)


def fuse_base_loras(denoiser: Denoiser, loras: Sequence[BaseLora]) -> None:
    """Add the updates of ``loras`` to the weights of ``denoiser``, in order, and name them in its identity.

    Args:
        denoiser: as loaded: its linear layers are not adapted and not quantised yet.
        loras: may be empty.

    Raises:
        ModelError: as :func:`check_base_lora`, or a layer has another size.
    """
    if not loras:
        return
    for lora in loras:
        _fuse(denoiser, lora)
    denoiser.identity = fused_identity(denoiser.identity, loras)


def fused_identity(identity: str, loras: Sequence[BaseLora]) -> str:
    """Return the identity of a base model with ``loras`` in it, by that of the model alone; a miniature stays one.

    Raises ModelError and MachineError when a file is not there or cannot be read.
    """
    if not loras:
        return identity
    used = [f"{_content(lora.path)} x {lora.multiplier!r}" for lora in loras]
    fused = joined_identity([identity, *used])
    return tiny_identity(fused) if is_tiny_identity(identity) else fused


def _content(path: Path) -> str:
    """Return what names the update of a file: its content, and that of the configuration that has its alpha."""
    return " with ".join(file_identity(file) for file in (path, *configs_of([path])))


@torch.no_grad()
def _fuse(denoiser: Denoiser, lora: BaseLora) -> None:
    places = _places(denoiser)
    modules = {denoiser.original_name(name): name for name, _ in _linear(denoiser)}
    fused = [name for name in places if name not in modules]
    apart = apart_names(denoiser, (name for name in modules if ":" in name))
    fitting = _fitting(_read(lora.path), modules, fused, apart, path=lora.path)
    by_base = read_metadata(lora.path).get(DORA_DIVISOR) == DIVIDED_BY_BASE
    for original, parts in fitting.layers.items():
        rows = places[original]
        shape = (rows[-1].stop, rows[0].linear.in_features)
        # DoRA's norms stand alone for a part of a fused layer that is not adapted.
        update = torch.zeros(shape) if parts.keys() <= {"dora_scale"} else _update(parts)
        if update.shape != shape:
            raise ModelError(
                f"`{original}` is {tuple(update.shape)} in this file, and {shape} in the model",
                where=[lora.path],
                fix="use a LoRA for this size of the model",
            )
        norms = parts.get("dora_scale")
        for row in rows:
            weight = row.linear.weight
            old = weight.float()
            new = old + update[row.start : row.stop].to(weight.device)
            if norms is not None:
                wanted = norms[row.start : row.stop].to(weight.device, torch.float32)
                new *= (wanted.flatten() / output_norms(old if by_base else new)).unsqueeze(1)
            changed = torch.lerp(old, new, lora.multiplier)
            if not bool(changed.isfinite().all()):
                what = f"with this LoRA the weights of `{original}` are no numbers: its own are too large"
                raise ModelError(what, where=[lora.path], fix="use an earlier file of it")
            weight.copy_(changed)


def _linear(denoiser: Denoiser) -> list[tuple[str, nn.Linear]]:
    return [(name, module) for name, module in denoiser.module.named_modules() if isinstance(module, nn.Linear)]


def _places(denoiser: Denoiser) -> dict[str, list[_Rows]]:
    """Return original name -> the linear layers that it is made of; fused layers whole, and each of their parts."""
    linear = {denoiser.original_name(name): module for name, module in _linear(denoiser)}
    places = {name: [_Rows(module, 0, module.out_features)] for name, module in linear.items()}
    for whole, parts in find_fused(linear.items(), linear).items():
        start, rows = 0, []
        for part, outputs in parts:
            rows.append(_Rows(linear[f"{whole}:{part}"], start, start + outputs))
            start += outputs
        places[whole] = rows
    return places


def _read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a LoRA that is whole. Raises ModelError as :func:`check_base_lora`."""
    tensors = read_finite_lora(path)
    describe_lora(tensors, path)
    return tensors


def _fitting(
    tensors: Mapping[str, Tensor],
    modules: Mapping[str, str],
    fused: Collection[str],
    apart: ApartNames,
    *,
    path: Path,
) -> _Fitting:
    """Find the layers of a file's tensors. Raises ModelError when nothing fits.

    Args:
        tensors: of the file.
        modules: original name -> module name; parts of fused layers end in a colon and the part.
        fused: original names of whole fused layers.
        apart: names of parts where kohya files keep them apart.
        path: of the file, for messages.
    """
    # Diffusers names no whole fused layer, so each is its own name there.
    known = {**modules, **{whole: whole for whole in fused}}
    layers: dict[str, dict[str, Tensor]] = {}
    left = []
    for key, tensor in to_native(tensors, known, apart=apart, path=path).items():
        name, part = split_key(key)
        original = name.removeprefix(NATIVE_PREFIX)
        if part and original in known:
            layers.setdefault(original, {})[part] = tensor
        else:
            left.append(key)
    if not layers:
        raise ModelError(
            "nothing in this LoRA fits a layer of the model",
            where=[path, *first_few(left, most=NAMED_KEYS)],
            fix="give a LoRA of the same family with `base_weights`",
        )
    return _Fitting(layers, left)


def _update(parts: Mapping[str, Tensor]) -> Tensor:
    """Return the update (outputs, inputs) of a layer by its native tensors, float32."""
    numbers = {part: tensor.float() for part, tensor in parts.items()}
    if any(part in FACTORS for part in numbers):
        return factors_product(numbers)
    a, b = numbers["lora_A.weight"], numbers["lora_B.weight"]
    alpha = numbers.get("alpha")
    scale = 1.0 if alpha is None else float(alpha) / a.shape[0]
    return scale * (b.flatten(1) @ a.flatten(1))
