"""Denoisers, and what families share of showing them a batch: conditioning, tokens, the layers that LoRA adapts."""
