"""Prior preservation: outside the mask, the LoRA is held to what the base model predicts.

A weight of 0 leaves a region unconstrained: in our study it filled with the subject's colours, and a floor brought the
training place back. This term kept backgrounds best.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Decay = Literal["constant", "linear", "cosine"]


@dataclass(frozen=True, slots=True)
class PriorRule:
    """How strongly, and at which noise.

    Attributes:
        weight: strength, > 0; 1 weighs the mean error outside like the mean error inside.
        min_level: noise level in [0, 1] below which an item is not held.
        decay: how the strength falls from noise level 1 to 0: high noise decides the structure, low noise the light.
    """

    weight: float
    min_level: float = 0.0
    decay: Decay = "constant"

    def strengths(self, levels_B: Tensor) -> Tensor:
        """Return the strength for each item by its own noise level, (B,), 0 where it is not held."""
        match self.decay:
            case "linear":
                decayed = levels_B
            case "cosine":
                decayed = 0.5 - 0.5 * torch.cos(math.pi * levels_B)
            case _:
                decayed = torch.ones_like(levels_B)
        return torch.where(levels_B >= self.min_level, self.weight * decayed, torch.zeros_like(levels_B))
