"""Compute the RMS norms of causal VAEs in three passes over memory instead of six.

Worth 13 % of an image encode on a CPU.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

# As in `torch.nn.functional.normalize`, which the VAEs use.
_EPSILON = 1e-12


class ChannelNorm(nn.Module):
    """Divide by the length of the channel vector and multiply by a gain.

    The VAEs' own norm up to float32 rounding (1e-6 of latents).

    Args:
        norm: diffusers' module, channels first, without a bias tensor.
    """

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.gain: Tensor = norm.gamma.detach() * norm.scale  # type: ignore[operator]

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x`` of shape (B, C, ...) over its channels."""
        inverse = torch.linalg.vector_norm(x, dim=1, keepdim=True).clamp_min_(_EPSILON).reciprocal_()
        return torch.mul(x, inverse).mul_(self.gain)


def use_channel_norms(encoder: nn.Module, *, class_name: str) -> None:
    """Put :class:`ChannelNorm` in place of every RMS norm of a float32 ``encoder``.

    In bfloat16 the original, which normalises in float32, stays: the shorter way would round once more.

    Args:
        encoder: a VAE encoder.
        class_name: the VAE's RMS norm class.
    """
    for parent in list(encoder.modules()):
        for name, child in list(parent.named_children()):
            if type(child).__name__ == class_name and child.gamma.dtype == torch.float32:
                assert not isinstance(child.bias, Tensor)
                setattr(parent, name, ChannelNorm(child))
