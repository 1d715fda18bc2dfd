"""Frozen linear weights in 8 bits, int8 or float8, with one scale per output; or in 4, NF4, by bitsandbytes.

    weight = stored * scale          stored (outputs, inputs), scale (outputs, 1)

NF4 has one of 16 levels for each weight, two of them in a byte, and a scale for 64 weights in a row: 4-bit NormalFloat
of QLoRA (arXiv 2305.14314), without its second rounding of the scales, which would save 3 % of it.

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

INT8, FLOAT8, NF4 = torch.int8, torch.float8_e4m3fn, torch.uint8
"""How weights are stored; bytes without a sign hold two weights of 4 bits."""
NF4_BLOCK = 64
"""Weights that share a scale: the block of QLoRA, and the default of bitsandbytes."""
_LARGEST = {INT8: 127.0, FLOAT8: 448.0}
"""The largest number of each format; int8 is used symmetrically, without -128."""


class QuantisedLinear(nn.Module):
    """A frozen ``nn.Linear`` whose weight is kept in 8 or 4 bits.

    Attributes:
        stored: the weight divided by ``scale``, (outputs, inputs), int8 or float8; for NF4 (outputs, inputs / 2).
        scale: of each output, (outputs, 1), or for NF4 of each block, in the precision in which the layer computes.
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
    """Keep the frozen linear weights of the repeated blocks in 8 or 4 bits.

    Norms, embeddings and the output layer stay as they are, as in musubi-tuner. The LoRA layers stay, too; they must be
    there already, since peft adapts no layer of another class.

    Args:
        denoiser: its ``module`` is changed in place.
        storage: ``INT8``, ``FLOAT8`` or ``NF4``. A layer with an odd number of inputs stays as it is in NF4.
        device: where to compute. The results go back to where the weights were, so the model may be larger than the
            device.

    Raises:
        ModelError: a weight holds NaN or infinity.
    """
    for block_name, block in repeated_blocks(denoiser).items():
        frozen = [
            (name, layer)
            for name, layer in block.named_modules()
            if isinstance(layer, nn.Linear) and "lora_" not in name and not (storage == NF4 and layer.in_features % 2)
        ]
        for name, layer in frozen:
            kept_on = layer.weight.device
            # Not the scales: whether the largest of a block with NaN is NaN depends on the device.
            if not all(torch.isfinite(end) for end in torch.aminmax(layer.to(device).weight)):
                raise ModelError(
                    f"`{block_name}.{name}.weight` holds NaN or infinity", fix="download or copy the model file again"
                )
            quantised = QuantisedLinear(layer, storage).to(kept_on)
            parent, _, child = name.rpartition(".")
            setattr(block.get_submodule(parent), child, quantised)


def quantise(weight: Tensor, storage: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return (stored, scale) of a weight (outputs, inputs).

    The largest value of each output, or of each block, becomes the largest number of ``storage``.
    """
    if storage == NF4:
        return _quantise_nf4(weight)
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
    if stored.dtype == NF4:
        return _dequantise_nf4(stored, scale)
    return stored.to(scale.dtype) * scale


def _quantise_nf4(weight: Tensor) -> tuple[Tensor, Tensor]:
    from bitsandbytes.functional import quantize_4bit

    packed, state = quantize_4bit(weight.contiguous(), blocksize=NF4_BLOCK, quant_type="nf4", compress_statistics=False)
    return packed.view(len(weight), -1), state.absmax.to(weight.dtype)


def _dequantise_nf4(stored: Tensor, scale: Tensor) -> Tensor:
    from bitsandbytes.functional import QuantState, dequantize_4bit

    outputs, pairs = stored.shape
    # As one row: blocks go across outputs, and on a CPU bitsandbytes 0.50 begins a new one with each row.
    row = torch.Size((1, outputs * 2 * pairs))
    state = QuantState(scale.float(), shape=row, dtype=scale.dtype, blocksize=NF4_BLOCK, quant_type="nf4")
    weight: Tensor = dequantize_4bit(stored.view(-1, 1), state).view(outputs, 2 * pairs)
    return weight


class _Product(torch.autograd.Function):
    """``F.linear`` with a weight that the backward pass computes again instead of keeping it."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, stored: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(stored, scale)
        return F.linear(inputs, dequantise(stored, scale), bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        return gradients[0] @ dequantise(*ctx.saved_tensors), None, None, None
