"""Randomness as a function of the seed and the place in the run, never of what ran before.

So a resumed run draws what an undisturbed one would have drawn, without any generator state in the checkpoint.
"""

from __future__ import annotations

import hashlib

import torch


def derive_seed(seed: int, *place: int | str) -> int:
    """Return a 63-bit seed for ``place``, e.g. ``derive_seed(42, "noise", 7)``; equal in every process and on every machine."""
    text = "/".join(map(str, (seed, *place)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


def generator_for(seed: int, *place: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a fresh generator on ``device`` for ``place``; see :func:`derive_seed`."""
    return torch.Generator(device).manual_seed(derive_seed(seed, *place))
