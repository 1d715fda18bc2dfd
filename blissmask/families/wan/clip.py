"""The CLIP image encoder of Wan 2.1 image-to-video: ViT-H/14, its files, and the features Wan reads from it.

Source: the Wan 2.1 repository. The whole picture is squeezed to 224 x 224, and the features are what the last but one
block leaves. B: pictures, N: patches plus one, D: width; 257 and 1280 in the full model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blissmask.families.files.keymap import KeyMap
from blissmask.families.files.loading import build_empty, load_weights
from blissmask.families.files.stored_tensors import Tensors, count_of, shape_of
from blissmask.families.files.tensor_files import open_checkpoint

_KIND = "CLIP image encoder"
# Width of a head in ViT-H; no tensor's shape tells it.
_HEAD_DIM = 80
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)
_ORIGINAL = KeyMap(
    [
        ("visual.cls_embedding", "embeddings.class_embedding"),
        ("visual.patch_embedding", "embeddings.patch_embedding"),
        ("visual.pos_embedding", "embeddings.position_embedding.weight"),
        ("visual.pre_norm", "pre_layrnorm"),
        ("visual.post_norm", "post_layernorm"),
        ("visual.transformer.{}.norm1", "encoder.layers.{}.layer_norm1"),
        ("visual.transformer.{}.norm2", "encoder.layers.{}.layer_norm2"),
        ("visual.transformer.{}.attn.proj", "encoder.layers.{}.self_attn.out_proj"),
        ("visual.transformer.{}.mlp.0", "encoder.layers.{}.mlp.fc1"),
        ("visual.transformer.{}.mlp.2", "encoder.layers.{}.mlp.fc2"),
    ]
)
_FUSED = ".attn.to_qkv."
# Heads that turn features into one vector, the text half, and a table of numbers that older versions saved.
_UNUSED = (
    *("visual_projection", "visual.head", "logit_scale", "log_scale", "embeddings.position_ids"),
    *("text_model.", "text_projection", "textual."),
)


def clip_features(model: Any, pictures_B3HW: Tensor) -> Tensor:
    """Return features_BND of pictures in [-1, 1], float32."""
    size = model.config.image_size
    weight = next(model.parameters())
    small_B3HW = (
        F.interpolate(pictures_B3HW.float(), size=(size, size), mode="bicubic", align_corners=False) * 0.5 + 0.5
    )
    mean, std = (small_B3HW.new_tensor(values).view(1, 3, 1, 1) for values in (_MEAN, _STD))
    states = model(((small_B3HW - mean) / std).to(weight.device, weight.dtype), output_hidden_states=True).hidden_states
    return states[-2].float()  # type: ignore[no-any-return]


def load_clip(path: Path, *, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Load ``CLIPVisionModel`` from Wan's ``models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth`` or ComfyUI's ``clip_vision_h``.

    Raises:
        ModelError: the file is damaged, no CLIP image encoder, or lacks keys.
    """
    from transformers import CLIPVisionConfig, CLIPVisionModel

    tensors = _in_transformers_names(open_checkpoint(path))
    config = CLIPVisionConfig(**config_of(tensors, path))
    model = build_empty(lambda: CLIPVisionModel(config))
    # Until transformers 5.x the class kept its layers one level deeper.
    level = "vision_model." if any(name.startswith("vision_model.") for name in model.state_dict()) else ""
    return load_weights(
        model, {level + name: tensor for name, tensor in tensors.items()}, source=path, device=device, dtype=dtype
    )


def _in_transformers_names(tensors: Tensors) -> Tensors:
    wanted = {name.removeprefix("vision_model."): tensor for name, tensor in tensors.items()}
    wanted = {name: tensor for name, tensor in wanted.items() if not name.startswith(_UNUSED)}
    if "visual.patch_embedding.weight" not in wanted:
        return wanted
    for name in [name for name in wanted if _FUSED in name]:
        fused = wanted.pop(name)
        block, _, kind = name.removeprefix("visual.transformer.").partition(_FUSED)
        third = fused.shape[0] // 3
        for part, letter in enumerate("qkv"):
            wanted[f"encoder.layers.{block}.self_attn.{letter}_proj.{kind}"] = fused.rows(
                part * third, (part + 1) * third
            )
    for name in ("visual.cls_embedding", "visual.pos_embedding"):
        if name in wanted:
            shape = wanted[name].shape
            wanted[name] = wanted[name].reshaped(shape[-1:] if "cls" in name else shape[-2:])
    return _ORIGINAL.rename(wanted)


def config_of(tensors: Tensors, path: Path) -> dict[str, Any]:
    """Return the arguments of ``CLIPVisionConfig`` that fit ``tensors`` (transformers names)."""
    width, _, patch, _ = shape_of(tensors, "embeddings.patch_embedding.weight", source=path, kind=_KIND)
    positions = shape_of(tensors, "embeddings.position_embedding.weight", source=path, kind=_KIND)[0]
    return {
        "hidden_size": width,
        "intermediate_size": shape_of(tensors, "encoder.layers.0.mlp.fc1.weight", source=path, kind=_KIND)[0],
        "num_hidden_layers": count_of(tensors, "encoder.layers."),
        "num_attention_heads": width // _HEAD_DIM,
        "image_size": round((positions - 1) ** 0.5) * patch,
        "patch_size": patch,
        # ViT-H of OpenCLIP computes the exact GELU, OpenAI's models the quick one.
        "hidden_act": "gelu",
    }
