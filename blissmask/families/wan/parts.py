"""The parts of the Wan families, and their sizes from the shapes of tensors."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from blissmask.errors import ModelError
from blissmask.families.encoders import t5
from blissmask.families.files.part import Part
from blissmask.families.files.stored_tensors import Tensors, count_of, shape_of
from blissmask.families.files.tokenizers import Tokenizer
from blissmask.families.vae.encoding import without_decoder
from blissmask.families.wan import names, tiny
from blissmask.families.wan.vae_sizes import vae_config

# Every released Wan has heads of 128 channels; their number is the width over 128, the one size no tensor's shape
# tells.
_HEAD_DIM = 128
# Width of a head in ViT-H; no tensor's shape tells it.
_CLIP_HEAD_DIM = 80
_TOKENIZER_FILES = ("tokenizer.json", "spiece.model")
# 16 noisy channels, 4 of frame mask, 16 of the first frame.
_I2V_CHANNELS = 36
_A14B: Mapping[str, Any] = {}
"""Wan 14B is what diffusers' class builds by itself: 40 blocks of width 5120."""
_SEES_CLIP = {"image_dim": 1280, "added_kv_proj_dim": 5120}
"""Of Wan 2.1's image to video: rows of CLIP's ViT-H, keys and values of the denoiser's width."""


def denoiser_config(tensors: Tensors, path: Path) -> dict[str, Any]:
    """Return the arguments of ``WanTransformer3DModel`` that fit ``tensors``, of any Wan size and task."""
    shape = partial(shape_of, tensors, source=path, kind="Wan denoiser")
    width, in_channels, *patch = shape("patch_embedding.weight")
    cells = patch[0] * patch[1] * patch[2]
    config = {
        "patch_size": tuple(patch),
        "num_attention_heads": width // _HEAD_DIM,
        "attention_head_dim": _HEAD_DIM,
        "in_channels": in_channels,
        "out_channels": shape("proj_out.weight")[0] // cells,
        "text_dim": shape("condition_embedder.text_embedder.linear_1.weight")[1],
        "freq_dim": shape("condition_embedder.time_embedder.linear_1.weight")[1],
        "ffn_dim": shape("blocks.0.ffn.net.0.proj.weight")[0],
        "num_layers": count_of(tensors, "blocks."),
    }
    if "blocks.0.attn2.add_k_proj.weight" in tensors:
        config["image_dim"] = shape("condition_embedder.image_embedder.norm1.weight")[0]
        config["added_kv_proj_dim"] = shape("blocks.0.attn2.add_k_proj.weight")[1]
    positions = tensors.get("condition_embedder.image_embedder.pos_embed")
    if positions is not None:
        config["pos_embed_seq_len"] = positions.shape[1]
    return config


def clip_config(tensors: Tensors, path: Path) -> dict[str, Any]:
    """Return the arguments of ``CLIPVisionConfig`` that fit ``tensors``."""
    shape = partial(shape_of, tensors, source=path, kind="CLIP image encoder")
    width, _, patch, _ = shape("embeddings.patch_embedding.weight")
    positions = shape("embeddings.position_embedding.weight")[0]
    return {
        "hidden_size": width,
        "intermediate_size": shape("encoder.layers.0.mlp.fc1.weight")[0],
        "num_hidden_layers": count_of(tensors, "encoder.layers."),
        "num_attention_heads": width // _CLIP_HEAD_DIM,
        "image_size": round((positions - 1) ** 0.5) * patch,
        "patch_size": patch,
        # ViT-H of OpenCLIP computes the exact GELU, OpenAI's models the quick one.
        "hidden_act": "gelu",
    }


def load_tokenizer(folders: Sequence[Path], weights: Path) -> Any:
    """Load UMT5's tokenizer from the first of ``folders`` that holds one, else from the weights: ComfyUI puts it there.

    Raises:
        ModelError: there is none.
    """
    from transformers import AutoTokenizer

    from blissmask.families.files.tensor_files import embedded_sentencepiece

    for folder in folders:
        if any((folder / name).is_file() for name in _TOKENIZER_FILES):
            return AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    model = embedded_sentencepiece(weights) if weights.is_file() else None
    if model:
        with tempfile.TemporaryDirectory() as scratch:
            Path(scratch, "spiece.model").write_bytes(model)
            Path(scratch, "tokenizer_config.json").write_text('{"tokenizer_class": "T5Tokenizer"}', encoding="utf-8")
            return AutoTokenizer.from_pretrained(scratch, local_files_only=True)
    where = "`google/umt5-xxl` in the Wan repositories"
    fix = f"give the folder with `tokenizer.json` or `spiece.model` as `--tokenizer` ({where})"
    raise ModelError("no tokenizer for the UMT5 text encoder", where=folders, fix=fix)


VAE = Part(
    folder="vae",
    field="vae",
    class_path="diffusers.AutoencoderKLWan",
    rename=names.rename_vae,
    config_of=vae_config,
    tiny=tiny.vae,
    tiny_name="wan",
)
VAE_ENCODER = without_decoder(VAE)
VAE_5B = replace(VAE, tiny=tiny.vae_5b, tiny_name="wan22-5b")
VAE_5B_ENCODER = without_decoder(VAE_5B)
UMT5 = t5.umt5("wan")
TOKENIZER = Tokenizer(encoder=UMT5, load_from=load_tokenizer)
CLIP = Part(
    folder="image_encoder",
    field="image_encoder",
    class_path="transformers.CLIPVisionModel",
    rename=names.rename_clip,
    config_of=clip_config,
    # Heads that turn features into one vector, the text half, and a table of numbers that older versions saved.
    ignore=(
        "visual_projection",
        "visual.head",
        "logit_scale",
        "log_scale",
        "embeddings.position_ids",
        "text_model.",
        "text_projection",
        "textual.",
    ),
    tiny=tiny.clip,
    tiny_name="wan",
)
TEXT = (UMT5, TOKENIZER)
TEXT_CONTENTS = {"t5": ("L", 4096)}


def text_denoiser(tiny_name: str, *, channels: int = 16, published: Mapping[str, Any] = _A14B) -> Part:
    """Return the text-to-video denoiser of a family with ``channels`` latent channels."""
    return _denoiser(tiny_name, partial(tiny.denoiser, in_channels=channels, out_channels=channels), published)


def image_denoiser(tiny_name: str, *, sees_clip: bool) -> Part:
    """Return the image-to-video denoiser of a family, for the first frame as channels beside the noise."""
    image_dim = tiny.CLIP_WIDTH if sees_clip else None
    published = {"in_channels": _I2V_CHANNELS, **(_SEES_CLIP if sees_clip else {})}
    return _denoiser(tiny_name, partial(tiny.denoiser, in_channels=_I2V_CHANNELS, image_dim=image_dim), published)


def experts(denoiser: Part) -> dict[str, Part]:
    """Return both experts of Wan 2.2 A14B: diffusers keeps the high-noise one in ``transformer``."""
    return {
        "high": replace(denoiser, field="dit_high_noise"),
        "low": replace(denoiser, folder="transformer_2"),
    }


def _denoiser(tiny_name: str, build: Callable[[], Any], published: Mapping[str, Any]) -> Part:
    return Part(
        folder="transformer",
        field="dit",
        class_path="diffusers.WanTransformer3DModel",
        rename=names.rename_denoiser,
        config_of=denoiser_config,
        tiny=build,
        tiny_name=tiny_name,
        published=published,
    )
