"""Hold every LoRA layer's update below a size: what grows without bound remembers single pictures.

An update is ``scale * B @ A``, its size the Frobenius norm, as in sd-scripts and musubi-tuner: where it is too large, A
and B both shrink by the square root of what it takes. That depends on the weights alone, so a resumed run does the
same.
"""

from __future__ import annotations

import torch
from torch import Tensor

from blissmask.training.lora.layers import ADAPTER, Lora


@torch.no_grad()
def limit_norms(lora: Lora, limit: float) -> dict[str, Tensor]:
    """Shrink the layers whose update is larger than ``limit``, in place; nothing waits for the device.

    Args:
        lora: of kind ``lora``; it has at least one layer.
        limit: > 0.

    Returns:
        Over all layers: ``norm/mean`` and ``norm/max`` of the updates after it, and ``norm/limited``, how many were
            shrunk.
    """
    norms = []
    for _, layer in sorted(lora.layers.items()):
        a_rI, b_Or = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
        norm = lora.shape.scaling * product_norm(a_rI, b_Or)
        # A layer of zeros gives infinity here, which the clamp makes 1.
        shrink = (limit / norm).clamp(max=1.0).sqrt()
        a_rI.mul_(shrink)
        b_Or.mul_(shrink)
        norms.append(norm)
    before = torch.stack(norms)
    after = before.clamp(max=limit)
    return {"norm/mean": after.mean(), "norm/max": after.max(), "norm/limited": (before > limit).sum()}


def product_norm(a_rI: Tensor, b_Or: Tensor) -> Tensor:
    """Return the Frobenius norm of ``B @ A`` from two matrices of the rank's size, since the product has that of the layer.

    Args:
        a_rI: A, (rank, inputs).
        b_Or: B, (outputs, rank).
    """
    return ((a_rI @ a_rI.T) * (b_Or.T @ b_Or)).sum().clamp(min=0.0).sqrt()
