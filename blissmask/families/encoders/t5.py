"""Load T5 encoders from single files: UMT5 for Wan, byT5 for HunyuanVideo 1.5."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from blissmask.families.files.loading import build_empty, load_weights
from blissmask.families.files.stored_tensors import StoredTensor, Tensors, count_of, shape_of
from blissmask.families.files.tensor_files import open_checkpoint
from blissmask.families.wan import names

_KIND = "T5 text encoder"
_UNUSED = ("decoder.", "lm_head.")


def load_umt5(path: Path, *, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Load ``UMT5EncoderModel`` from a single file: the original ``models_t5_umt5-xxl-enc-bf16.pth``, or ComfyUI's, fp8 included.

    Raises:
        ModelError: the file is damaged, no UMT5, or lacks keys.
    """
    from transformers import UMT5Config, UMT5EncoderModel

    tensors = _in_transformers_names(open_checkpoint(path))
    config = UMT5Config(**config_of(tensors, path))
    model = build_empty(lambda: UMT5EncoderModel(config))
    return load_weights(model, tensors, source=path, device=device, dtype=dtype, ignore=_UNUSED)


def load_byt5(path: Path, *, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Load ``T5EncoderModel`` from a single file in transformers' names, as ComfyUI publishes ``byt5_small_glyphxl``.

    Raises:
        ModelError: the file is damaged, no T5, or lacks keys.
    """
    from transformers import T5Config, T5EncoderModel

    tensors = _in_transformers_names(open_checkpoint(path))
    config = T5Config(**config_of(tensors, path))
    model = build_empty(lambda: T5EncoderModel(config))
    return load_weights(model, tensors, source=path, device=device, dtype=dtype, ignore=_UNUSED)


def _in_transformers_names(tensors: Tensors) -> Tensors:
    original = "token_embedding.weight" in tensors
    renamed = names.UMT5.rename(tensors) if original else dict(tensors)
    if shared := renamed.get("shared.weight"):
        renamed.setdefault("encoder.embed_tokens.weight", _read_once(shared, renamed))
    return renamed


def _read_once(shared: StoredTensor, renamed: Tensors) -> StoredTensor:
    """Let the token table and its tied twin be one tensor in memory; apart they would cost 2 GB more."""
    held: list[Tensor] = []

    def read() -> Tensor:
        if not held:
            held.append(shared.read())
        return held[0]

    renamed["shared.weight"] = StoredTensor(shared.shape, read)
    return renamed["shared.weight"]


def config_of(tensors: Tensors, path: Path) -> dict[str, Any]:
    """Return the arguments of ``UMT5Config`` or ``T5Config`` that fit ``tensors`` (transformers names)."""
    first = "encoder.block.0.layer."
    vocabulary, width = shape_of(tensors, "shared.weight", source=path, kind=_KIND)
    buckets, heads = shape_of(
        tensors, f"{first}0.SelfAttention.relative_attention_bias.weight", source=path, kind=_KIND
    )
    inner = shape_of(tensors, f"{first}0.SelfAttention.q.weight", source=path, kind=_KIND)[0]
    return {
        "vocab_size": vocabulary,
        "d_model": width,
        "d_kv": inner // heads,
        "d_ff": shape_of(tensors, f"{first}1.DenseReluDense.wi_0.weight", source=path, kind=_KIND)[0],
        "num_layers": count_of(tensors, "encoder.block."),
        "num_heads": heads,
        "relative_attention_num_buckets": buckets,
        "is_encoder_decoder": False,
        "feed_forward_proj": "gated-gelu",
    }
