"""The size of a Wan VAE from the shapes of its tensors, and the constants that no tensor holds."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from blissmask.families.files.stored_tensors import Tensors, count_of, shape_of

_DOWN = "encoder.down_blocks."
# Mean and deviation of TI2V-5B's 48 latent channels; those of the 16 channels are diffusers' defaults.
# Source: the model card's vae/config.json, also in diffusers' scripts/convert_wan_to_diffusers.py.
# fmt: off
_MEAN_48 = [
    -0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557, -0.1382, 0.0542, 0.2813, 0.0891,
    0.1570, -0.0098, 0.0375, -0.1825, -0.2246, -0.1207, -0.0698, 0.5109, 0.2665, -0.2108, -0.2158, 0.2502,
    -0.2055, -0.0322, 0.1109, 0.1567, -0.0729, 0.0899, -0.2799, -0.1230, -0.0313, -0.1649, 0.0117, 0.0723,
    -0.2839, -0.2083, -0.0520, 0.3748, 0.0152, 0.1957, 0.1433, -0.2944, 0.3573, -0.0548, -0.1681, -0.0667,
]
_STD_48 = [
    0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.4990, 0.4818, 0.5013, 0.8158, 1.0344, 0.5894, 1.0901,
    0.6885, 0.6165, 0.8454, 0.4978, 0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659,
    0.7069, 0.5338, 0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093, 0.5709, 0.6065, 0.6415, 0.4944,
    0.5726, 1.2042, 0.5458, 1.6887, 0.3971, 1.0600, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744,
]
# fmt: on


def vae_config(tensors: Tensors, path: Path) -> dict[str, Any]:
    """Return the arguments of ``AutoencoderKLWan`` that fit ``tensors`` (diffusers names)."""
    shape = partial(shape_of, tensors, source=path, kind="Wan VAE")
    base_dim, in_channels = shape("encoder.conv_in.weight")[:2]
    z_dim = shape("quant_conv.weight")[0] // 2
    is_residual = f"{_DOWN}0.resnets.0.conv1.weight" in tensors
    stages = _nested(tensors) if is_residual else _flat(tensors)
    widths = stages.pop("widths")
    config = {"base_dim": base_dim, "z_dim": z_dim, "dim_mult": [width // base_dim for width in widths], **stages}
    if is_residual:
        patch = round((in_channels / 3) ** 0.5)
        config |= {
            "is_residual": True,
            "in_channels": in_channels,
            "out_channels": in_channels,
            "patch_size": patch,
            "scale_factor_spatial": 8 * patch,
            "decoder_base_dim": _decoder_width(tensors, config["dim_mult"][-1], base_dim),
        }
    if z_dim == len(_MEAN_48):
        config |= {"latents_mean": _MEAN_48, "latents_std": _STD_48}
    return config


def _flat(tensors: Tensors) -> dict[str, Any]:
    """Read the Wan 2.1 encoder: residual blocks and down-samplers in one list."""
    widths: list[int] = []
    temporal: list[bool] = []
    blocks_of_first_stage = 0
    new_stage = True
    for index in range(count_of(tensors, _DOWN)):
        convolution = tensors.get(f"{_DOWN}{index}.conv1.weight")
        if convolution is None:
            temporal.append(f"{_DOWN}{index}.time_conv.weight" in tensors)
            new_stage = True
            continue
        if not temporal:
            blocks_of_first_stage += 1
        if new_stage:
            widths.append(convolution.shape[0])
        new_stage = False
    return {"widths": widths, "temperal_downsample": temporal, "num_res_blocks": blocks_of_first_stage}


def _nested(tensors: Tensors) -> dict[str, Any]:
    """Read the Wan 2.2 encoder: one block per resolution."""
    stages = range(count_of(tensors, _DOWN))
    widths = [tensors[f"{_DOWN}{stage}.resnets.0.conv1.weight"].shape[0] for stage in stages]
    temporal = [f"{_DOWN}{stage}.downsampler.time_conv.weight" in tensors for stage in stages[:-1]]
    blocks = count_of(tensors, f"{_DOWN}0.resnets.")
    return {"widths": widths, "temperal_downsample": temporal, "num_res_blocks": blocks}


def _decoder_width(tensors: Tensors, last_mult: int, base_dim: int) -> int:
    decoder_in = tensors.get("decoder.conv_in.weight")
    return base_dim if decoder_in is None else decoder_in.shape[0] // last_mult
