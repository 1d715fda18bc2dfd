"""FLUX.2 klein 9B: text to image, and edits of reference pictures."""

from __future__ import annotations

from blissmask.families.flux2.family import klein

ARCHITECTURE = klein("9b")
