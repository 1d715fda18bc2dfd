"""Options of `cache` and `train`: model files, the cache, the mask loss and the loop."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator

from blissmask.config.fields import FilePath, Int, Number, Section, Switch, Text, option

_MODEL = "Model files"
_CACHE = "Cache"
_MASK = "Mask loss"
_LOOP = "Training"
_MEMORY = "Memory and speed"
_LORA = "LoRA"
_OPTIM = "Optimiser"
_TIME = "Timesteps"
_SAVE = "Saving"
_PREVIEW = "Previews"
_LOG = "Logging"


def _as_text(value: Any) -> Any:
    """Take the numbers that TOML writes without quotes as what they look like."""
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


_SHORT_DTYPES = {"fp32": "float32", "float": "float32", "bf16": "bfloat16", "fp16": "float16", "half": "float16"}


def _full_dtype(value: Any) -> Any:
    """Take musubi-tuner's short names of precisions."""
    return _SHORT_DTYPES.get(value, value) if isinstance(value, str) else value


def _refuse_zero(value: int) -> int:
    if value == 0:
        raise ValueError("must be -1 or >= 1")
    return value


def _plain_task(value: Any) -> Any:
    """Take musubi-tuner's names of tasks, which hold the size of the model: ``t2v-14B``, ``i2v-A14B``; here its file says it."""
    size = re.fullmatch(r"(t2v|i2v)-A?\d+(\.\d+)?B", value) if isinstance(value, str) else None
    return size[1] if size else value


Task = Annotated[Text, BeforeValidator(_plain_task)]
Factor = Annotated[Int, AfterValidator(_refuse_zero)]

Precision = Annotated[Literal["float32", "bfloat16", "float16"], BeforeValidator(_full_dtype)]

StepCount = Annotated[str, BeforeValidator(_as_text)]
"""Steps as a whole number, a fraction below 1 or a percentage: ``100``, ``0.05``, ``5%``."""


class ModelSection(Section):
    """[model]: the family and its files."""

    arch: Text | None = option(None, "Model family", panel=_MODEL)
    task: Task | None = option(
        None, "What the model does, e.g. t2v or i2v; the family's first when not given", panel=_MODEL
    )
    model: Text | None = option(
        None, "A diffusers folder, a hub id, or `tiny` for a miniature with random weights", panel=_MODEL
    )
    vae: FilePath | None = option(None, "VAE file", panel=_MODEL)
    text_encoder: FilePath | None = option(None, "Text encoder file or folder", panel=_MODEL)
    tokenizer: FilePath | None = option(None, "Folder of the tokenizer", panel=_MODEL)
    text_encoder_2: FilePath | None = option(
        None, "Second text encoder of HunyuanVideo: CLIP-L, byT5 for 1.5", panel=_MODEL
    )
    tokenizer_2: FilePath | None = option(None, "Folder of the second tokenizer", panel=_MODEL)
    dit: FilePath | None = option(None, "Denoiser file (low-noise expert where there are two)", panel=_MODEL)
    dit_high_noise: FilePath | None = option(None, "High-noise expert file", panel=_MODEL)
    image_encoder: FilePath | None = option(None, "Image encoder file of image-to-video models", panel=_MODEL)
    download: Switch = option(False, "Allow fetching a hub model from the network", panel=_MODEL)
    device: Text = option("auto", "Device to compute on: auto, cpu, cuda, cuda:1", panel=_MODEL)
    vae_dtype: Precision | None = option(None, "Precision of the VAE", panel=_MODEL, default_text="float32")


class CacheSection(Section):
    """[cache]: encode the data set once."""

    latents_only: Switch = option(False, "Encode pictures, leave captions", panel=_CACHE)
    text_only: Switch = option(False, "Encode captions, leave pictures", panel=_CACHE)
    one_frame: Switch = option(False, "One-frame training: control pictures and one target picture", panel=_CACHE)
    keep_cache: Switch = option(False, "Keep our cache files that no item needs any more", panel=_CACHE)
    empty_mask: Literal["warn", "error", "full"] = option("warn", "When a mask is zero everywhere", panel=_CACHE)
    sheet: FilePath | None = option(
        None, "Contact sheet of what will be trained, `.png` or `.html`, drawn before encoding", panel=_CACHE
    )
    verify: Switch = option(
        False, "Read every file whole and redo what does not match, instead of trusting sizes and times", panel=_CACHE
    )
    skip_existing: Switch = option(
        False, "Accepted from musubi-tuner; fresh entries are always skipped", panel=_CACHE, hidden=True
    )


class MaskLossSection(Section):
    """[mask_loss]: how mask weights become loss weights."""

    use_mask_loss: Switch = option(False, "Weigh the loss by the masks in the cache", panel=_MASK)
    mask_preset: Literal["person", "face", "style", "person-prior", "face-prior"] | None = option(
        None,
        "Settings for a purpose; what is also given on its own wins. The two with `prior` keep backgrounds best",
        panel=_MASK,
    )
    like: Literal["onetrainer", "sd-scripts", "ai-toolkit"] | None = option(
        None, "Print the settings here that equal another trainer's mask loss, then stop", panel=_MASK
    )
    mask_gamma: Number = option(
        1.0, "Contrast of the weights: below 1 lifts body and hair, above 1 favours the face", panel=_MASK, gt=0
    )
    mask_min_weight: Number = option(
        0.0,
        "Floor: what a weight of 0 becomes; the background is trained a little, and so learned a little",
        panel=_MASK,
        ge=0,
        lt=1,
    )
    mask_loss_scale: Number = option(
        1.0, "No effect, since the weighted mean divides it out", panel=_MASK, gt=0, hidden=True
    )
    mask_mean: Literal["batch", "sample", "global"] = option(
        "batch", "Average over each micro-batch, over each item, or over the whole optimiser step", panel=_MASK
    )
    mask_transform: Literal["latent", "pixel"] = option(
        "latent",
        "Shape the mean weight of each latent cell, or the weight of each region in it (exact at edges)",
        panel=_MASK,
    )
    face_weight: Number | None = option(
        None, "Mask weight of faces, instead of the cached one", panel=_MASK, ge=0, le=1
    )
    body_weight: Number | None = option(
        None,
        "Mask weight of bodies, instead of the cached one; a mask binds clothes more than no mask does",
        panel=_MASK,
        ge=0,
        le=1,
    )
    hair_weight: Number | None = option(
        None,
        "Mask weight of hair, instead of the cached one; 0.5 learns new hair better than 0.31",
        panel=_MASK,
        ge=0,
        le=1,
    )
    background_weight: Number | None = option(
        None, "Mask weight of the background, instead of the cached one", panel=_MASK, ge=0, le=1
    )
    mask_feather: Number = option(0.0, "Soften masks by a Gaussian of this many latent cells", panel=_MASK, ge=0)
    mask_area_beta: Number = option(
        0.0, "Multiply an item's loss by its mean loss weight to this power; 0.5 calms small masks", panel=_MASK, ge=0
    )
    unmasked_probability: Number = option(0.0, "Share of the steps that ignore the masks", panel=_MASK, ge=0, le=1)
    prior_preservation_weight: Number = option(
        0.0,
        "Keep what is outside the mask as the base model draws it; 1, with a floor of 0, did best in our study",
        panel=_MASK,
        ge=0,
    )
    prior_mask_threshold: Number = option(
        0.1, "Cells whose mask weight, before gamma and floor, is below this are outside", panel=_MASK, gt=0, le=1
    )
    prior_min_timestep: Int = option(
        0, "Hold to the base model only at noise levels of at least this, 0 to 1000", panel=_MASK, ge=0, le=1000
    )
    prior_decay: Literal["constant", "linear", "cosine"] = option(
        "constant", "How the hold weakens from full noise to none", panel=_MASK
    )


PRESET_FIELDS = frozenset(
    {
        "use_mask_loss",
        "mask_gamma",
        "mask_min_weight",
        "mask_mean",
        "prior_preservation_weight",
        "body_weight",
        "hair_weight",
    }
)
"""What presets decide about. A preset on the command line takes the place of all of these in the file."""


class TrainSection(Section):
    """[train]: the loop and what it writes."""

    max_train_steps: Int = option(1600, "Optimiser steps", panel=_LOOP, ge=1)
    max_train_epochs: Int | None = option(
        None, "Passes over the data set, instead of a number of steps", panel=_LOOP, ge=1
    )
    gradient_accumulation_steps: Int = option(1, "Micro-batches per optimiser step", panel=_LOOP, ge=1)
    seed: Int = option(42, "Seed of everything random", panel=_LOOP, ge=0)
    validation_split: Number = option(
        0.0,
        "Share of the items to hold out; their loss, at fixed noise, is logged as `val/loss`",
        panel=_LOOP,
        ge=0,
        lt=1,
    )
    validate_every_n_steps: Int | None = option(
        None,
        "With `validation_split`, steps between two looks at what is held out",
        panel=_LOOP,
        ge=1,
        default_text="an epoch",
    )
    expert: Literal["high", "low", "both"] | None = option(
        None, "Which expert of a two-expert family to train", panel=_LOOP, default_text="low"
    )
    high_noise_share: Number | None = option(
        None,
        "With `expert = both`, share of the steps for the high-noise expert",
        panel=_LOOP,
        gt=0,
        lt=1,
        default_text="by the timestep distribution",
    )
    shared_lora: Switch = option(False, "With `expert = both`, train one LoRA for both experts", panel=_LOOP)
    expert_run_length: Int = option(
        8, "With `expert = both`, steps one expert gets in a row, so that weights move rarely", panel=_LOOP, ge=1
    )
    loss_type: Literal["mse", "huber"] = option(
        "mse", "Squared error, or Huber, which takes outliers less seriously", panel=_LOOP
    )
    huber_delta: Number = option(1.0, "Error from which Huber grows linearly", panel=_LOOP, gt=0)
    memory: Literal["auto", "none"] = option(
        "none",
        "`auto` picks checkpointing, turns of experts, block swap and int8 by the free memory and says what it picked",
        panel=_MEMORY,
    )
    gradient_checkpointing: Switch = option(
        False, "Recompute activations in the backward pass: less memory, about a third more time", panel=_MEMORY
    )
    int8_base: Switch = option(
        False,
        "Keep the frozen weights in int8, one scale per output: half the memory of bfloat16, closer to it than float8",
        panel=_MEMORY,
    )
    fp8_base: Switch = option(False, "Keep the frozen weights in float8 (e4m3) with a scale per output", panel=_MEMORY)
    blocks_to_swap: Int = option(
        0,
        "Blocks whose frozen weights rest in CPU memory and come to the GPU when they run; needs `gradient_checkpointing`",
        panel=_MEMORY,
        ge=0,
    )
    fsdp: Switch = option(
        False,
        "With several processes, keep a part of the frozen weights in each instead of all in all (PyTorch's FSDP)",
        panel=_MEMORY,
    )
    sdpa: Switch = option(
        False, "Accepted from musubi-tuner; PyTorch's own attention is always used", panel=_MEMORY, hidden=True
    )
    compile: Switch = option(
        False, "Compile the repeated blocks: a slow first step, faster ones after it", panel=_MEMORY
    )
    compile_backend: Text = option("inductor", "Compiler behind `compile`, as `torch.compile` names it", panel=_MEMORY)
    dit_dtype: Annotated[Literal["float32", "bfloat16"], BeforeValidator(_full_dtype)] | None = option(
        None, "Precision of the frozen denoiser", panel=_MEMORY, default_text="bfloat16 on a GPU, float32 on a CPU"
    )
    offload_inactive_dit: Switch = option(
        False, "With `expert = both`, keep the resting expert in CPU memory", panel=_MEMORY
    )
    network_type: Literal["lora", "lokr", "loha"] = option(
        "lora", "LoRA, or its relatives with a Kronecker (LoKr) or Hadamard product (LoHa)", panel=_LORA
    )
    lokr_factor: Factor = option(
        -1, "Size of LoKr's first factor; -1 is about the square root of the layer's", panel=_LORA, ge=-1
    )
    network_dim: Int = option(32, "Rank of the LoRA", panel=_LORA, ge=1)
    network_alpha: Number | None = option(
        None, "LoRA scale is this divided by the rank", panel=_LORA, default_text="the rank", gt=0
    )
    network_dropout: Number = option(0.0, "Share of each LoRA layer's inputs to drop", panel=_LORA, ge=0, lt=1)
    network_weights: FilePath | None = option(None, "LoRA file to start from", panel=_LORA)
    scale_weight_norms: Number | None = option(
        None, "Shrink a layer's update whose norm grows above this; 1 is usual against overfitting", panel=_LORA, gt=0
    )
    use_rslora: Switch = option(False, "Scale by the square root of the rank (rsLoRA)", panel=_LORA)
    use_dora: Switch = option(
        False,
        "Also train the norm of each output (DoRA); diffusers reads it with `lora_format = diffusers`",
        panel=_LORA,
    )
    include_patterns: list[Text] = option([], "Regular expression of layers to adapt too; may be repeated", panel=_LORA)
    exclude_patterns: list[Text] = option([], "Regular expression of layers not to adapt; may be repeated", panel=_LORA)
    optimizer_type: Text = option(
        "adamw", "adamw, adamw8bit, adafactor, prodigy, schedulefree, or a dotted class path", panel=_OPTIM
    )
    optimizer_args: list[Text] = option(
        [], "Argument of the optimiser; may be repeated", panel=_OPTIM, metavar="KEY=VALUE"
    )
    learning_rate: Number = option(2e-4, "Learning rate", panel=_OPTIM, gt=0, default_text="0.0002; 1 for prodigy")
    loraplus_lr_ratio: Number | None = option(
        None, "Learning rate of B relative to A (LoRA+); 4 is usual", panel=_OPTIM, gt=0
    )
    weight_decay: Number = option(0.01, "Weight decay", panel=_OPTIM, ge=0)
    max_grad_norm: Number = option(1.0, "Clip the gradient to this norm; 0 turns clipping off", panel=_OPTIM, ge=0)
    lr_scheduler: Literal[
        "constant",
        "constant_with_warmup",
        "linear",
        "cosine",
        "cosine_with_restarts",
        "cosine_with_min_lr",
        "polynomial",
        "inverse_sqrt",
        "warmup_stable_decay",
    ] = option("constant", "How the learning rate changes over the steps", panel=_OPTIM)
    lr_warmup_steps: StepCount = option(
        "0", "Steps of rising learning rate: a number, a fraction or a percentage", panel=_OPTIM
    )
    lr_decay_steps: StepCount = option("0", "Steps of falling learning rate (warmup_stable_decay)", panel=_OPTIM)
    lr_scheduler_num_cycles: Int = option(1, "Restarts (cosine_with_restarts)", panel=_OPTIM, ge=1)
    lr_scheduler_power: Number = option(1.0, "Exponent (polynomial)", panel=_OPTIM, gt=0)
    lr_scheduler_min_lr_ratio: Number = option(
        0.0,
        "Lowest learning rate relative to the highest (cosine_with_min_lr, warmup_stable_decay)",
        panel=_OPTIM,
        ge=0,
        le=1,
    )
    lr_scheduler_args: list[Text] = option(
        [], "Argument of the learning rate schedule; may be repeated", panel=_OPTIM, metavar="KEY=VALUE"
    )
    timestep_sampling: Literal["uniform", "sigmoid", "shift", "flux_shift", "qwen_shift", "logsnr"] = option(
        "shift", "How noise levels are drawn", panel=_TIME
    )
    discrete_flow_shift: Number | None = option(
        None, "Shift of the noise levels", panel=_TIME, gt=0, default_text="the family's"
    )
    sigmoid_scale: Number = option(1.0, "Width of the sigmoid and shift distributions", panel=_TIME, gt=0)
    logit_mean: Number = option(0.0, "Mean of the log signal-to-noise ratio (logsnr)", panel=_TIME)
    logit_std: Number = option(1.0, "Standard deviation of the log signal-to-noise ratio (logsnr)", panel=_TIME, gt=0)
    weighting_scheme: Literal["none", "sigma_sqrt", "cosmap"] = option(
        "none", "Weigh the loss by the noise level", panel=_TIME
    )
    min_timestep: Int | None = option(None, "Lowest noise level, 0 to 1000", panel=_TIME, ge=0, le=1000)
    max_timestep: Int | None = option(None, "Highest noise level, 0 to 1000", panel=_TIME, ge=0, le=1000)
    preserve_distribution_shape: Switch = option(
        False, "Cut the range out of the distribution instead of squeezing the distribution into it", panel=_TIME
    )
    num_timestep_buckets: Int | None = option(
        None, "Spread noise levels evenly over this many strata; 4 to 10 is usual", panel=_TIME, ge=2, le=1000
    )
    output_dir: FilePath = option(Path("out"), "Folder for the LoRA", panel=_SAVE)
    output_name: Text = option("lora", "Name of the LoRA file, without suffix", panel=_SAVE)
    save_every_n_steps: Int | None = option(None, "Also save every so many steps", panel=_SAVE, ge=1)
    save_every_n_epochs: Int | None = option(None, "Also save every so many epochs", panel=_SAVE, ge=1)
    save_precision: Precision = option("float32", "Precision of LoRA files; training is always float32", panel=_SAVE)
    lora_format: Literal["native", "kohya", "diffusers"] = option(
        "native", "How LoRA files spell their layers; native loads in ComfyUI and diffusers alike", panel=_SAVE
    )
    convert_lora: FilePath | None = option(
        None,
        "Write this LoRA file, of any trainer, in `lora_format`, and stop; no model is loaded",
        panel=_SAVE,
        metavar="FILE",
    )
    keep_last: Int = option(2, "Training states to keep for resuming; LoRA files are all kept", panel=_SAVE, ge=2)
    resume: Switch = option(True, "Continue from the newest whole training state of this output name", panel=_SAVE)
    metadata: Switch = option(True, "Write settings and facts of the training into LoRA files", panel=_SAVE)
    training_comment: Text | None = option(None, "Comment for the metadata of the LoRA", panel=_SAVE)
    metadata_title: Text | None = option(
        None, "Title for the metadata", panel=_SAVE, default_text="the name of the file"
    )
    metadata_author: Text | None = option(None, "Author for the metadata", panel=_SAVE)
    metadata_description: Text | None = option(None, "Description for the metadata", panel=_SAVE)
    metadata_license: Text | None = option(None, "Licence for the metadata", panel=_SAVE)
    metadata_tags: Text | None = option(None, "Tags for the metadata, separated by commas", panel=_SAVE)
    sample_prompts: FilePath | None = option(
        None,
        "File of prompts to draw while training, one a line (.txt), or .toml or .json; options as in musubi-tuner",
        panel=_PREVIEW,
    )
    sample_every_n_steps: Int | None = option(None, "Draw them every so many steps", panel=_PREVIEW, ge=1)
    sample_every_n_epochs: Int | None = option(None, "Draw them every so many epochs", panel=_PREVIEW, ge=1)
    sample_at_first: Switch = option(False, "Draw them before the first step too", panel=_PREVIEW)
    log_with: Literal["tensorboard", "wandb", "all", "none"] | None = option(
        None,
        "Where the numbers of the steps go besides NAME-log.jsonl; wandb stays on disk unless WANDB_MODE=online",
        panel=_LOG,
        default_text="tensorboard when it is installed",
    )
    logging_dir: FilePath | None = option(
        None, "Folder for TensorBoard and wandb", panel=_LOG, default_text="logs in the output folder"
    )
    log_tracker_name: Text = option("blissmask", "Project in wandb", panel=_LOG)
    wandb_run_name: Text | None = option(None, "Name of the run in wandb", panel=_LOG, default_text="the output name")
