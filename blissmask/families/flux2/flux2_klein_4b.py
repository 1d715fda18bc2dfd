"""FLUX.2 klein 4B: text to image, and edits of reference pictures."""

from __future__ import annotations

from blissmask.families.flux2 import parts
from blissmask.families.flux2.family import flux2

ARCHITECTURE = flux2(
    "flux2-klein-4b",
    cache_suffix="f2k4b",
    metadata_name="flux_2_klein_4b",
    modelspec="Flux.2-klein-4b/lora",
    text=(parts.QWEN, parts.QWEN_TOKENIZER),
    reading=parts.KLEIN_TEXT,
)
