"""FLUX.2 klein 9B: text to image, and edits of reference pictures."""

from __future__ import annotations

from blissmask.families.flux2 import parts
from blissmask.families.flux2.family import flux2

ARCHITECTURE = flux2(
    "flux2-klein-9b",
    cache_suffix="f2k9b",
    metadata_name="flux_2_klein_9b",
    modelspec="Flux.2-klein-9b/lora",
    text=(parts.QWEN, parts.QWEN_TOKENIZER),
    reading=parts.KLEIN_TEXT,
)
