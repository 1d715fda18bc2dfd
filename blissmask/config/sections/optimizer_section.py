"""[optimizer]: the optimiser, and the learning rate over the steps."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, model_validator

from blissmask.config.fields.kinds import Finite, Int, Number, Text, at_most
from blissmask.config.fields.option import Section, option

_PANEL = "Optimiser"
_MOST_NORM = 1e30
"""Far above the norm of any gradient, and far below the largest float32, 3.4e38."""

_FIND_THEIR_RATE = ("prodigy",)
"""Optimisers for which `learning_rate` is a factor; 1 is what their authors advise."""


def _as_text(value: Any) -> Any:
    """Take the numbers that TOML writes without quotes as text."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return str(value) if is_number else value


StepCount = Annotated[str, BeforeValidator(_as_text)]
"""Steps as a whole number, a fraction below 1 or a percentage: ``100``, ``0.05``, ``5%``."""


class OptimizerSection(Section):
    """[optimizer]: how the LoRA is moved by its gradient."""

    optimizer_type: Text = option(
        "adamw", "adamw, adamw8bit, adafactor, prodigy, schedulefree, or a dotted class path", panel=_PANEL
    )
    optimizer_args: list[Text] = option(
        [], "Argument of the optimiser; may be repeated", panel=_PANEL, metavar="KEY=VALUE"
    )
    # LoRA are trained with 1e-6 to 1e-3. Adam moves each weight by about the rate, so from 0.1 on its first steps throw
    # the weights away.
    learning_rate: Number = option(
        2e-4, "Learning rate", panel=_PANEL, first=True, gt=0, usual=(1e-7, 0.1), default_text="0.0002; 1 for prodigy"
    )
    # The paper of LoRA+ tries 1 to 64.
    loraplus_lr_ratio: Number | None = option(
        None, "Learning rate of B relative to A (LoRA+); 4 is usual", panel=_PANEL, gt=0, usual=(0.1, 1000)
    )
    weight_decay: Number = option(0.01, "Weight decay", panel=_PANEL, ge=0)
    # People write 1e9 and more for no clipping.
    max_grad_norm: Annotated[Finite, at_most(_MOST_NORM)] = option(
        1.0, "Clip the gradient to this norm; 0 turns clipping off", panel=_PANEL, ge=0
    )
    # Below 0.9 it is the LoRA of the last ten steps; 0.9999 needs tens of thousands of steps to forget the first ones.
    ema_decay: Number | None = option(
        None,
        "Also keep an average of the LoRA over the steps, of which this share stays after each step, and save it as "
        "NAME-ema; 0.99 to 0.9999 is usual",
        panel=_PANEL,
        gt=0,
        lt=1,
        usual=(0.9, 0.99999),
    )
    lr_scheduler: Literal[
        "constant",
        "constant_with_warmup",
        "linear",
        "cosine",
        "cosine_with_restarts",
        "cosine_with_min_lr",
        "polynomial",
        "inverse_sqrt",
        "warmup_stable_decay",
    ] = option("constant", "How the learning rate changes over the steps", panel=_PANEL)
    lr_warmup_steps: StepCount = option(
        "0", "Steps of rising learning rate: a number, a fraction or a percentage", panel=_PANEL
    )
    lr_decay_steps: StepCount = option("0", "Steps of falling learning rate (warmup_stable_decay)", panel=_PANEL)
    lr_scheduler_num_cycles: Int = option(1, "Restarts (cosine_with_restarts)", panel=_PANEL, ge=1)
    lr_scheduler_power: Number = option(1.0, "Exponent (polynomial)", panel=_PANEL, gt=0)
    lr_scheduler_min_lr_ratio: Number = option(
        0.0,
        "Lowest learning rate relative to the highest (cosine_with_min_lr, warmup_stable_decay)",
        panel=_PANEL,
        ge=0,
        le=1,
    )
    lr_scheduler_args: list[Text] = option(
        [], "Argument of the learning rate schedule; may be repeated", panel=_PANEL, metavar="KEY=VALUE"
    )

    @model_validator(mode="before")
    @classmethod
    def _choose_fitting_rate(cls, given: Any) -> Any:
        """Set the learning rate of an optimiser that finds its own to 1, unless the user gave one."""
        name = given.get("optimizer_type") if isinstance(given, dict) else None
        if isinstance(name, str) and name.lower() in _FIND_THEIR_RATE:
            return {"learning_rate": 1.0, **given}
        return given

    @property
    def finds_its_rate(self) -> bool:
        """Return whether the optimiser finds its learning rate alone."""
        return self.optimizer_type.lower() in _FIND_THEIR_RATE
