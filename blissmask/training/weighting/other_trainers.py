"""Mask-loss recipes of other trainers, and the settings here that equal them. Source: their code, read in 2026."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, slots=True)
class Recipe:
    """What another trainer does.

    Attributes:
        loss: its loss in one line.
        settings: the fields here that give the same.
        remarks: what they cannot express, and what it does differently in the data.
    """

    loss: str
    settings: Mapping[str, Any]
    remarks: tuple[str, ...]


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "onetrainer": Recipe(
            "mean(loss * max(mask, unmasked_weight)), unmasked_weight 0.1",
            {
                "use_mask_loss": True,
                "mask_mean": "sample",
                "mask_area_beta": 1.0,
                "background_weight": 0.1,
                "mask_transform": "pixel",
            },
            (
                "with its `normalize_masked_area_loss`, leave `mask_area_beta` at 0",
                "its prior weighs by 1 - mask, ours takes whole cells below `prior_mask_threshold`",
                "its `unmasked_probability` does nothing for these models",
                "an item whose mask is missing trains at full weight there without a word",
            ),
        ),
        "sd-scripts": Recipe(
            "mean(loss * mask)",
            {
                "use_mask_loss": True,
                "mask_mean": "sample",
                "mask_area_beta": 1.0,
                "mask_gamma": 1.0,
                "mask_min_weight": 0.0,
            },
            ("with `alpha_mask` it masks even when `--masked_loss` is off",),
        ),
        "ai-toolkit": Recipe(
            "mean(loss * mask / mean(mask)), mask mapped to [mask_min_value, 1]; 0.1 in its web interface, 0 in its code",
            {"use_mask_loss": True, "mask_mean": "batch", "mask_gamma": 1.0, "mask_min_weight": 0.1},
            (
                "it blurs masks a little at random on every load",
                "in a mixed batch, items without a mask weigh 0 there and 1 here",
            ),
        ),
    }
)
"""Trainer -> its recipe."""
