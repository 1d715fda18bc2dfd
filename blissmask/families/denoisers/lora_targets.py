"""Which layers LoRA adapts by default in denoisers whose last block throws its text away."""

from __future__ import annotations

# Attention of double blocks in diffusers: pictures are read by `to_*`, text by `add_*`; `to_add_out` leads back to it.
_PICTURE = r"attn\.(to_[qkv]|to_out\.0|add_[kv]_proj)"
_TEXT = r"attn\.(add_q_proj|to_add_out)"


def without_last_text(blocks: int, *, picture_mlp: str, text_mlp: str) -> str:
    """Return the pattern of all attention and feed-forward layers that learn anything.

    What only writes to the text of the last block never gets a gradient: DDP stops at such adapters, and the text's
    queries get zeros for ever.

    Args:
        blocks: how many there are, ``transformer_blocks.0`` and on.
        picture_mlp, text_mlp: names of the two feed-forward modules of a block.
    """
    layers = r"net\.(0\.proj|2)"
    always, text_only = rf"{_PICTURE}|{picture_mlp}\.{layers}", rf"{_TEXT}|{text_mlp}\.{layers}"
    return rf"transformer_blocks\.(\d+\.({always})|(?!{blocks - 1}\.)\d+\.({text_only}))"
