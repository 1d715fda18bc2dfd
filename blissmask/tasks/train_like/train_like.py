"""`train --like`: print the settings here that equal another trainer's mask loss; nothing is trained.

Source of the recipes: the code of these trainers, read in 2026.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from blissmask.config.model import Config
from blissmask.tasks.run.plan import Plan, RunContext, Summary, Table
from blissmask.tasks.run.workers import begin

COMMAND = "train"


@dataclass(frozen=True, slots=True)
class Recipe:
    """The mask loss of another trainer.

    Attributes:
        loss: its formula in one line.
        settings: the fields of [mask_loss] that give the same loss here.
        remarks: what these settings cannot express, and what the trainer does differently with its data.
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
            "mean(loss * mask / mean(mask)), mask mapped to [mask_min_value, 1]; "
            "0.1 in its web interface, 0 in its code",
            {"use_mask_loss": True, "mask_mean": "batch", "mask_gamma": 1.0, "mask_min_weight": 0.1},
            (
                "it blurs masks a little at random on every load",
                "in a mixed batch, items without a mask weigh 0 there and 1 here",
            ),
        ),
    }
)
"""Trainer -> its recipe."""


def outputs(config: Config) -> tuple[Path, ...]:
    """Return no folder: nothing is written."""
    return ()


def plan(config: Config) -> Plan:
    """Look up the recipe of the trainer that ``--like`` names."""
    trainer = config.mask_loss.like
    # The command line chooses this task by that option.
    assert trainer is not None
    recipe = RECIPES[trainer]
    settings = Table(
        title=f"{trainer}: {recipe.loss}",
        columns=("Setting in [mask_loss]", "Value"),
        rows=tuple((name, json.dumps(value)) for name, value in recipe.settings.items()),
    )
    remarks = Table(
        title="What these settings do not say",
        columns=("Remark",),
        rows=tuple((remark,) for remark in recipe.remarks),
    )
    return Plan(COMMAND, tables=[settings, remarks])


def run(plan: Plan, context: RunContext) -> Summary:
    """Return the tables of the plan: there is nothing to do."""
    summary = begin(plan)
    summary.tables += plan.tables
    return summary
