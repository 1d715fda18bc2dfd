"""[timesteps]: at which noise levels the model is trained, and how much each counts."""

from __future__ import annotations

from typing import Literal

from blissmask.config.fields.kinds import Int, Number, Switch
from blissmask.config.fields.option import Section, option

_PANEL = "Timesteps"


class TimestepsSection(Section):
    """[timesteps]: how noise levels are drawn. The names are those of musubi-tuner."""

    timestep_sampling: Literal[
        "uniform", "sigmoid", "shift", "flux_shift", "flux2_shift", "qwen_shift", "krea2_shift", "logsnr"
    ] = option("shift", "How noise levels are drawn", panel=_PANEL)
    # Released models are trained and used with 1 to 17. At 100, 99 of 100 steps are at noise levels above 0.5.
    discrete_flow_shift: Number | None = option(
        None, "Shift of the noise levels", panel=_PANEL, gt=0, usual=(0.1, 100), default_text="the family's"
    )
    sigmoid_scale: Number = option(1.0, "Width of the sigmoid and shift distributions", panel=_PANEL, gt=0)
    logit_mean: Number = option(0.0, "Mean of the log signal-to-noise ratio (logsnr)", panel=_PANEL)
    logit_std: Number = option(1.0, "Standard deviation of the log signal-to-noise ratio (logsnr)", panel=_PANEL, gt=0)
    weighting_scheme: Literal["none", "sigma_sqrt", "cosmap"] = option(
        "none", "Weigh the loss by the noise level", panel=_PANEL
    )
    min_timestep: Int | None = option(None, "Lowest noise level, 0 to 1000", panel=_PANEL, ge=0, le=1000)
    max_timestep: Int | None = option(None, "Highest noise level, 0 to 1000", panel=_PANEL, ge=0, le=1000)
    preserve_distribution_shape: Switch = option(
        False, "Cut the range out of the distribution instead of squeezing the distribution into it", panel=_PANEL
    )
    num_timestep_buckets: Int | None = option(
        None, "Spread noise levels evenly over this many strata; 4 to 10 is usual", panel=_PANEL, ge=2, le=1000
    )
