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
        share: of the steps that hold, (0, 1]; in these the gradient is 1 / share times as large, so that its mean over
            all steps is that of a share of 1. Items that are only held are held in every step.
        min_level: noise level in [0, 1]; items below it are not held.
        decay: how the strength falls from noise level ``decay_start`` to 0. High noise decides a picture's structure,
            low noise its light.
        decay_start: noise level, (0, 1]; above it the strength is the full one.
        warmup_steps: steps over which the strength rises from 0.
        mask_threshold: cells whose mask weight, before gamma and floor, is below this are outside, (0, 1]. None holds
            every cell as far as it is not learned, by 1 minus its loss weight; source: the mask fork of musubi-tuner,
            whose default this is.
    """

    weight: float
    min_level: float = 0.0
    decay: Decay = "constant"
    mask_threshold: float | None = 0.1
    decay_start: float = 1.0
    warmup_steps: int = 0
    share: float = 1.0

    def strengths(self, levels_B: Tensor, *, step: int = 0) -> Tensor:
        """Return the strength for each item's noise level, (B,); 0 for items that are not held.

        Args:
            levels_B: noise levels.
            step: number of the step, from 0.
        """
        reached_B = (levels_B / self.decay_start).clamp(max=1.0)
        match self.decay:
            case "linear":
                decayed = reached_B
            case "cosine":
                decayed = 0.5 - 0.5 * torch.cos(math.pi * reached_B)
            case _:
                decayed = torch.ones_like(levels_B)
        weight = self.weight * min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else self.weight
        return torch.where(levels_B >= self.min_level, weight * decayed, torch.zeros_like(levels_B))

    def outside(self, mask_weights: Tensor, loss_weights: Tensor) -> Tensor:
        """Return how much each cell is held, in [0, 1], float32 of the shape of both.

        Args:
            mask_weights: as cached, before gamma and floor. With a threshold cells that only weigh less in training,
                such as hair, are not outside.
            loss_weights: what the cells are learned with.
        """
        if self.mask_threshold is None:
            return (1.0 - loss_weights).clamp(0.0, 1.0)
        return (mask_weights < self.mask_threshold).float()


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
