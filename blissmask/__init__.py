"""Decide how much a LoRA learns from each part of a picture."""

__version__ = "0.1.0"
