"""The precision in which LoRA layers compute.

Weights, gradients and optimiser are always float32. peft also converts the input of each layer to float32. That keeps a
second copy of the input for the backward pass, twice as large as the first, and leaves a GPU's fast units idle. On a
bfloat16 base the adapters therefore compute in bfloat16, as the layers that they adapt do. A block of a 1.3B video
model then keeps 66 bytes per token and width instead of 100. The gradient stays as close to that of a float32 model,
since the rounding of the base decides: 0.8 instead of 0.7 percent away, and 1.1 instead of 1.0, in the miniatures of
two video families (``tests/integration/train/memory/test_precision.py`` holds the bound). DoRA computes in float32,
because it divides by norms of the weights, whose rounding every output would show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer


def compute_like_base(layers: Iterable[BaseTunerLayer]) -> None:
    """Let LoKr and LoHa of bfloat16 layers compute in bfloat16; others stay as they are.

    Call it before weights are quantised: afterwards their dtype is that of the storage.
    """
    for layer in layers:
        if layer.get_base_layer().weight.dtype == torch.bfloat16:
            layer.cast_input_dtype_enabled = False
            layer.forward = _in_bfloat16(layer.forward)


def _in_bfloat16(forward: Callable[..., Any]) -> Callable[..., Any]:
    def compute(inputs: torch.Tensor, *rest: Any, **options: Any) -> Any:
        # Autocast surrounds this layer alone. Norms, modulation and time embeddings are float32 on purpose, and
        # autocast around the model would round what they multiply.
        with torch.autocast(inputs.device.type, torch.bfloat16):
            return forward(inputs, *rest, **options)

    return compute
