"""Bytes of pictures as the pixels that encoders take: float32 in [-1, 1]. H, W rows and columns; 3 = RGB."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def to_signed(pixels: Tensor) -> Tensor:
    """Return uint8 pixels of any shape as float32 in [-1, 1], on the same device."""
    return pixels.to(torch.float32) / 127.5 - 1.0


def signed_picture(rgb_HW3: NDArray[np.uint8]) -> Tensor:
    """Return image_3HW in [-1, 1], as text encoders and picture encoders take it."""
    return to_signed(torch.from_numpy(np.ascontiguousarray(rgb_HW3)).permute(2, 0, 1))
