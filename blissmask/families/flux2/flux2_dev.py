"""FLUX.2 dev: text to image, and edits of reference pictures."""

from __future__ import annotations

from blissmask.families.flux2 import parts
from blissmask.families.flux2.family import flux2

ARCHITECTURE = flux2(
    "flux2-dev",
    cache_suffix="f2d",
    metadata_name="flux_2_dev",
    modelspec="Flux.2-dev/lora",
    text=(parts.MISTRAL, parts.MISTRAL_TOKENIZER),
    reading=parts.DEV_TEXT,
    guided=True,
)
