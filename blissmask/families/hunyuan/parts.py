"""The parts of HunyuanVideo, and their sizes from the shapes of tensors."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from blissmask.families.encoders import llama
from blissmask.families.encoders.captions import CaptionTemplate
from blissmask.families.files.part import Part
from blissmask.families.files.stored_tensors import Tensors, count_of, shape_of
from blissmask.families.files.tokenizers import Tokenizer
from blissmask.families.hunyuan import names, tiny

# The wording is the models' training data: a changed letter changes every embedding.
ASPECTS = (
    "1. The main content and theme of the video.",
    "2. The color, shape, size, texture, quantity, text, and spatial relationships of the objects.",
    "3. Actions, events, behaviors temporal relationships, physical movement changes of the objects.",
    "4. background environment, light, style and atmosphere.",
    "5. camera angles, movements, and transitions used in the video",
)
CAPTIONS = CaptionTemplate(
    tokens=256,
    head="<|start_header_id|>system<|end_header_id|>\n\nDescribe the video by detailing the following aspects: "
    f"{''.join(ASPECTS)}:<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n",
    tail="<|eot_id|>",
    specials=("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
)
"""Of Llama, whose rows the denoiser reads. CLIP makes one vector of the first 77 tokens, which names the subject."""
# Width of a head in every CLIP text model; no tensor's shape tells it.
_CLIP_HEAD_DIM = 64


def clip_config(tensors: Tensors, path: Path) -> dict[str, Any]:
    """Return the arguments of ``CLIPTextConfig`` that fit ``tensors``."""
    shape = partial(shape_of, tensors, source=path, kind="CLIP text encoder")
    vocabulary, width = shape("embeddings.token_embedding.weight")
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": shape("encoder.layers.0.mlp.fc1.weight")[0],
        "num_hidden_layers": count_of(tensors, "encoder.layers."),
        "num_attention_heads": width // _CLIP_HEAD_DIM,
        "max_position_embeddings": shape("embeddings.position_embedding.weight")[0],
    }


def denoiser_config(tensors: Tensors, path: Path) -> dict[str, Any]:
    """Return the arguments of ``HunyuanVideoTransformer3DModel`` that fit ``tensors``."""
    kind = "HunyuanVideo denoiser"
    text_embedder = "time_text_embed.text_embedder.linear_1.weight"
    return {
        **denoiser_sizes(tensors, path, kind=kind),
        "num_single_layers": count_of(tensors, "single_transformer_blocks."),
        "guidance_embeds": "time_text_embed.guidance_embedder.linear_1.weight" in tensors,
        "pooled_projection_dim": shape_of(tensors, text_embedder, source=path, kind=kind)[1],
    }


def denoiser_sizes(tensors: Tensors, path: Path, *, kind: str) -> dict[str, Any]:
    """Return the arguments that the denoisers of 1.0 and 1.5 both have."""
    shape = partial(shape_of, tensors, source=path, kind=kind)
    width, in_channels, patch_time, patch, _ = shape("x_embedder.proj.weight")
    head = shape("transformer_blocks.0.attn.norm_q.weight")[0]
    return {
        "in_channels": in_channels,
        "out_channels": shape("proj_out.weight")[0] // (patch_time * patch * patch),
        "num_attention_heads": width // head,
        "attention_head_dim": head,
        "num_layers": count_of(tensors, "transformer_blocks."),
        "num_refiner_layers": count_of(tensors, "context_embedder.token_refiner.refiner_blocks."),
        "mlp_ratio": shape("transformer_blocks.0.ff.net.0.proj.weight")[0] / width,
        "patch_size": patch,
        "patch_size_t": patch_time,
        "text_embed_dim": shape("context_embedder.proj_in.weight")[1],
        # 16, 56 and 56 of 128: an eighth for time, the rest for rows and columns.
        "rope_axes_dim": (head // 8, head * 7 // 16, head * 7 // 16),
    }


LLAMA = llama.text_encoder("hunyuan")
LLAMA_TOKENIZER = Tokenizer(encoder=LLAMA, specials=CAPTIONS.specials)
CLIP = Part(
    folder="text_encoder_2",
    field="text_encoder_2",
    class_path="transformers.CLIPTextModel",
    rename=names.rename_clip,
    config_of=clip_config,
    # The vision half, and what compares texts with pictures.
    ignore=("text_projection", "logit_scale", "vision_model.", "visual_projection", "embeddings.position_ids"),
    tiny=tiny.clip_text,
    tiny_name="hunyuan",
)
CLIP_TOKENIZER = Tokenizer(encoder=CLIP, folder="tokenizer_2", field="tokenizer_2")
DENOISER = Part(
    folder="transformer",
    field="dit",
    class_path="diffusers.HunyuanVideoTransformer3DModel",
    rename=names.rename_denoiser,
    config_of=denoiser_config,
    tiny=tiny.denoiser,
    tiny_name="hunyuan-video",
    # What diffusers' class builds by itself.
    published={},
)
