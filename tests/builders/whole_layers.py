"""A file with a LoKr of a fused layer as a whole, and the names of such a layer."""

import torch
from torch import Tensor

from blissmask.training.lora.names import LayerNames

NATIVE, KOHYA, DIFFUSERS = "diffusion_model.blocks.0.qkv", "lora_unet_blocks_0_qkv", "transformer.blocks.0.qkv"
MODULES = {f"blocks.0.qkv:{part}": f"blocks.0.to_{part}" for part in "qkv"}
FUSED = LayerNames(MODULES, {"blocks.0.qkv": ("q", "k", "v")}, apart={}, native_alpha=True)
APART = LayerNames(MODULES, FUSED.fused, {f"blocks.0.qkv:{part}": f"blocks.0.{part}" for part in "qkv"}, True)
REFUSED = r"^`blocks\.0\.qkv` would have to be taken apart, and LoKr and LoHa of it cannot be$"


def whole(layer: str) -> dict[str, Tensor]:
    """Return the tensors of a LoKr of the layer, in one of its spellings."""
    return {
        f"{layer}.lokr_w1": torch.ones(3, 1),
        f"{layer}.lokr_w2": torch.ones(4, 4),
        f"{layer}.alpha": torch.ones(()),
    }
