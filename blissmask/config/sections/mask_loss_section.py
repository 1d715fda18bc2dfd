"""[mask_loss]: how mask weights become loss weights."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import model_validator

from blissmask.config.fields.kinds import Feather, Finite, Int, Number, Switch, at_most
from blissmask.config.fields.option import Section, option

_PANEL = "Mask loss"

# One more forward pass makes a step 1.5 times as dear (1.33 with checkpointing), in half of the steps 1.25 (1.17). In
# our leak study, six runs of each, half of the steps and all of them kept the asked place in 89 % of the pictures, with
# a drift on other people of 0.17 and 0.18; over runs these spread by 6 % and 0.02. The face came out a little worse
# (error 0.39 and 0.38, spread 0.07), since to Adam larger gradients in fewer steps are a larger variance.
_PRIOR: Mapping[str, Any] = {"prior_preservation_weight": 1.0, "prior_share": 0.5}

PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # The three of the weighted mask guide, "Recommended Settings".
        "person": {"mask_gamma": 0.7, "mask_min_weight": 0.05},
        "face": {"mask_gamma": 1.5, "mask_min_weight": 0.0},
        "style": {"mask_gamma": 0.5, "mask_min_weight": 0.1},
        # The two arms of our leak study that neither copied nor flooded the background.
        "person-prior": {"mask_min_weight": 0.0, "mask_mean": "sample", **_PRIOR},
        "face-prior": {
            "mask_min_weight": 0.0,
            "mask_mean": "sample",
            "body_weight": 0.0,
            "hair_weight": 0.0,
            **_PRIOR,
        },
    }
)
"""Preset -> the fields it sets, beside turning the mask loss on. What the user gives on its own wins."""

PRESET_FIELDS = frozenset({"use_mask_loss", *(name for fields in PRESETS.values() for name in fields)})
"""What presets decide about. A preset on the command line takes the place of all of these in the file."""


_MOST_GAMMA = 100.0
"""A weight of 0.99 becomes 0.37 at this, and one of 0.9 nothing: only what is fully shown is learned."""
_MOST_BETA = 10.0
"""An item of a tenth of the full weight then has a ten-billionth of the loss."""


class MaskLossSection(Section):
    """[mask_loss]: how mask weights become loss weights."""

    use_mask_loss: Switch = option(False, "Weigh the loss by the masks in the cache", panel=_PANEL)
    mask_preset: Literal["person", "face", "style", "person-prior", "face-prior"] | None = option(
        None,
        "Settings for a purpose; what is also given on its own wins. The two with `prior` keep backgrounds best",
        panel=_PANEL,
        first=True,
    )
    empty_mask: Literal["skip", "train", "error"] = option(
        "skip",
        "When an item has weight 0 everywhere: leave it out, train it as the floor or the prior says, or stop",
        panel=_PANEL,
    )
    like: Literal["onetrainer", "sd-scripts", "ai-toolkit"] | None = option(
        None, "Print the settings here that equal another trainer's mask loss, then stop", panel=_PANEL
    )
    # The guide uses 0.5 to 2. At 10 a body weighs 0.001, at 0.1 hair 0.89: beyond, tiers are all or nothing.
    mask_gamma: Annotated[Finite, at_most(_MOST_GAMMA)] = option(
        1.0,
        "Contrast of the weights: below 1 lifts body and hair, above 1 favours the face",
        panel=_PANEL,
        gt=0,
        usual=(0.1, 10),
    )
    mask_min_weight: Number = option(
        0.0,
        "Floor: what a weight of 0 becomes; the background is trained a little, and so learned a little",
        panel=_PANEL,
        ge=0,
        lt=1,
    )
    mask_loss_scale: Number = option(
        1.0, "No effect, since the weighted mean divides it out", panel=_PANEL, gt=0, hidden=True
    )
    mask_mean: Literal["batch", "sample", "global"] = option(
        "batch", "Average over each micro-batch, over each item, or over the whole optimiser step", panel=_PANEL
    )
    mask_transform: Literal["latent", "pixel"] = option(
        "latent",
        "Shape the mean weight of each latent cell, or the weight of each region in it (exact at edges)",
        panel=_PANEL,
    )
    face_weight: Number | None = option(
        None, "Mask weight of faces, instead of the cached one", panel=_PANEL, ge=0, le=1
    )
    body_weight: Number | None = option(
        None,
        "Mask weight of bodies, instead of the cached one; a mask binds clothes more than no mask does",
        panel=_PANEL,
        ge=0,
        le=1,
    )
    hair_weight: Number | None = option(
        None,
        "Mask weight of hair, instead of the cached one; 0.5 learns new hair better than 0.31",
        panel=_PANEL,
        ge=0,
        le=1,
    )
    background_weight: Number | None = option(
        None, "Mask weight of the background, instead of the cached one", panel=_PANEL, ge=0, le=1
    )
    mask_feather: Feather = option(0.0, "Soften masks by a Gaussian of this many latent cells", panel=_PANEL, ge=0)
    mask_area_beta: Annotated[Finite, at_most(_MOST_BETA)] = option(
        0.0, "Multiply an item's loss by its mean loss weight to this power; 0.5 calms small masks", panel=_PANEL, ge=0
    )
    unmasked_probability: Number = option(0.0, "Share of the steps that ignore the masks", panel=_PANEL, ge=0, le=1)
    prior_preservation_weight: Number = option(
        0.0,
        "Keep what is outside the mask as the base model draws it; 1, with a floor of 0, did best in our study",
        panel=_PANEL,
        ge=0,
    )
    prior_share: Number = option(
        1.0,
        "Share of the steps that do so, the more strongly the fewer they are; the others take no longer. 0.5 in the "
        "presets with `prior`",
        panel=_PANEL,
        gt=0,
        le=1,
    )
    prior_mask: Literal["threshold", "continuous"] = option(
        "threshold",
        "What is held: cells outside the mask, or every cell by 1 minus its loss weight, as the mask fork does",
        panel=_PANEL,
    )
    prior_mask_threshold: Number = option(
        0.1, "Cells whose mask weight, before gamma and floor, is below this are outside", panel=_PANEL, gt=0, le=1
    )
    prior_min_timestep: Int = option(
        0, "Hold to the base model only at noise levels of at least this, 0 to 1000", panel=_PANEL, ge=0, le=1000
    )
    prior_decay: Literal["constant", "linear", "cosine"] = option(
        "constant", "How the hold weakens from `prior_decay_start` to no noise", panel=_PANEL
    )
    prior_decay_start: Int = option(
        1000, "Noise level below which `prior_decay` begins, 1 to 1000", panel=_PANEL, ge=1, le=1000
    )
    prior_warmup_steps: Int = option(0, "Steps over which the hold rises from 0", panel=_PANEL, ge=0)
    trigger_free_weight: Number = option(
        0.0,
        "With `class_word` instead of `trigger` in captions, keep what the mask shows as the base model draws it; then "
        "nobody else becomes the subject",
        panel=_PANEL,
        ge=0,
    )
    trigger_free_min_timestep: Int = option(
        0, "Do so only at noise levels of at least this, 0 to 1000", panel=_PANEL, ge=0, le=1000
    )
    trigger_free_share: Number = option(
        1.0, "Share of the steps that do so; each of them takes twice as long or more", panel=_PANEL, gt=0, le=1
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_in_preset(cls, given: Any) -> Any:
        """Set the fields of the preset that the user did not give; a preset turns the mask loss on."""
        name = given.get("mask_preset") if isinstance(given, dict) else None
        # A name that is no preset is left for the validation of the field, which lists those there are.
        if not isinstance(name, str) or name not in PRESETS:
            return given
        return {"use_mask_loss": True, **PRESETS[name], **given}
