"""Options of musubi-tuner, blissful-tuner and its mask fork: their names here, or what to use instead.

Source: the parsers of these trainers, read in 2026. A guide shows :data:`INSTEAD` as a table, and a test keeps the
two equal.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from types import MappingProxyType

SAME_MEANING: Mapping[str, str] = MappingProxyType(
    {
        "t5": "text_encoder",
        "text_encoder1": "text_encoder",
        "text_encoder2": "text_encoder_2",
        "byt5": "text_encoder_2",
        "clip": "image_encoder",
        "turbo_dit": "preview_dit",
        "num_workers": "jobs",
    }
)
"""Their name -> our field; both are taken on the command line."""

DATASET_KEYS: Mapping[str, str] = MappingProxyType(
    {
        "flux_kontext_no_resize_control": "no_resize_control",
        "qwen_image_edit_no_resize_control": "no_resize_control",
        "qwen_image_edit_control_resolution": "control_resolution",
        # These four are from AkaneTendo25's fork of musubi-tuner, which trains with masks.
        "loss_mask_directory": "mask_directory",
        "default_loss_mask_path": "default_mask",
        "loss_mask_use_alpha": "alpha_mask",
        "loss_mask_invert": "invert_mask",
    }
)
"""Their key of a dataset -> ours; both are read in a file."""

_MEANT: Mapping[str, str] = MappingProxyType(
    {
        "lr": "learning_rate",
        "unet_lr": "learning_rate",
        "steps": "max_train_steps",
        "epochs": "max_train_epochs",
        "rank": "network_dim",
        "lora_rank": "network_dim",
        "train_batch_size": "batch_size",
        "pretrained_model_name_or_path": "model",
    }
)
"""Names of sd-scripts and ai-toolkit that are unlike ours in spelling, for suggestions alone."""

_AUGMENTS = "leave it out: pictures are encoded once, so they are not changed from epoch to epoch"

INSTEAD: tuple[tuple[tuple[str, ...], str], ...] = (
    (("config_file",), "`--config`; a dataset TOML works as it is"),
    (
        ("flash_attn", "flash3", "xformers", "sage_attn", "split_attn", "lower_precision_attention"),
        "leave it out: PyTorch's own attention picks the fastest kernel; `--sdpa` is taken",
    ),
    (
        ("mixed_precision", "mixed_precision_transformer", "fp16_accumulation"),
        "`--dit-dtype`; the LoRA's weights are always float32",
    ),
    (("fp8_scaled", "disable_blockwise_quant"), "`--fp8-base`, which has a scale per output, or `--int8-base`"),
    (
        ("fp8_t5", "fp8_vl", "fp8_llm", "text_encoder_dtype"),
        "leave it out: text encoders run in `cache` alone, without the denoiser",
    ),
    (
        ("vae_cache_cpu", "vae_chunk_size", "vae_tiling", "vae_spatial_tile_sample_min_size", "disable_cudnn_backend"),
        "`--vae-dtype bfloat16`, for less memory in `cache`",
    ),
    (("model_version", "edit", "edit_plus"), "`--arch`"),
    (("i2v",), "`--task i2v`"),
    (("num_layers", "remove_first_image_from_target"), "nothing: Qwen-Image-Layered is no family here"),
    (("timestep_boundary",), "`--expert`; the boundary is the family's own, 0.875 for t2v and 0.9 for i2v"),
    (("force_v2_1_time_embedding", "simple_modulation"), "leave it out: that is how the model is run"),
    (("rope_func",), "leave it out: there is one way here"),
    (
        (
            "compile_mode",
            "compile_dynamic",
            "compile_fullgraph",
            "compile_cache_size_limit",
            "compile_args",
            "optimized_compile",
        ),
        "`--compile` and `--compile-backend`",
    ),
    (("dynamo_backend", "dynamo_mode", "dynamo_fullgraph", "dynamo_dynamic"), "`--compile` and `--compile-backend`"),
    (("allow_linear_for_compile",), "leave it out: linear layers are compiled"),
    (
        ("cuda_allow_tf32", "cuda_cudnn_benchmark"),
        "leave it out: model and LoRA compute in bfloat16 on a GPU, which is faster still",
    ),
    (
        ("max_data_loader_n_workers", "persistent_data_loader_workers"),
        "leave it out: the cache is read once, kept in memory where it fits, and fetched ahead",
    ),
    (("gradient_checkpointing_cpu_offload",), "`--gradient-checkpointing` with `--blocks-to-swap`"),
    (
        ("use_pinned_memory_for_block_swap", "block_swap_h2d_only", "block_swap_ring_size", "img_in_txt_in_offloading"),
        "`--blocks-to-swap`, which pins and copies one way by itself",
    ),
    (("disable_numpy_memmap",), "leave it out: files are mapped by safetensors"),
    (("lr_scheduler_type",), "`--lr-scheduler` and `--lr-scheduler-args`; classes of your own are not loaded"),
    (("lr_scheduler_timescale",), "`--lr-scheduler-args timescale=N`"),
    (("mode_scale",), "`--timestep-sampling`; the sampling by schedule index that it belongs to is not here"),
    (("show_timesteps",), "the log, `NAME-log.jsonl`: it has the mean noise level of each step"),
    (("image_flow_shift",), "`--discrete-flow-shift`"),
    (
        (
            "noise_offset",
            "noise_offset_random_strength",
            "adaptive_noise_scale",
            "multires_noise_iterations",
            "multires_noise_discount",
        ),
        "`--timestep-sampling` and `--discrete-flow-shift`: flow matching reaches pure noise without it",
    ),
    (("network_module",), "`--network-type`"),
    (
        ("network_args",),
        "`--include-patterns`, `--exclude-patterns`, `--loraplus-lr-ratio`, `--lokr-factor`; "
        "rank and module dropout are not here",
    ),
    (("dim_from_weights",), "`--network-dim`; a file of another rank is refused with the rank it has"),
    (
        ("save_last_n_steps", "save_last_n_epochs", "save_last_n_steps_state", "save_last_n_epochs_state"),
        "`--keep-last` for training states; LoRA files are all kept",
    ),
    (
        ("save_state", "save_state_on_train_end"),
        "leave it out: a training state is saved with every LoRA, and when a run stops",
    ),
    (("metadata_reso", "metadata_arch"), "leave it out: both are known from the cache"),
    (("log_prefix",), "`--wandb-run-name`, `--output-name`"),
    (("log_config", "log_tracker_config"), "leave it out: wandb is told all settings"),
    (("wandb_api_key",), "`wandb login`: secrets do not belong on a command line"),
    (
        (
            "huggingface_repo_id",
            "huggingface_repo_type",
            "huggingface_path_in_repo",
            "huggingface_token",
            "huggingface_repo_visibility",
        ),
        "`hf upload` when training is done: nothing leaves the machine by itself",
    ),
    (
        ("save_state_to_huggingface", "resume_from_huggingface", "async_upload"),
        "`--resume`, from the output folder, after `hf download`",
    ),
    (
        ("ddp_timeout", "ddp_gradient_as_bucket_view", "ddp_static_graph"),
        "leave it out: gradients of a LoRA travel in one message",
    ),
    (("masked_loss",), "`--use-mask-loss`; `--like sd-scripts` shows what equals theirs"),
    (("normalize_per_sample",), "`--mask-mean sample`"),
    (("mask_area_scale_beta",), "`--mask-area-beta`"),
    (("mask_blur_kernel_size", "mask_blur_radius"), "`--mask-feather`, in latent cells"),
    (("prior_preservation_timestep_threshold",), "`--prior-min-timestep`"),
    (("prior_decay_schedule", "prior_decay_timestep_start"), "`--prior-decay`, `--prior-decay-start`"),
    (("prior_decay_warmup_ratio",), "`--prior-warmup-steps`, in steps"),
    (("prior_teacher_mode", "prior_teacher_eval"), "leave it out: the teacher is the base model, without dropout"),
    (
        ("cache_mask_gamma", "cache_mask_min_weight"),
        "`--mask-gamma` and `--mask-min-weight` of `train`; the cache holds masks as they are",
    ),
    (("debug_mode", "console_width", "console_back", "console_num_images"), "`--sheet` of `cache`"),
)
"""Names of theirs that are not here, and what to use."""


_OF_SD_SCRIPTS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("flip_aug", "color_aug", "random_crop", "face_crop_aug_range"), _AUGMENTS),
    (
        ("cache_latents", "cache_latents_to_disk", "cache_text_encoder_outputs"),
        "leave it out: `blissmask cache` does it, before training",
    ),
)
"""The same for keys of sd-scripts that musubi-tuner does not have."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return which of ``known`` was probably meant by ``name``; "" when none is near.

    Hyphens and underscores are as in ``known``.
    """
    names = list(known)
    meant = _MEANT.get(name.replace("-", "_"), "")
    for spelled in (meant, meant.replace("_", "-")):
        if spelled and spelled in names:
            return spelled
    # Measured on 38 flags of other trainers that are none of ours: by difflib's own 0.6, 21 of them are like one of
    # ours, such as `xformers` like `max_frames`; by this, 9.
    return next(iter(difflib.get_close_matches(name, names, n=1, cutoff=0.7)), "")


def our_spelling(name: str) -> str:
    """Return the name that a flag of theirs has here, without its dashes and with hyphens for underscores."""
    field = name.replace("-", "_")
    return SAME_MEANING.get(field, field).replace("_", "-")


def advice_for(name: str) -> str:
    """Say what to do about an option of theirs that is not here; "" for a name that none of them has.

    Args:
        name: as typed, with or without dashes.
    """
    field = name.lstrip("-").replace("-", "_")
    text = next((text for names, text in (*INSTEAD, *_OF_SD_SCRIPTS) if field in names), "")
    return f"use {text}" if text.startswith("`") else text
