"""``AutoencoderKL`` in LDM's names and in diffusers': every name and shape is mapped, and the pictures stay the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from blissmask.families.files.loading import build_empty
from blissmask.families.files.stored_tensors import StoredTensor
from blissmask.families.protocol import LatentSpec
from blissmask.families.vae import kl
from tests.builders.single_files import stored_shapes

# The VAE of FLUX.1 (`ae.safetensors`), which Z-Image uses: 16 channels, no quant convolutions.
FULL = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 16,
}
# A line of each kind of `ae.safetensors`, with its shape.
PUBLISHED = {
    "encoder.conv_in.weight": (128, 3, 3, 3),
    "encoder.down.0.block.1.conv2.weight": (128, 128, 3, 3),
    "encoder.down.1.block.0.nin_shortcut.weight": (256, 128, 1, 1),
    "encoder.down.2.downsample.conv.bias": (512,),
    "encoder.mid.block_2.norm1.weight": (512,),
    "encoder.mid.attn_1.q.weight": (512, 512, 1, 1),
    "encoder.mid.attn_1.proj_out.bias": (512,),
    "encoder.norm_out.bias": (512,),
    "encoder.conv_out.weight": (32, 512, 3, 3),
    "decoder.mid.attn_1.norm.weight": (512,),
    "decoder.up.0.block.0.nin_shortcut.weight": (128, 256, 1, 1),
    "decoder.up.1.block.0.nin_shortcut.weight": (256, 512, 1, 1),
    "decoder.up.3.block.2.conv1.weight": (512, 512, 3, 3),
    "decoder.up.1.upsample.conv.weight": (256, 256, 3, 3),
    "decoder.conv_out.weight": (3, 128, 3, 3),
}


def full(*, quant: bool):
    from diffusers import AutoencoderKL

    return build_empty(lambda: AutoencoderKL(**FULL, use_quant_conv=quant, use_post_quant_conv=quant))


def in_ldm_layout(tensors):
    """Return a VAE's tensors as LDM's files hold them: their names, and 1x1 convolutions in the middle."""
    names = kl.ldm_names(4)
    stored = {}
    for name, tensor in tensors.items():
        is_linear = re.search(r"attentions\.0\.to_.*weight", name)
        shape = (*tensor.shape, 1, 1) if is_linear else tensor.shape
        stored[names.to_original(name)] = StoredTensor(shape, tensor.reshaped(shape).read)
    return stored


@pytest.mark.parametrize("quant", [False, True])
def test_every_name_and_shape_of_a_full_size_file_is_mapped_and_none_is_left(quant):
    made = full(quant=quant)
    stored = in_ldm_layout(stored_shapes(made))
    assert {name: stored[name].shape for name in PUBLISHED} == PUBLISHED
    assert ("encoder.quant_conv.weight" in stored) == quant
    assert not [name for name in stored if re.search("_block|resnets|samplers|conv_shortcut|attentions", name)]
    renamed = kl.rename(stored)
    assert {name: tensor.shape for name, tensor in renamed.items()} == {
        name: tuple(tensor.shape) for name, tensor in made.state_dict().items()
    }
    config = kl.config_of(renamed, Path("ae.safetensors"))
    assert config == {**FULL, "use_quant_conv": quant, "use_post_quant_conv": quant}
    # A file that has diffusers' names keeps them.
    assert kl.rename(renamed) == renamed


def test_the_encoder_gives_the_mode_of_a_picture_as_diffusers_does():
    from diffusers import AutoencoderKL

    sizes = {**FULL, "block_out_channels": (32, 32, 32, 32), "layers_per_block": 1}
    vae = AutoencoderKL(**sizes, use_quant_conv=False, use_post_quant_conv=False).eval()
    latent = LatentSpec(channels=16, spatial_stride=8, temporal_stride=4, grid_multiple=16)
    pixels = torch.rand(2, 3, 1, 32, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        expected_BCHW = vae.encode(pixels[:, :, 0]).latent_dist.mode()
    found = kl.KlVaeEncoder(vae, latent).encode(pixels)
    assert found.shape == (2, 16, 1, 4, 6)
    torch.testing.assert_close(found[:, :, 0], expected_BCHW, rtol=0, atol=1e-6)
    for wrong in (pixels[..., :-4], pixels.expand(-1, -1, 3, -1, -1)):
        with pytest.raises(ValueError, match="must be"):
            kl.KlVaeEncoder(vae, latent).encode(wrong)
