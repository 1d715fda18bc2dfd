"""[train]: how long, on what share of the data, which expert, and the shape of the error."""

from __future__ import annotations

from typing import Literal

from blissmask.config.fields.kinds import Int, MicroBatches, Number, Seed, Switch
from blissmask.config.fields.option import Section, option

_PANEL = "Training"


class TrainSection(Section):
    """[train]: the loop."""

    max_train_steps: Int = option(1600, "Optimiser steps", panel=_PANEL, first=True, lasting=False, ge=1)
    max_train_epochs: Int | None = option(
        None, "Passes over the data set, instead of a number of steps", panel=_PANEL, lasting=False, ge=1
    )
    prepare: Switch = option(
        False,
        "First bring masks, subject masks and cache up to date, as the configuration asks for them",
        panel=_PANEL,
        first=True,
        lasting=False,
    )
    gradient_accumulation_steps: MicroBatches = option(1, "Micro-batches per optimiser step", panel=_PANEL, ge=1)
    seed: Seed = option(42, "Seed of everything random", panel=_PANEL, ge=0)
    validation_split: Number = option(
        0.0,
        "Share of the items to hold out; their loss, at fixed noise, is logged as `val/loss`",
        panel=_PANEL,
        ge=0,
        lt=1,
    )
    validate_every_n_steps: Int | None = option(
        None,
        "With `validation_split`, steps between two looks at what is held out",
        panel=_PANEL,
        ge=1,
        default_text="an epoch",
    )
    expert: Literal["high", "low", "both"] | None = option(
        None, "Which expert of a two-expert family to train", panel=_PANEL, default_text="low"
    )
    high_noise_share: Number | None = option(
        None,
        "With `expert = both`, share of the steps for the high-noise expert",
        panel=_PANEL,
        gt=0,
        lt=1,
        default_text="by the timestep distribution",
    )
    shared_lora: Switch = option(False, "With `expert = both`, train one LoRA for both experts", panel=_PANEL)
    expert_run_length: Int = option(
        8, "With `expert = both`, steps one expert gets in a row, so that weights move rarely", panel=_PANEL, ge=1
    )
    guidance_scale: Number | None = option(
        None,
        "Guidance that a model distilled for it is shown while it trains",
        panel=_PANEL,
        ge=0,
        default_text="the family's",
    )
    loss_type: Literal["mse", "huber"] = option(
        "mse", "Squared error, or Huber, which takes outliers less seriously", panel=_PANEL
    )
    huber_delta: Number = option(1.0, "Error from which Huber grows linearly", panel=_PANEL, gt=0)
