"""Which options a training state remembers, and which of them it cannot go on without."""

from __future__ import annotations

from blissmask.config.fields import Section, lasting_fields
from blissmask.config.model import Config

FIXED = (
    "arch",
    "task",
    "experts",
    "network_type",
    "network_dim",
    "network_alpha",
    "use_rslora",
    "use_dora",
    "lokr_factor",
    "optimizer_type",
    "shared_lora",
    "loraplus_lr_ratio",
    "seed",
    "validation_split",
)
"""What a training state cannot go on without."""

_REMEMBERED = ("train", "memory", "lora", "optimizer", "timesteps", "mask_loss")
"""The sections that a training state remembers, in the order in which it writes them."""


def lasting_options(config: Config) -> dict[str, object]:
    """Return the options that change what the steps do, flat by name, as JSON values."""
    kept: dict[str, object] = {}
    for name in _REMEMBERED:
        section: Section = getattr(config, name)
        kept |= section.model_dump(mode="json", include=lasting_fields(type(section)))
    return kept
