"""Which options a training state remembers, and which of them it cannot go on without."""

from __future__ import annotations

from blissmask.config.training import MaskLossSection, TrainSection

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

_PANELS_ASIDE = ("Saving", "Logging", "Previews")
_ASIDE = (
    *("memory", "gradient_checkpointing", "blocks_to_swap", "offload_inactive_dit", "fsdp", "sdpa"),
    *("max_train_steps", "max_train_epochs"),
)


def lasting_options(train: TrainSection, mask: MaskLossSection) -> dict[str, object]:
    """Return the options that change what the steps do, as JSON values; where files go and how memory is saved changes nothing."""
    kept = {name for name in TrainSection.model_fields if name not in _ASIDE and _panel(name) not in _PANELS_ASIDE}
    return {**train.model_dump(mode="json", include=kept), **mask.model_dump(mode="json")}


def _panel(name: str) -> object:
    shown = TrainSection.model_fields[name].json_schema_extra
    assert isinstance(shown, dict)
    return shown["panel"]
