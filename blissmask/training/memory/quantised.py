"""Frozen linear weights in 8 bits, int8 or float8, with one scale per output; each is brought back while its layer runs.

    weight = stored * scale          stored (outputs, inputs), scale (outputs, 1)

Only weights are rounded, never inputs or gradients. The backward pass makes a weight again from what is stored: what
autograd would keep of it lives from one pass to the other, and all layers together would be the whole model in full.
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


class QuantisedLinear(nn.Module):
    """A frozen ``nn.Linear`` whose weight is kept in 8 bits.

    Attributes:
        stored: the weight divided by ``scale``, (outputs, inputs), int8 or float8.
        scale: of each output, (outputs, 1), in the precision the layer computes in.
        bias: as it was.
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
        """The weight as it computes, (outputs, inputs); DoRA takes its norm."""
        return dequantise(self.stored, self.scale)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return what ``nn.Linear`` would with the rounded weight; only ``inputs`` gets a gradient."""
        result: Tensor = _Product.apply(inputs, self.stored, self.scale, self.bias)  # type: ignore[no-untyped-call]
        return result


def quantise_blocks(denoiser: Denoiser, storage: torch.dtype, *, device: torch.device) -> None:
    """Keep the frozen linear weights of the repeated blocks in 8 bits.

    Norms, embeddings and the output layer stay as they are, like in musubi-tuner, and so do the LoRA layers, which must
    be there already: peft puts none around a layer of another class.

    Args:
        denoiser: its ``module`` is changed in place.
        storage: ``INT8`` or ``FLOAT8``.
        device: where to compute; what comes of it stays where the weights were, so that a model larger than the device
            passes through.

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
            home = layer.weight.device
            quantised = QuantisedLinear(layer.to(device), storage).to(home)
            if not bool(torch.isfinite(quantised.scale).all()):
                raise ModelError(
                    f"`{block_name}.{name}.weight` holds NaN or infinity", fix="download or copy the model file again"
                )
            parent, _, child = name.rpartition(".")
            setattr(block.get_submodule(parent), child, quantised)


def quantise(weight: Tensor, storage: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return (stored, scale) of a weight (outputs, inputs): the largest value of each output takes the largest number of ``storage``."""
    largest = weight.abs().amax(dim=1, keepdim=True) / _LARGEST[storage]
    # Of an output without weights, any scale will do but 0.
    scale = torch.where(largest == 0, 1.0, largest)
    # Divided by the scale as it is kept, so that its own rounding costs nothing.
    levels = (weight.float() / scale.float()).clamp(-_LARGEST[storage], _LARGEST[storage])
    return (levels.round() if storage == INT8 else levels).to(storage), scale


def dequantise(stored: Tensor, scale: Tensor) -> Tensor:
    """Return the weight (outputs, inputs) in the precision of ``scale``."""
    return stored.to(scale.dtype) * scale


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, stored: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(stored, scale)
        return F.linear(inputs, dequantise(stored, scale), bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        return gradients[0] @ dequantise(*ctx.saved_tensors), None, None, None
