"""The parts of Qwen-Image and its Edit models in miniature, beside Qwen2.5-VL's own."""

from __future__ import annotations

from typing import Any

from blissmask.families.encoders import qwen_vl

# A million pixels take a miniature's vision tower seconds each.
_PICTURE_AREA = 64 * 64


def vae() -> Any:
    """Return an ``AutoencoderKLQwenImage``: 16 channels, stride 8."""
    from diffusers import AutoencoderKLQwenImage

    return AutoencoderKLQwenImage(base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1)


def text_encoder() -> Any:
    """Return a miniature ``Qwen2_5_VLModel`` whose configuration asks for small pictures."""
    model = qwen_vl.tiny()
    model.config.picture_area = _PICTURE_AREA
    return model


def denoiser(*, zero_time: bool = False) -> Any:
    """Return a two-block ``QwenImageTransformer2DModel``; ``zero_time`` as in Edit-2511."""
    from diffusers import QwenImageTransformer2DModel

    return QwenImageTransformer2DModel(
        num_layers=2,
        attention_head_dim=128,
        num_attention_heads=1,
        joint_attention_dim=qwen_vl.TINY_WIDTH,
        axes_dims_rope=(16, 56, 56),
        zero_cond_t=zero_time,
    )


def denoiser_2511() -> Any:
    """Return :func:`denoiser` as in Edit-2511, where control pictures get timestep 0."""
    return denoiser(zero_time=True)
