"""The bytes that the memory estimate multiplies by tokens and width are those that a block keeps."""

import pytest
import torch
from diffusers import WanTransformer3DModel

from blissmask.families.files.loading import place
from blissmask.families.wan.denoiser import WanDenoiser
from blissmask.training.lora.layers.inject import inject_lora
from blissmask.training.lora.layers.lora import LoraShape
from blissmask.training.memory.estimate import _KEPT, _KEPT_DORA


def kept_bytes(tokens, dtype, **shape):
    """Return what autograd keeps of one block of the proportions of Wan 1.3B, with LoRA."""
    width = 256
    module = WanTransformer3DModel(
        num_attention_heads=2, attention_head_dim=128, text_dim=32, freq_dim=32, ffn_dim=1492, num_layers=1
    )
    denoiser = WanDenoiser(place(module, device=torch.device("cpu"), dtype=dtype), identity="", dtype=dtype)
    inject_lora(denoiser, LoraShape(rank=4, alpha=4.0, **shape), seed=0)
    rows = torch.randn(1, tokens, width, dtype=dtype, requires_grad=True)
    text, time = torch.randn(1, 8, width, dtype=dtype), torch.randn(1, 6, width)
    rotary = module.rope(torch.zeros(1, 16, tokens // 64, 16, 16))
    weights = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = module.blocks[0](rows, text, time, rotary)
    assert out.requires_grad
    return sum(size for size, _ in kept.values())


@pytest.mark.parametrize(
    ("dtype", "shape", "estimated"),
    [(torch.bfloat16, {}, _KEPT[2]), (torch.float32, {}, _KEPT[4]), (torch.bfloat16, {"dora": True}, _KEPT_DORA)],
    ids=["bfloat16", "float32", "dora"],
)
def test_a_block_keeps_what_the_estimate_takes_it_for(dtype, shape, estimated):
    more, fewer = (kept_bytes(tokens, dtype, **shape) for tokens in (512, 256))
    assert (more - fewer) / 256 / 256 == pytest.approx(estimated, rel=0.1)
