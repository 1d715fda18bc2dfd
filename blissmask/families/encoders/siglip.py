"""SigLIP's vision half as an image encoder: its names, its size from shapes, the features that denoisers are shown.

Shapes: B items, H and W rows and columns; N patches and D their width, 729 and 1152 in the released model (so400m,
patches of 14 pixels, pictures of 384).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blissmask.families.files.part import Part
from blissmask.families.files.stored_tensors import Tensors, count_of, shape_of

if TYPE_CHECKING:
    from torch import Tensor

_UNUSED = ("text_model.", "logit_scale", "logit_bias", "embeddings.position_ids")
"""The text half, and what compares texts with pictures."""
TINY_WIDTH = 72
# Width of a head in so400m; no tensor's shape tells it.
_HEAD_DIM = 72
# 27 patches of 14 are 378 of the released model's 384 pixels; the convolution leaves the rest out.
_PATCHES, _PATCH, _SIZE = 27**2, 14, 384


def in_transformers_names(tensors: Tensors) -> Tensors:
    """Return the tensors under the names of ``SiglipVisionModel``; reads ComfyUI's ``sigclip_vision_patch14_384``."""
    return {name.removeprefix("vision_model."): tensor for name, tensor in tensors.items()}


def config_of(tensors: Tensors, path: Path) -> dict[str, Any]:
    """Return the arguments of ``SiglipVisionConfig`` that fit ``tensors`` (transformers names)."""
    shape = partial(shape_of, tensors, source=path, kind="SigLIP image encoder")
    width, _, patch, _ = shape("embeddings.patch_embedding.weight")
    patches = shape("embeddings.position_embedding.weight")[0]
    is_released = (patches, patch) == (_PATCHES, _PATCH)
    return {
        "hidden_size": width,
        "intermediate_size": shape("encoder.layers.0.mlp.fc1.weight")[0],
        "num_hidden_layers": count_of(tensors, "encoder.layers."),
        "num_attention_heads": width // _HEAD_DIM,
        "image_size": _SIZE if is_released else round(patches**0.5) * patch,
        "patch_size": patch,
        "vision_use_head": "head.probe" in tensors,
    }


def features(model: Any, pictures_B3HW: Tensor) -> Tensor:
    """Return features_BND of pictures in [-1, 1], float32: all patches after the last norm.

    The whole picture is squeezed to the model's square.
    """
    from torch.nn import functional as F

    size = model.config.image_size
    weight = next(model.parameters())
    small_B3HW = F.interpolate(pictures_B3HW.float(), size=(size, size), mode="bicubic", antialias=True).clamp(-1, 1)
    return model(small_B3HW.to(weight.device, weight.dtype)).last_hidden_state.float()  # type: ignore[no-any-return]


def _tiny() -> Any:
    """Return a two-layer ``SiglipVisionModel`` for pictures of 28 pixels."""
    from transformers import SiglipVisionConfig, SiglipVisionModel

    sizes = {"hidden_size": TINY_WIDTH, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 1}
    return SiglipVisionModel(SiglipVisionConfig(**sizes, image_size=28, patch_size=14))


def image_encoder(tiny_name: str) -> Part:
    """Return SigLIP's vision half as a part; ``tiny_name`` is its miniature's."""
    return Part(
        folder="image_encoder",
        field="image_encoder",
        class_path="transformers.SiglipVisionModel",
        rename=in_transformers_names,
        config_of=config_of,
        ignore=_UNUSED,
        tiny=_tiny,
        tiny_name=tiny_name,
    )
