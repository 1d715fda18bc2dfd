"""Preservation: where the LoRA is held to what the base model predicts.

Outside the mask, so that backgrounds stay promptable; and inside it where a caption has the class word instead of the
trigger, so that nobody else becomes the subject.

A weight of 0 leaves a region unconstrained. In ``examples/leak_study`` such regions filled with the subject's colours,
a minimum weight brought the backgrounds of the training photos back, and this term kept backgrounds best.

B items.
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
    """How strongly items are held to the base model, by noise level.

    Attributes:
        weight: strength, > 0; 1 weighs the mean error outside like the mean error inside.
        min_level: noise level in [0, 1]; items below it are not held.
        decay: how the strength falls from noise level 1 to 0. High noise decides a picture's structure, low noise its
            light.
        mask_threshold: cells whose mask weight, before gamma and floor, is below this are outside, (0, 1].
    """

    weight: float
    min_level: float = 0.0
    decay: Decay = "constant"
    mask_threshold: float = 0.1

    def strengths(self, levels_B: Tensor) -> Tensor:
        """Return the strength for each item's noise level, (B,); 0 for items that are not held."""
        match self.decay:
            case "linear":
                decayed = levels_B
            case "cosine":
                decayed = 0.5 - 0.5 * torch.cos(math.pi * levels_B)
            case _:
                decayed = torch.ones_like(levels_B)
        return torch.where(levels_B >= self.min_level, self.weight * decayed, torch.zeros_like(levels_B))


@dataclass(frozen=True, slots=True)
class TriggerFreeRule:
    """How strongly the LoRA is held to the base model where the caption has the class word instead of the trigger.

    Without it everybody of the class comes to look like the subject. Source: ai-toolkit's "differential output
    preservation"; there it holds the whole picture, here what the mask weighs.

    Attributes:
        weight: strength, > 0; 1 weighs the mean error like that of the subject.
        min_level: noise level in [0, 1]; items below it are not held.
        share: of the steps that hold, (0, 1].
    """

    weight: float
    min_level: float = 0.0
    share: float = 1.0

    def strengths(self, levels_B: Tensor) -> Tensor:
        """Return the strength for each item's noise level, (B,); 0 for items that are not held."""
        return torch.where(levels_B >= self.min_level, self.weight, torch.zeros_like(levels_B))
