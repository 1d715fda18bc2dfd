"""T5 encoders in single files, UMT5 and byT5: their names, and their sizes from shapes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from blissmask.families.files.keymap import KeyMap
from blissmask.families.files.part import Part
from blissmask.families.files.stored_tensors import StoredTensor, Tensors, count_of, shape_of

if TYPE_CHECKING:
    from torch import Tensor

_UNUSED = ("decoder.", "lm_head.")
TINY_WIDTH = 32
_KIND = "T5 text encoder"

# Left: the Wan repositories' `models_t5_umt5-xxl-enc-bf16.pth`. Right: transformers' UMT5EncoderModel, and ComfyUI.
UMT5 = KeyMap(
    [
        ("token_embedding", "shared"),
        ("norm", "encoder.final_layer_norm"),
        ("blocks.{}.norm1", "encoder.block.{}.layer.0.layer_norm"),
        ("blocks.{}.attn", "encoder.block.{}.layer.0.SelfAttention"),
        ("blocks.{}.pos_embedding.embedding", "encoder.block.{}.layer.0.SelfAttention.relative_attention_bias"),
        ("blocks.{}.norm2", "encoder.block.{}.layer.1.layer_norm"),
        ("blocks.{}.ffn.gate.0", "encoder.block.{}.layer.1.DenseReluDense.wi_0"),
        ("blocks.{}.ffn.fc1", "encoder.block.{}.layer.1.DenseReluDense.wi_1"),
        ("blocks.{}.ffn.fc2", "encoder.block.{}.layer.1.DenseReluDense.wo"),
    ]
)


def in_transformers_names(tensors: Tensors) -> Tensors:
    """Return the tensors under transformers' names, the token table and its tied twin as one.

    Reads the original ``models_t5_umt5-xxl-enc-bf16.pth``, and ComfyUI's files of UMT5 and byT5.
    """
    original = "token_embedding.weight" in tensors
    renamed = UMT5.rename(tensors) if original else dict(tensors)
    shared = renamed.get("shared.weight")
    if shared is not None:
        renamed["shared.weight"] = _read_once(shared)
        renamed.setdefault("encoder.embed_tokens.weight", renamed["shared.weight"])
    return renamed


def _read_once(shared: StoredTensor) -> StoredTensor:
    """Return ``shared`` so that all who read it get one tensor: apart, the token table of UMT5 would cost 2 GB more."""
    held: list[Tensor] = []

    def read() -> Tensor:
        if not held:
            held.append(shared.read())
        return held[0]

    return StoredTensor(shared.shape, read)


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


def umt5(tiny_name: str) -> Part:
    """Return UMT5-XXL as a part; ``tiny_name`` is its miniature's."""
    return Part(
        folder="text_encoder",
        field="text_encoder",
        class_path="transformers.UMT5EncoderModel",
        rename=in_transformers_names,
        config_of=config_of,
        ignore=_UNUSED,
        tiny=_tiny_umt5,
        tiny_name=tiny_name,
    )


def byt5(tiny_name: str) -> Part:
    """Return byT5 small as a part, the second text encoder of a model; ``tiny_name`` is its miniature's.

    Its tokens are bytes, so it needs no tokenizer's files.
    """
    return Part(
        folder="text_encoder_2",
        field="text_encoder_2",
        class_path="transformers.T5EncoderModel",
        rename=in_transformers_names,
        config_of=config_of,
        ignore=_UNUSED,
        tiny=_tiny_byt5,
        tiny_name=tiny_name,
    )


def byte_rows(model: Any, text: str, most: int) -> Tensor:
    """Return the states (L, D) of byT5 for the first ``most`` tokens of a text, on the CPU; none for an empty text."""
    import torch
    from transformers import ByT5Tokenizer

    weight = model.shared.weight
    if not text:
        return torch.zeros(0, weight.shape[1], dtype=weight.dtype)
    tokens = ByT5Tokenizer()(text, max_length=most, truncation=True, return_tensors="pt").to(weight.device)
    with torch.inference_mode():
        return model(input_ids=tokens["input_ids"]).last_hidden_state[0].cpu()  # type: ignore[no-any-return]


def _tiny_umt5() -> Any:
    """Return a two-block ``UMT5EncoderModel`` for the tokenizer of bytes."""
    from transformers import UMT5Config, UMT5EncoderModel

    sizes = {"vocab_size": 320, "d_model": TINY_WIDTH, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
    return UMT5EncoderModel(UMT5Config(**sizes, is_encoder_decoder=False))


def _tiny_byt5() -> Any:
    """Return a two-block ``T5EncoderModel`` for ``ByT5Tokenizer``, whose tokens are bytes."""
    from transformers import T5Config, T5EncoderModel

    sizes = {"vocab_size": 384, "d_model": TINY_WIDTH, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
    return T5EncoderModel(T5Config(**sizes, feed_forward_proj="gated-gelu", is_encoder_decoder=False))
