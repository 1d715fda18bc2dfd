"""Load CLIP-L's text half, HunyuanVideo's second text encoder."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from blissmask.families.files.loading import build_empty, load_weights
from blissmask.families.files.stored_tensors import Tensors, count_of, shape_of
from blissmask.families.files.tensor_files import open_checkpoint

_KIND = "CLIP text encoder"
# Width of a head in every CLIP text model.
_HEAD_DIM = 64


def load_clip_text(path: Path, *, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Load ``CLIPTextModel`` from a single file in transformers' names, as ComfyUI publishes ``clip_l``.

    Raises:
        ModelError: the file is damaged, no CLIP text encoder, or lacks keys.
    """
    from transformers import CLIPTextConfig, CLIPTextModel

    tensors = {name.removeprefix("text_model."): tensor for name, tensor in open_checkpoint(path).items()}
    config = CLIPTextConfig(**config_of(tensors, path))
    model = build_empty(lambda: CLIPTextModel(config))
    # Until transformers 5.x the class kept its layers one level deeper.
    level = "text_model." if any(name.startswith("text_model.") for name in model.state_dict()) else ""
    renamed = {level + name: tensor for name, tensor in tensors.items()}
    unused = tuple(
        level + name
        for name in ("text_projection", "logit_scale", "vision_model.", "visual_projection", "embeddings.position_ids")
    )
    return load_weights(model, renamed, source=path, device=device, dtype=dtype, ignore=unused)


def config_of(tensors: Tensors, path: Path) -> dict[str, Any]:
    """Return the arguments of ``CLIPTextConfig`` that fit ``tensors`` (transformers names)."""
    shape = partial(shape_of, tensors, source=path, kind=_KIND)
    vocabulary, width = shape("embeddings.token_embedding.weight")
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": shape("encoder.layers.0.mlp.fc1.weight")[0],
        "num_hidden_layers": count_of(tensors, "encoder.layers."),
        "num_attention_heads": width // _HEAD_DIM,
        "max_position_embeddings": shape("embeddings.position_embedding.weight")[0],
    }
