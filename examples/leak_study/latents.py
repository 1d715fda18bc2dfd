"""Encode pixels as latents, and decode them.

In the first way a latent depends on the pixels of its own cell only; in the second, a small convolutional autoencoder
reads pixels around the cell too. B pictures, C channels, H and W pixel rows and columns, h and w latent ones.
"""

from __future__ import annotations

from typing import Protocol

import torch
import world
from torch import Tensor, nn
from torch.nn import functional as F

STRIDE = 2
GRID_HW = (world.SIDE // STRIDE, world.SIDE // STRIDE)


class Codec(Protocol):
    """Encodes pictures into latents of one frame and about unit variance.

    Attributes:
        channels: number of latent channels.
        reach: number of pixels beyond a cell that its latent depends on.
    """

    channels: int
    reach: int

    def encode(self, rgb_B3HW: Tensor) -> Tensor:
        """Return latents_BC1hw."""

    def decode(self, latents_BC1hw: Tensor) -> Tensor:
        """Return rgb_B3HW in about [-1, 1]."""


class CellCodec:
    """Rotates the 2x2 pixels of each cell by a fixed rotation: exactly invertible, and independent of other cells."""

    channels = 3 * STRIDE**2
    reach = 0
    _SCALE = 1.6

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(9)
        self._rotation = torch.linalg.qr(torch.randn(self.channels, self.channels, generator=generator))[0]

    def encode(self, rgb_B3HW: Tensor) -> Tensor:
        """Return latents_BC1hw."""
        cells_BChw = F.pixel_unshuffle(rgb_B3HW, STRIDE)
        return (torch.einsum("oc,bchw->bohw", self._rotation, cells_BChw) * self._SCALE).unsqueeze(2)

    def decode(self, latents_BC1hw: Tensor) -> Tensor:
        """Return rgb_B3HW."""
        cells_BChw = torch.einsum("co,bchw->bohw", self._rotation, latents_BC1hw.squeeze(2) / self._SCALE)
        return F.pixel_shuffle(cells_BChw, STRIDE)


class ConvCodec(nn.Module):
    """An autoencoder whose latents depend on 6x6 pixels, 2 beyond their cell.

    It has fewer channels (8) than a cell has values (12), so it has to use the neighbourhood.
    """

    channels = 8
    reach = 2

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        # 3x3 reaches one pixel out; 4x4 at stride 2 reaches one beyond its cell.
        self.encoder = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, self.channels, 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(self.channels, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, 4 * width, 1),
            nn.PixelShuffle(STRIDE),
            nn.SiLU(),
            nn.Conv2d(width, 3, 3, padding=1),
        )
        # Parameters so that they are saved with the rest; the statistics are set once, after training.
        self.mean = nn.Parameter(torch.zeros(self.channels, 1, 1), requires_grad=False)
        self.std = nn.Parameter(torch.ones(self.channels, 1, 1), requires_grad=False)

    def encode(self, rgb_B3HW: Tensor) -> Tensor:
        """Return latents_BC1hw."""
        latents_BC1hw: Tensor = ((self.encoder(rgb_B3HW) - self.mean) / self.std).unsqueeze(2)
        return latents_BC1hw

    def decode(self, latents_BC1hw: Tensor) -> Tensor:
        """Return rgb_B3HW."""
        rgb_B3HW: Tensor = self.decoder(latents_BC1hw.squeeze(2) * self.std + self.mean)
        return rgb_B3HW
