"""LoRA for fused layers: several layers of a diffusers model that are one layer in the original repository.

The pairs (A, B) of n parts become one pair, and come apart again:

    A (n * rank, inputs)     the A of each part, one under the other
    B (outputs, n * rank)    the B of each part along the diagonal, zero elsewhere

``B @ A`` is then exactly the products of the parts, one under the other. Parts that are not adapted get zeros.

Some fused layers are fused in ComfyUI alone. Kohya files, which musubi-tuner reads, keep their parts apart. A part that
is not adapted stands there as a pair of zeros: musubi-tuner's converter for ComfyUI joins three parts or none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from blissmask.families.protocol import Denoiser, KeepsPartsApart

FusedLayers = Mapping[str, tuple[tuple[str, int], ...]]
"""Original name of a fused layer -> (part, number of outputs) of its parts, in the order of the output."""

ApartNames = Mapping[str, str]
"""Name of a part of a fused layer -> its name in kohya files, where they keep it apart."""

PART_ORDER = ("q", "k", "v", "mlp")
"""The order of the parts along the output of a fused layer."""


def find_fused(linear: Iterable[tuple[str, nn.Linear]], adapted: Iterable[str]) -> FusedLayers:
    """Return the fused layers of which a part is adapted.

    Args:
        linear: (original name, layer) of every linear layer; parts of fused layers end in a colon and the part.
        adapted: original names of the adapted layers.
    """
    wanted = {name.partition(":")[0] for name in adapted if ":" in name}
    found: dict[str, dict[str, int]] = {}
    for name, layer in linear:
        whole, separator, part = name.partition(":")
        if separator and whole in wanted:
            found.setdefault(whole, {})[part] = layer.out_features
    return {
        whole: tuple((part, parts[part]) for part in sorted(parts, key=PART_ORDER.index))
        for whole, parts in found.items()
    }


def apart_names(denoiser: Denoiser, parts: Iterable[str]) -> ApartNames:
    """Return part of a fused layer -> its name in kohya files, for those that they keep apart."""
    if not isinstance(denoiser, KeepsPartsApart):
        return {}
    names = {part: denoiser.apart_name(part) for part in parts}
    return {part: name for part, name in names.items() if name is not None}


def fuse_parts(tensors: Mapping[str, Tensor], fused: FusedLayers, *, prefix: str) -> dict[str, Tensor]:
    """Put the parts of fused layers together; the other tensors stay as they are.

    Args:
        tensors: with native names, the scale already in B (the diffusers loader of these families refuses alpha).
        fused: see :func:`find_fused`.
        prefix: the beginning of native names.
    """
    rest = dict(tensors)
    for whole, parts in fused.items():
        a_parts = [rest.pop(f"{prefix}{whole}:{part}.lora_A.weight", None) for part, _ in parts]
        b_parts = [rest.pop(f"{prefix}{whole}:{part}.lora_B.weight", None) for part, _ in parts]
        scales = [rest.pop(f"{prefix}{whole}:{part}.dora_scale", None) for part, _ in parts]
        some_a = next(a for a in a_parts if a is not None)
        blocks = [
            some_a.new_zeros(outputs, some_a.shape[0]) if b is None else b
            for b, (_, outputs) in zip(b_parts, parts, strict=True)
        ]
        if all(a is not None and torch.equal(a, some_a) for a in a_parts):
            # The parts come from another trainer's layer with one A for all. Together they get back its rank.
            joint_a, joint_b = some_a, torch.cat(blocks)
        else:
            joint_a = torch.cat([torch.zeros_like(some_a) if a is None else a for a in a_parts])
            joint_b = torch.block_diag(*blocks)  # type: ignore[no-untyped-call]
        rest[f"{prefix}{whole}.lora_A.weight"] = joint_a
        rest[f"{prefix}{whole}.lora_B.weight"] = joint_b
        present = [scale for scale in scales if scale is not None]
        if present:
            rest[f"{prefix}{whole}.dora_scale"] = torch.cat(present)
    return rest


def with_missing_parts(tensors: Mapping[str, Tensor], fused: FusedLayers, *, prefix: str) -> dict[str, Tensor]:
    """Add a pair of zeros for every part that is not adapted, of fused layers of which another part is."""
    whole_layers = dict(tensors)
    for whole, parts in fused.items():
        keys = {part: f"{prefix}{whole}:{part}" for part, _ in parts}
        adapted = next((key for key in keys.values() if f"{key}.lora_A.weight" in tensors), None)
        if adapted is None:
            continue
        some_a, some_b = tensors[f"{adapted}.lora_A.weight"], tensors[f"{adapted}.lora_B.weight"]
        alpha = tensors.get(f"{adapted}.alpha")
        for part, outputs in parts:
            if f"{keys[part]}.lora_A.weight" in tensors:
                continue
            whole_layers[f"{keys[part]}.lora_A.weight"] = torch.zeros_like(some_a)
            whole_layers[f"{keys[part]}.lora_B.weight"] = some_b.new_zeros(outputs, some_b.shape[1])
            if alpha is not None:
                whole_layers[f"{keys[part]}.alpha"] = alpha.clone()
    return whole_layers


def without_missing_parts(tensors: Mapping[str, Tensor], parts: Iterable[str], *, prefix: str) -> dict[str, Tensor]:
    """Leave out the pairs of zeros of :func:`with_missing_parts`, but no norms of DoRA; ``parts`` are their names."""
    rest = dict(tensors)
    for part in parts:
        a, b = rest.get(f"{prefix}{part}.lora_A.weight"), rest.get(f"{prefix}{part}.lora_B.weight")
        # What was ever trained has an A that is not zero.
        if a is not None and b is not None and not a.any() and not b.any():
            for kind in ("lora_A.weight", "lora_B.weight", "alpha"):
                rest.pop(f"{prefix}{part}.{kind}", None)
    return rest


def split_parts(tensors: Mapping[str, Tensor], fused: FusedLayers, *, prefix: str) -> dict[str, Tensor]:
    """Take fused layers apart; the other tensors stay as they are.

    The result of :func:`fuse_parts` comes back exactly; of a part that is not adapted, DoRA's norms alone. In a file
    from another trainer a fused layer has one A for all parts; each part then gets that A and its own rows of B.
    """
    rest = dict(tensors)
    for whole, parts in fused.items():
        name = f"{prefix}{whole}"
        if f"{name}.lora_A.weight" not in rest or f"{name}.lora_B.weight" not in rest:
            continue
        a, b = rest.pop(f"{name}.lora_A.weight"), rest.pop(f"{name}.lora_B.weight")
        alpha, scale = rest.pop(f"{name}.alpha", None), rest.pop(f"{name}.dora_scale", None)
        rows = [outputs for _, outputs in parts]
        scaled = b if alpha is None else b.float() * (float(alpha) / a.shape[0])
        rank = _block_rank(b, rows)
        for at, ((part, _), own_rows) in enumerate(zip(parts, torch.split(scaled, rows), strict=True)):
            block = slice(None) if rank is None else slice(at * rank, (at + 1) * rank)
            if scale is not None:
                rest[f"{name}:{part}.dora_scale"] = torch.split(scale, rows)[at]
            # fuse_parts filled a part that is not adapted with zeros.
            if rank is not None and not own_rows.any() and not a[block].any():
                continue
            rest[f"{name}:{part}.lora_A.weight"] = a[block]
            rest[f"{name}:{part}.lora_B.weight"] = own_rows[:, block]
    return rest


def _block_rank(b: Tensor, rows: list[int]) -> int | None:
    """Return the rank of each block when ``b`` is block-diagonal with equal ranks, else None.

    Args:
        b: of a fused layer, (outputs, rank).
        rows: outputs of each part.
    """
    if b.shape[1] % len(rows):
        return None
    rank = b.shape[1] // len(rows)
    blocks = [torch.ones(count, rank, dtype=torch.bool) for count in rows]
    outside = ~torch.block_diag(*blocks)  # type: ignore[no-untyped-call]
    return None if bool(b[outside].any()) else rank
