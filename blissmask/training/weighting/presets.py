"""Mask-loss settings for a purpose. What the user gives on its own wins over the preset."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from blissmask.config.training import MaskLossSection, TrainSection
from blissmask.masks.tiers import MAX_VALUE, TierTable
from blissmask.training.step import StepRule
from blissmask.training.weighting.prior import PriorRule
from blissmask.training.weighting.rule import WeightRule

PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # The three of the weighted mask guide, "Recommended Settings".
        "person": {"mask_gamma": 0.7, "mask_min_weight": 0.05},
        "face": {"mask_gamma": 1.5, "mask_min_weight": 0.0},
        "style": {"mask_gamma": 0.5, "mask_min_weight": 0.1},
        # The two arms of our leak study that neither copied nor flooded the background.
        "person-prior": {"mask_min_weight": 0.0, "mask_mean": "sample", "prior_preservation_weight": 1.0},
        "face-prior": {
            "mask_min_weight": 0.0,
            "mask_mean": "sample",
            "prior_preservation_weight": 1.0,
            "body_weight": 0.0,
            "hair_weight": 0.0,
        },
    }
)
"""Preset -> the fields it sets."""


def with_preset(section: MaskLossSection) -> MaskLossSection:
    """Return ``section`` with the fields of its preset filled in where the user gave none; a preset turns the mask loss on."""
    if section.mask_preset is None:
        return section
    wanted = {"use_mask_loss": True, **PRESETS[section.mask_preset]}
    return section.model_copy(
        update={name: value for name, value in wanted.items() if name not in section.model_fields_set}
    )


def weight_rule(section: MaskLossSection, tiers: TierTable) -> WeightRule | None:
    """Return how weights are shaped, or None when the mask loss is off.

    Args:
        section: after :func:`with_preset`.
        tiers: the values that the masks were made with.
    """
    if not section.use_mask_loss:
        return None
    made_with = (tiers.face / MAX_VALUE, tiers.body / MAX_VALUE, tiers.hair / MAX_VALUE, tiers.background / MAX_VALUE)
    own = (section.face_weight, section.body_weight, section.hair_weight, section.background_weight)
    mixed = tuple(cached if weight is None else weight for weight, cached in zip(own, made_with, strict=True))
    changed = any(weight is not None for weight in own)
    return WeightRule(
        gamma=section.mask_gamma,
        min_weight=section.mask_min_weight,
        transform=section.mask_transform,
        tier_weights=(mixed[0], mixed[1], mixed[2], mixed[3]) if changed else None,
        cached_tier_weights=made_with,
        feather=section.mask_feather,
    )


def prior_rule(section: MaskLossSection) -> PriorRule | None:
    """Return the prior term, or None when it is off. ``section`` is after :func:`with_preset`."""
    if not section.use_mask_loss or not section.prior_preservation_weight:
        return None
    return PriorRule(section.prior_preservation_weight, section.prior_min_timestep / 1000, section.prior_decay)


def step_rule(mask: MaskLossSection, train: TrainSection) -> StepRule:
    """Return what each optimiser step does; ``mask`` is after :func:`with_preset`."""
    masked = mask.use_mask_loss
    return StepRule(
        seed=train.seed,
        mean=mask.mask_mean if masked else "batch",
        area_beta=mask.mask_area_beta if masked else 0.0,
        unmasked_probability=mask.unmasked_probability if masked else 0.0,
        prior=prior_rule(mask),
        loss_type=train.loss_type,
        huber_delta=train.huber_delta,
        weighting=train.weighting_scheme,
        strata=train.num_timestep_buckets or 0,
        max_grad_norm=train.max_grad_norm,
        max_weight_norm=train.scale_weight_norms or 0.0,
    )
