"""Latents of pictures as the tokens of a transformer, and the places of tokens.

Shapes: B items, C channels, H and W latent rows and columns, N tokens, D numbers of a token.
"""

from __future__ import annotations

import torch
from torch import Tensor


def pack(latents_BC1HW: Tensor, patch: int = 1) -> Tensor:
    """Return tokens (B, N, D) of ``patch`` x ``patch`` latent cells, row by row; a token holds its cells by channel."""
    batch, channels, _, height, width = latents_BC1HW.shape
    cells = latents_BC1HW.reshape(batch, channels, height // patch, patch, width // patch, patch)
    return cells.permute(0, 2, 4, 1, 3, 5).reshape(batch, height // patch * (width // patch), channels * patch**2)


def unpack(tokens_BND: Tensor, height: int, width: int, patch: int = 1) -> Tensor:
    """Return latents_BC1HW of ``height`` x ``width``: the inverse of :func:`pack`.

    Tokens behind those of the picture, such as those of reference pictures, are left out.
    """
    rows, columns = height // patch, width // patch
    tokens_BND = tokens_BND[:, : rows * columns]
    batch, _, depth = tokens_BND.shape
    cells = tokens_BND.reshape(batch, rows, columns, depth // patch**2, patch, patch)
    return cells.permute(0, 3, 1, 4, 2, 5).reshape(batch, depth // patch**2, 1, height, width)


def places(*sizes: int, device: torch.device, time: int = 0) -> Tensor:
    """Return the index of every cell of a grid of ``sizes`` along each axis, (N, axes), the last axis fastest.

    Args:
        sizes: cells along each axis, the first of which is time.
        device: of the result.
        time: what indices of time begin with.
    """
    axes = [torch.arange(size, device=device) for size in sizes]
    return torch.cartesian_prod(axes[0] + time, *axes[1:])
