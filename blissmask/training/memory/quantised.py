"""Frozen linear weights in 8 bits, int8 or float8, with one scale per output.

    weight = stored * scale          stored (outputs, inputs), scale (outputs, 1)

A weight exists in full only while its layer runs. Only weights are rounded, never inputs or gradients. The backward
pass computes the weight again: if autograd kept it from the forward pass, the weights of all layers together would be
the whole model in full.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blissmask.errors import ModelError
from blissmask.families.protocol import Denoiser
from blissmask.training.memory.blocks import repeated_blocks

INT8, FLOAT8 = torch.int8, torch.float8_e4m3fn
_LARGEST = {INT8: 127.0, FLOAT8: 448.0}
"""The largest number of each format; int8 is used symmetrically, without -128."""


class QuantisedLinear(nn.Module):
    """A frozen ``nn.Linear`` whose weight is kept in 8 bits.

    Attributes:
        stored: the weight divided by ``scale``, (outputs, inputs), int8 or float8.
        scale: of each output, (outputs, 1), in the precision in which the layer computes.
        bias: that of the linear layer.
    """

    def __init__(self, linear: nn.Linear, storage: torch.dtype) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        stored, scale = quantise(linear.weight.detach(), storage)
        # Parameters rather than buffers, so that block swap and sharding move them like any frozen weight.
        self.stored = nn.Parameter(stored, requires_grad=False)
        self.scale = nn.Parameter(scale, requires_grad=False)
        self.bias = linear.bias

    @property
    def weight(self) -> Tensor:
        """The weight with which the layer computes, (outputs, inputs); DoRA takes its norm."""
        return dequantise(self.stored, self.scale)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return what ``nn.Linear`` would with the rounded weight; only ``inputs`` gets a gradient."""
        result: Tensor = _Product.apply(inputs, self.stored, self.scale, self.bias)  # type: ignore[no-untyped-call]
        return result


def quantise_blocks(denoiser: Denoiser, storage: torch.dtype, *, device: torch.device) -> None:
    """Keep the frozen linear weights of the repeated blocks in 8 bits.

    Norms, embeddings and the output layer stay as they are, as in musubi-tuner. The LoRA layers stay, too; they must be
    there already, since peft adapts no layer of another class.

    Args:
        denoiser: its ``module`` is changed in place.
        storage: ``INT8`` or ``FLOAT8``.
        device: where to compute. The results go back to where the weights were, so the model may be larger than the
            device.

    Raises:
        ModelError: a weight holds NaN or infinity.
    """
    for block_name, block in repeated_blocks(denoiser).items():
        frozen = [
            (name, layer)
            for name, layer in block.named_modules()
            if isinstance(layer, nn.Linear) and "lora_" not in name
        ]
        for name, layer in frozen:
            kept_on = layer.weight.device
            quantised = QuantisedLinear(layer.to(device), storage).to(kept_on)
            if not bool(torch.isfinite(quantised.scale).all()):
                raise ModelError(
                    f"`{block_name}.{name}.weight` holds NaN or infinity", fix="download or copy the model file again"
                )
            parent, _, child = name.rpartition(".")
            setattr(block.get_submodule(parent), child, quantised)


def quantise(weight: Tensor, storage: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return (stored, scale) of a weight (outputs, inputs).

    The largest value of each output becomes the largest number of ``storage``.
    """
    largest = weight.abs().amax(dim=1, keepdim=True) / _LARGEST[storage]
    # An output whose weights are all 0 may have any scale but 0, which would divide 0 by 0.
    scale = torch.where(largest == 0, 1.0, largest)
    # The weight is divided by the scale in the precision in which it is kept, so the scale's rounding costs nothing.
    levels = (weight.float() / scale.float()).clamp(-_LARGEST[storage], _LARGEST[storage])
    if storage == INT8:
        levels = levels.round()
    return levels.to(storage), scale


def dequantise(stored: Tensor, scale: Tensor) -> Tensor:
    """Return the weight (outputs, inputs) in the precision of ``scale``."""
    return stored.to(scale.dtype) * scale


class _Product(torch.autograd.Function):
    """``F.linear`` with a weight that the backward pass computes again instead of keeping it."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, stored: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(stored, scale)
        return F.linear(inputs, dequantise(stored, scale), bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        return gradients[0] @ dequantise(*ctx.saved_tensors), None, None, None
