"""Load the VAEs of Wan 2.1, Wan 2.2 (TI2V-5B) and, being the same network as 2.1, Qwen-Image.

Files come in two layouts, the original repositories' (ComfyUI keeps it) and diffusers'; sizes are read from the
tensors.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from blissmask.families.files.loading import build_empty, load_weights
from blissmask.families.files.stored_tensors import Tensors, count_of, shape_of
from blissmask.families.files.tensor_files import open_checkpoint
from blissmask.families.wan import names

_KIND = "Wan VAE"
_DECODER = ("decoder.", "post_quant_conv.")
_DOWN = "encoder.down_blocks."
# Mean and deviation of TI2V-5B's 48 latent channels; those of the 16 channels are diffusers' defaults.
# Source: the model card's vae/config.json, also in diffusers' scripts/convert_wan_to_diffusers.py.
_MEAN_48 = [
    *(-0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557, -0.1382, 0.0542, 0.2813, 0.0891),
    *(0.1570, -0.0098, 0.0375, -0.1825, -0.2246, -0.1207, -0.0698, 0.5109, 0.2665, -0.2108, -0.2158, 0.2502),
    *(-0.2055, -0.0322, 0.1109, 0.1567, -0.0729, 0.0899, -0.2799, -0.1230, -0.0313, -0.1649, 0.0117, 0.0723),
    *(-0.2839, -0.2083, -0.0520, 0.3748, 0.0152, 0.1957, 0.1433, -0.2944, 0.3573, -0.0548, -0.1681, -0.0667),
]
_STD_48 = [
    *(0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.4990, 0.4818, 0.5013, 0.8158, 1.0344, 0.5894, 1.0901),
    *(0.6885, 0.6165, 0.8454, 0.4978, 0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659),
    *(0.7069, 0.5338, 0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093, 0.5709, 0.6065, 0.6415, 0.4944),
    *(0.5726, 1.2042, 0.5458, 1.6887, 0.3971, 1.0600, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744),
]


def load_vae(
    path: Path, *, device: torch.device, dtype: torch.dtype, class_name: str = "AutoencoderKLWan", decoder: bool = False
) -> nn.Module:
    """Load a VAE from a single file; without its decoder unless asked for.

    Args:
        path: the file.
        device: where the weights go.
        dtype: what they become.
        class_name: ``AutoencoderKLWan``, or ``AutoencoderKLQwenImage``, which has the same network.
        decoder: whether to load the decoder too, for previews.

    Raises:
        ModelError: the file is damaged, no VAE of this kind, or lacks keys.
    """
    import diffusers

    tensors = in_diffusers_names(open_checkpoint(path))
    config = config_of(tensors, path)
    vae = build_empty(lambda: getattr(diffusers, class_name)(**config))
    if not decoder:
        drop_decoder(vae)
    return load_weights(vae, tensors, source=path, device=device, dtype=dtype, ignore=() if decoder else _DECODER)


def drop_decoder(vae: Any) -> Any:
    """Remove the half of ``vae`` that encoding never runs, more than half of its memory."""
    # Empty modules instead of None: the VAE counts convolutions in its decoder before it encodes.
    vae.decoder, vae.post_quant_conv = nn.Module(), nn.Module()
    return vae


def in_diffusers_names(tensors: Tensors) -> Tensors:
    """Return the tensors of a Wan VAE under diffusers' names, whichever layout they came in."""
    tensors = {name.removeprefix("vae."): tensor for name, tensor in tensors.items()}
    if "encoder.conv1.weight" not in tensors:
        return tensors
    nested = count_of(tensors, "encoder.downsamples.0.downsamples.")
    if nested:
        stages = count_of(tensors, "encoder.downsamples.")
        residual = sum(f"encoder.downsamples.0.downsamples.{i}.residual.2.weight" in tensors for i in range(nested))
        return names.wan22_vae(stages, residual).rename(tensors)
    flat = [
        f"encoder.downsamples.{i}.residual.2.weight" in tensors
        for i in range(count_of(tensors, "encoder.downsamples."))
    ]
    return names.wan21_vae(flat.count(False) + 1, flat.index(False)).rename(tensors)


def config_of(tensors: Tensors, path: Path) -> dict[str, Any]:
    """Return the arguments of ``AutoencoderKLWan`` that fit ``tensors`` (diffusers names)."""
    base_dim, in_channels = shape_of(tensors, "encoder.conv_in.weight", source=path, kind=_KIND)[:2]
    z_dim = shape_of(tensors, "quant_conv.weight", source=path, kind=_KIND)[0] // 2
    stages = _nested(tensors) if f"{_DOWN}0.resnets.0.conv1.weight" in tensors else _flat(tensors)
    config = {"base_dim": base_dim, "z_dim": z_dim, **stages}
    config["dim_mult"] = [width // base_dim for width in config["dim_mult"]]
    if config.get("is_residual"):
        patch = round((in_channels / 3) ** 0.5)
        config |= {
            "in_channels": in_channels,
            "out_channels": in_channels,
            "patch_size": patch,
            "scale_factor_spatial": 8 * patch,
        }
        config["decoder_base_dim"] = _decoder_width(tensors, config["dim_mult"][-1], base_dim)
    if z_dim == len(_MEAN_48):
        config |= {"latents_mean": _MEAN_48, "latents_std": _STD_48}
    return config


def _flat(tensors: Tensors) -> dict[str, Any]:
    """Read the Wan 2.1 encoder: residual blocks and down-samplers in one list. Widths stand for multipliers."""
    widths: list[int] = []
    temporal: list[bool] = []
    blocks = 0
    new_stage = True
    for index in range(count_of(tensors, _DOWN)):
        if convolution := tensors.get(f"{_DOWN}{index}.conv1.weight"):
            blocks += not temporal
            if new_stage:
                widths.append(convolution.shape[0])
            new_stage = False
        else:
            temporal.append(f"{_DOWN}{index}.time_conv.weight" in tensors)
            new_stage = True
    return {"dim_mult": widths, "temperal_downsample": temporal, "num_res_blocks": blocks}


def _nested(tensors: Tensors) -> dict[str, Any]:
    """Read the Wan 2.2 encoder: one block per resolution. Widths stand for multipliers."""
    stages = range(count_of(tensors, _DOWN))
    widths = [tensors[f"{_DOWN}{stage}.resnets.0.conv1.weight"].shape[0] for stage in stages]
    temporal = [f"{_DOWN}{stage}.downsampler.time_conv.weight" in tensors for stage in stages[:-1]]
    blocks = count_of(tensors, f"{_DOWN}0.resnets.")
    return {"dim_mult": widths, "temperal_downsample": temporal, "num_res_blocks": blocks, "is_residual": True}


def _decoder_width(tensors: Tensors, last_mult: int, base_dim: int) -> int:
    decoder_in = tensors.get("decoder.conv_in.weight")
    return decoder_in.shape[0] // last_mult if decoder_in else base_dim
