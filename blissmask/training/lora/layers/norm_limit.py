"""The limit of how large the update of a layer may become.

An update is ``scale * B @ A``, its size the Frobenius norm, as in sd-scripts and musubi-tuner. An update that grows
without bound memorises single pictures. Where it is too large, A and B are both multiplied by the square root of the
factor that brings it down. That depends on the weights alone, so a resumed run does the same.
"""

from __future__ import annotations

import torch
from torch import Tensor

from blissmask.training.lora.layers.lora import ADAPTER, Lora
from blissmask.training.lora.norms import product_norm


@torch.no_grad()
def limit_norms(lora: Lora, limit: float) -> dict[str, Tensor]:
    """Shrink the layers whose update is larger than ``limit``, in place, without waiting for the device.

    Args:
        lora: of kind ``lora``; it has at least one layer.
        limit: > 0.

    Returns:
        Over all layers: ``norm/mean`` and ``norm/max`` of the updates afterwards, and ``norm/limited``, the number of
        layers that were shrunk.
    """
    norms = []
    for _, layer in sorted(lora.layers.items()):
        a_rI, b_Or = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
        norm = lora.shape.scaling * product_norm(a_rI, b_Or)
        # A layer whose update is 0 gives infinity here, and the clamp makes that 1.
        shrink = (limit / norm).clamp(max=1.0).sqrt()
        a_rI.mul_(shrink)
        b_Or.mul_(shrink)
        norms.append(norm)
    before = torch.stack(norms)
    after = before.clamp(max=limit)
    return {"norm/mean": after.mean(), "norm/max": after.max(), "norm/limited": (before > limit).sum()}
