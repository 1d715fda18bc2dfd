"""`train`: from the cache and a frozen denoiser to a LoRA file."""

from __future__ import annotations


