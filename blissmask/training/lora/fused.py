"""LoRA for layers that the original repository keeps in one: three small pairs become one pair, block by block, and come apart again.

    A (n * rank, inputs)     the parts' A, one under the other
    B (outputs, n * rank)    the parts' B along the diagonal, zero elsewhere

so that ``B @ A`` is exactly what the parts' own products are, one under the other. Parts that are not adapted get
zeros.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

FusedLayers = Mapping[str, tuple[tuple[str, int], ...]]
"""Original name of a fused layer -> its parts in the order of the output, each with its number of outputs."""

PART_ORDER = ("q", "k", "v", "mlp")
"""How the parts of a fused layer follow each other along its output."""


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
        whole: tuple(sorted(parts.items(), key=lambda part: PART_ORDER.index(part[0])))
        for whole, parts in found.items()
    }


def fuse_parts(tensors: Mapping[str, Tensor], fused: FusedLayers, *, prefix: str) -> dict[str, Tensor]:
    """Put the parts of fused layers together; the other tensors stay as they are.

    Args:
        tensors: native names, the scale already in B (the diffusers loader of these families refuses alpha).
        fused: see :func:`find_fused`.
        prefix: what native names begin with.
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
            # Parts of another trainer's layer, which had one A for all: together again they have the rank they had.
            rest[f"{prefix}{whole}.lora_A.weight"], rest[f"{prefix}{whole}.lora_B.weight"] = some_a, torch.cat(blocks)
        else:
            rest[f"{prefix}{whole}.lora_A.weight"] = torch.cat(
                [torch.zeros_like(some_a) if a is None else a for a in a_parts]
            )
            rest[f"{prefix}{whole}.lora_B.weight"] = torch.block_diag(*blocks)  # type: ignore[no-untyped-call]
        present = [scale for scale in scales if scale is not None]
        if present:
            rest[f"{prefix}{whole}.dora_scale"] = torch.cat(present)
    return rest


def split_parts(tensors: Mapping[str, Tensor], fused: FusedLayers, *, prefix: str) -> dict[str, Tensor]:
    """Take fused layers apart; the other tensors stay as they are. What :func:`fuse_parts` made comes back exactly.

    A file from another trainer, whose fused layer has one A for all parts, gives each part that A and its own rows of
    B.
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
        ranks = _block_ranks(b, rows)
        for at, ((part, _), own_rows) in enumerate(zip(parts, torch.split(scaled, rows), strict=True)):
            block = slice(None) if ranks is None else slice(at * ranks, (at + 1) * ranks)
            if ranks is not None and not own_rows.any() and not a[block].any():
                continue
            rest[f"{name}:{part}.lora_A.weight"] = a[block]
            rest[f"{name}:{part}.lora_B.weight"] = own_rows[:, block]
            if scale is not None:
                rest[f"{name}:{part}.dora_scale"] = torch.split(scale, rows)[at]
    return rest


def _block_ranks(b: Tensor, rows: list[int]) -> int | None:
    """Return the rank of each block when ``b`` is block-diagonal with equal ranks, else None."""
    if b.shape[1] % len(rows):
        return None
    rank = b.shape[1] // len(rows)
    blocks = [torch.ones(count, rank, dtype=torch.bool) for count in rows]
    outside = ~torch.block_diag(*blocks)  # type: ignore[no-untyped-call]
    return None if bool(b[outside].any()) else rank
