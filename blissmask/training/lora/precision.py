"""In which precision adapters compute.

Their weights, gradients and optimiser are always float32. peft also brings each layer's input to float32, which keeps a
second copy of it for the backward pass, twice as large as the first, and leaves a GPU's fast units idle. On a bfloat16
base they compute in bfloat16, as the layer that they adapt does: 66 bytes per token and width of a Wan block instead of
100. The gradient is as far from that of a float32 model as before, since the base's own rounding decides: 0.8 instead
of 0.7 percent for Wan, 1.1 instead of 1.0 for HunyuanVideo, in miniature.

DoRA stays in float32: it divides by norms of the weights, whose rounding every output would show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer


def compute_like_base(layers: Iterable[BaseTunerLayer]) -> None:
    """Let the adapters of bfloat16 layers compute in bfloat16; others stay as they are.

    Call before weights are quantised.
    """
    for layer in layers:
        if layer.get_base_layer().weight.dtype == torch.bfloat16:
            layer.cast_input_dtype_enabled = False
            layer.forward = _in_bfloat16(layer.forward)


def measure_norms(layers: Iterable[BaseTunerLayer]) -> None:
    """Take DoRA's norms again, in float32: those that peft took of 16-bit weights are rounded, and scale every output by up to 0.4 percent.

    Args:
        layers: whose update is still zero.
    """
    with torch.no_grad():
        for layer in layers:
            weight = layer.get_base_layer().weight
            for magnitude in layer.lora_magnitude_vector.values():
                magnitude.weight.copy_(torch.linalg.norm(weight.float(), dim=1))


def _in_bfloat16(forward: Callable[..., Any]) -> Callable[..., Any]:
    def compute(inputs: torch.Tensor, *rest: Any, **options: Any) -> Any:
        # Around the layer alone: norms, modulation and time embeddings are float32 on purpose, and autocast would round
        # what they multiply.
        with torch.autocast(inputs.device.type, torch.bfloat16):
            return forward(inputs, *rest, **options)

    return compute
