"""Randomness as a function of the seed and the place in the run, never of what ran before.

So a resumed run draws what a run without a break draws, and training states hold no generators. Step, batches, noise
levels and LoRA share this file, so that no two of them derive seeds in different ways.
"""

from __future__ import annotations

import hashlib

import torch


def derive_seed(seed: int, *place: int | str) -> int:
    """Return a 63-bit seed for ``place``, equal in every process and on every machine.

    Args:
        seed: of the run.
        place: where in the run, e.g. ``"noise", 7`` for the noise of micro-batch 7.
    """
    text = "/".join(str(part) for part in (seed, *place))
    # Torch takes signed 64-bit seeds, so the sign's bit goes.
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


def generator_for(seed: int, *place: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a fresh generator on ``device`` for ``place``; see :func:`derive_seed`."""
    return torch.Generator(device).manual_seed(derive_seed(seed, *place))
