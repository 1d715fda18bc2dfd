"""The SigLIP image encoder of HunyuanVideo 1.5 image-to-video: its files, and the features the denoiser reads.

B: pictures, N: patches, D: width; 729 and 1152 in the full model (so400m, patches of 14 pixels, pictures of 384).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blissmask.families.files.loading import build_empty, load_weights
from blissmask.families.files.stored_tensors import Tensors, count_of, shape_of
from blissmask.families.files.tensor_files import open_checkpoint

_KIND = "SigLIP image encoder"
# Width of a head in so400m; no tensor's shape tells it.
_HEAD_DIM = 72
_UNUSED = ("text_model.", "logit_scale", "logit_bias")


def siglip_features(model: Any, pictures_B3HW: Tensor) -> Tensor:
    """Return features_BND of pictures in [-1, 1], float32: squeezed to the model's square, all patches after the last norm."""
    size = model.config.image_size
    weight = next(model.parameters())
    small_B3HW = F.interpolate(pictures_B3HW.float(), size=(size, size), mode="bicubic", antialias=True).clamp(-1, 1)
    return model(small_B3HW.to(weight.device, weight.dtype)).last_hidden_state.float()  # type: ignore[no-any-return]


def load_siglip(path: Path, *, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Load ``SiglipVisionModel`` from a single file in transformers' names, as ComfyUI publishes ``sigclip_vision_patch14_384``.

    Raises:
        ModelError: the file is damaged, no SigLIP, or lacks keys.
    """
    from transformers import SiglipVisionConfig, SiglipVisionModel

    tensors = {name.removeprefix("vision_model."): tensor for name, tensor in open_checkpoint(path).items()}
    config = SiglipVisionConfig(**config_of(tensors, path))
    model = build_empty(lambda: SiglipVisionModel(config))
    # Until transformers 5.x the class kept its layers one level deeper.
    level = "vision_model." if any(name.startswith("vision_model.") for name in model.state_dict()) else ""
    renamed = {level + name: tensor for name, tensor in tensors.items()}
    unused = [level + name for name in (*_UNUSED, "embeddings.position_ids")]
    return load_weights(model, renamed, source=path, device=device, dtype=dtype, ignore=unused)


def config_of(tensors: Tensors, path: Path) -> dict[str, Any]:
    """Return the arguments of ``SiglipVisionConfig`` that fit ``tensors`` (transformers names)."""
    shape = partial(shape_of, tensors, source=path, kind=_KIND)
    width, _, patch, _ = shape("embeddings.patch_embedding.weight")
    patches = shape("embeddings.position_embedding.weight")[0]
    return {
        "hidden_size": width,
        "intermediate_size": shape("encoder.layers.0.mlp.fc1.weight")[0],
        "num_hidden_layers": count_of(tensors, "encoder.layers."),
        "num_attention_heads": width // _HEAD_DIM,
        # 27 patches of 14 are 378 of the released model's 384 pixels; the convolution leaves the rest out.
        "image_size": _RELEASED_SIZE if (patches, patch) == (729, 14) else round(patches**0.5) * patch,
        "patch_size": patch,
        "vision_use_head": "head.probe" in tensors,
    }


_RELEASED_SIZE = 384
