"""Options of `cache` and `train`: model files, the cache, the mask loss and the loop."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from blissmask.config.fields import Int, Number, Section, Switch, Text, option

_MODEL = "Model files"
_CACHE = "Cache"
_MASK = "Mask loss"
_LOOP = "Training"
_LORA = "LoRA"
_OPTIM = "Optimiser"
_TIME = "Timesteps"
_SAVE = "Saving"


class ModelSection(Section):
    """[model]: the family and its files."""

    arch: Text | None = option(None, "Model family", panel=_MODEL)
    task: Text | None = option(None, "What the model does, e.g. t2v or i2v; the family's first when not given", panel=_MODEL)
    model: Text | None = option(None, "A diffusers folder, a hub id, or `tiny` for a miniature with random weights", panel=_MODEL)
    vae: Path | None = option(None, "VAE file", panel=_MODEL)
    text_encoder: Path | None = option(None, "Text encoder file or folder", panel=_MODEL)
    tokenizer: Path | None = option(None, "Folder of the tokenizer", panel=_MODEL)
    dit: Path | None = option(None, "Denoiser file (low-noise expert where there are two)", panel=_MODEL)
    dit_high_noise: Path | None = option(None, "High-noise expert file", panel=_MODEL)
    image_encoder: Path | None = option(None, "Image encoder file of image-to-video models", panel=_MODEL)
    download: Switch = option(False, "Allow fetching a hub model from the network", panel=_MODEL)
    device: Text = option("auto", "Device to compute on: auto, cpu, cuda, cuda:1", panel=_MODEL)
    vae_dtype: Literal["float32", "bfloat16", "float16"] | None = option(None, "Precision of the VAE  [default: float32]", panel=_MODEL)


class CacheSection(Section):
    """[cache]: encode the data set once."""

    latents_only: Switch = option(False, "Encode pictures, leave captions", panel=_CACHE)
    text_only: Switch = option(False, "Encode captions, leave pictures", panel=_CACHE)
    one_frame: Switch = option(False, "One-frame training: control pictures and one target picture", panel=_CACHE)
    keep_cache: Switch = option(False, "Keep our cache files that no item needs any more", panel=_CACHE)
    empty_mask: Literal["warn", "error", "full"] = option("warn", "When a mask is zero everywhere", panel=_CACHE)
    skip_existing: Switch = option(False, "Accepted from musubi-tuner; fresh entries are always skipped", panel=_CACHE, hidden=True)


class MaskLossSection(Section):
    """[mask_loss]: how mask weights become loss weights."""

    use_mask_loss: Switch = option(False, "Weigh the loss by the masks in the cache", panel=_MASK)
    mask_gamma: Number = option(1.0, "Contrast of the weights: below 1 lifts body and hair, above 1 favours the face", panel=_MASK, gt=0)
    mask_min_weight: Number = option(0.0, "Floor: what a weight of 0 becomes", panel=_MASK, ge=0, lt=1)
    mask_loss_scale: Number = option(1.0, "No effect, since the weighted mean divides it out", panel=_MASK, gt=0, hidden=True)
    mask_mean: Literal["batch", "sample", "global"] = option(
        "batch", "Average over each micro-batch, over each item, or over the whole optimiser step", panel=_MASK
    )


class TrainSection(Section):
    """[train]: the loop and what it writes."""

    output_dir: Path | None = option(None, "Folder for the LoRA", panel=_SAVE)
    output_name: Text = option("lora", "Name of the LoRA file, without suffix", panel=_SAVE)
    save_every_n_steps: Int | None = option(None, "Also save every so many steps", panel=_SAVE, ge=1)
    max_train_steps: Int = option(1600, "Optimiser steps", panel=_LOOP, ge=1)
    gradient_accumulation_steps: Int = option(1, "Micro-batches per optimiser step", panel=_LOOP, ge=1)
    seed: Int = option(42, "Seed of everything random", panel=_LOOP, ge=0)
    expert: Text | None = option(None, "Which expert of a two-expert family to train  [default: low]", panel=_LOOP)
    network_dim: Int = option(32, "Rank of the LoRA", panel=_LORA, ge=1)
    network_alpha: Number | None = option(None, "LoRA scale is this divided by the rank  [default: the rank]", panel=_LORA, gt=0)
    learning_rate: Number = option(2e-4, "Learning rate", panel=_OPTIM, gt=0)
    weight_decay: Number = option(0.01, "Weight decay", panel=_OPTIM, ge=0)
    max_grad_norm: Number = option(1.0, "Clip the gradient to this norm; 0 turns clipping off", panel=_OPTIM, ge=0)
    timestep_sampling: Literal["shift", "sigmoid", "uniform"] = option("shift", "How noise levels are drawn", panel=_TIME)
    discrete_flow_shift: Number | None = option(None, "Shift of the noise levels  [default: the family's]", panel=_TIME, gt=0)
    sigmoid_scale: Number = option(1.0, "Width of the sigmoid and shift distributions", panel=_TIME, gt=0)
    min_timestep: Int | None = option(None, "Lowest noise level, 0 to 1000", panel=_TIME, ge=0, le=1000)
    max_timestep: Int | None = option(None, "Highest noise level, 0 to 1000", panel=_TIME, ge=0, le=1000)
