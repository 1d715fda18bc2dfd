"""The metadata of a LoRA file: kohya's ``ss_*`` keys, the ``modelspec.*`` keys, and the mask settings.

All values are text. None of them is a time or a session number, so the same training gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from blissmask import __version__
from blissmask.config.model import Config
from blissmask.config.sections.dataset_section import DatasetSection
from blissmask.config.sections.lora_section import LoraSection
from blissmask.config.sections.mask_loss_section import MaskLossSection
from blissmask.config.sections.model_section import TINY, ModelSection
from blissmask.families.family import Family
from blissmask.families.files.identity import file_identity
from blissmask.tasks.train.rules import FULL_NOISE, base_loras
from blissmask.training.data.mask_totals import MaskTotals

BASE_HASH = "ss_sd_model_hash"
"""The key that names the weights of the base model by content."""

_LOADERS_NEED = ("ss_base_model_version", "ss_network_module", "ss_network_dim", "ss_network_alpha")


@dataclass(frozen=True, slots=True)
class TrainedOn:
    """Facts of the run that metadata names.

    Attributes:
        items, batches_per_epoch, batches_per_step, total_steps: counts; a step's micro-batches are those of all
            processes.
        totals: of the masks; None when the mask loss is off.
        base_identity: names the denoiser's weights by content.
        resolutions: ``WIDTHxHEIGHT`` of the items, the commonest first.
    """

    items: int
    batches_per_epoch: int
    batches_per_step: int
    total_steps: int
    totals: MaskTotals | None
    base_identity: str
    resolutions: tuple[str, ...]


def lora_metadata(config: Config, family: Family, facts: TrainedOn, *, step: int, name: str) -> dict[str, str]:
    """Return the metadata of a LoRA file.

    Args:
        config: with ``metadata`` off, only the keys that loaders need are returned.
        family: the family.
        facts: of the run.
        step: after how many steps the file is saved.
        name: of the file.
    """
    kohya = _kohya(config, family, facts, step)
    if not config.saving.metadata:
        return {key: kohya[key] for key in _LOADERS_NEED}
    kohya |= _caption_settings(config.datasets)
    masks = {"ss_mask_loss": "False"} if facts.totals is None else _mask_settings(config.mask_loss, facts.totals)
    return {**_modelspec(config, family, facts, name), **kohya, **masks}


def average_metadata(*, decay: float, steps: int) -> dict[str, str]:
    """Return what says that a file holds the running average of the LoRA.

    Args:
        decay: see ``training.lora.running_average``.
        steps: that are in it.
    """
    return {"ss_ema_decay": f"{decay:g}", "ss_ema_steps": str(steps)}


def _modelspec(config: Config, family: Family, facts: TrainedOn, name: str) -> dict[str, str]:
    saving, timesteps = config.saving, config.timesteps
    values = {
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": family.modelspec,
        "modelspec.implementation": f"blissmask {__version__}",
        "modelspec.title": saving.metadata_title or name,
        "modelspec.resolution": facts.resolutions[0] if facts.resolutions else "",
    }
    if timesteps.min_timestep is not None or timesteps.max_timestep is not None:
        highest = FULL_NOISE if timesteps.max_timestep is None else timesteps.max_timestep
        values["modelspec.timestep_range"] = f"{timesteps.min_timestep or 0},{highest}"
    given = {
        "author": saving.metadata_author,
        "description": saving.metadata_description,
        "license": saving.metadata_license,
        "tags": saving.metadata_tags,
    }
    return values | {f"modelspec.{key}": text for key, text in given.items() if text is not None}


def _kohya(config: Config, family: Family, facts: TrainedOn, step: int) -> dict[str, str]:
    lora, optimizer, timesteps = config.lora, config.optimizer, config.timesteps
    values = {
        "output_name": config.saving.output_name,
        "learning_rate": optimizer.learning_rate,
        "num_train_items": facts.items,
        "num_batches_per_epoch": facts.batches_per_epoch,
        "num_epochs": -(-facts.total_steps * facts.batches_per_step // facts.batches_per_epoch),
        "gradient_checkpointing": config.memory.gradient_checkpointing,
        "gradient_accumulation_steps": config.train.gradient_accumulation_steps,
        "max_train_steps": facts.total_steps,
        "lr_warmup_steps": optimizer.lr_warmup_steps,
        "lr_scheduler": optimizer.lr_scheduler,
        "base_model_version": family.metadata_name,
        "network_module": f"blissmask.{lora.network_type}",
        "network_dim": lora.network_dim,
        "network_alpha": lora.network_alpha or lora.network_dim,
        "network_dropout": lora.network_dropout,
        "base_weights": _base_weights(lora),
        "seed": config.train.seed,
        "training_comment": config.saving.training_comment,
        "optimizer": optimizer.optimizer_type,
        "max_grad_norm": optimizer.max_grad_norm,
        "scale_weight_norms": lora.scale_weight_norms,
        "weighting_scheme": timesteps.weighting_scheme,
        "timestep_sampling": timesteps.timestep_sampling,
        "sigmoid_scale": timesteps.sigmoid_scale,
        "guidance_scale": config.train.guidance_scale,
        "discrete_flow_shift": timesteps.discrete_flow_shift or family.default_shift,
        "sd_model_name": _base_name(config.model),
        "sd_model_hash": facts.base_identity,
        "resolutions": json.dumps(facts.resolutions),
        "steps": step,
        "epoch": step * facts.batches_per_step // facts.batches_per_epoch,
    }
    return _as_text(values)


def _base_weights(lora: LoraSection) -> str | None:
    """Return the LoRA files in the base model by name and hash, as JSON; None where there are none."""
    files = [
        {"name": base.path.name, "sha256": file_identity(base.path), "multiplier": base.multiplier}
        for base in base_loras(lora)
    ]
    return json.dumps(files) if files else None


def _caption_settings(datasets: Sequence[DatasetSection]) -> dict[str, str]:
    """Return how captions were changed from step to step, under kohya's keys; nothing where they were not.

    Where data sets differ, a value is the JSON list of theirs.
    """
    if not any(section.shuffle_caption or section.caption_dropout_rate for section in datasets):
        return {}
    values: dict[str, object] = {}
    for name in ("shuffle_caption", "keep_tokens", "caption_orders", "caption_dropout_rate"):
        of_each = [getattr(section, name) for section in datasets]
        values[name] = of_each[0] if len(set(of_each)) == 1 else json.dumps(of_each)
    return _as_text(values)


def _mask_settings(mask: MaskLossSection, totals: MaskTotals) -> Mapping[str, str]:
    settings = {
        name: value for name, value in mask.model_dump().items() if name not in ("use_mask_loss", "mask_loss_scale")
    }
    shares = totals.region_shares
    facts = {
        "mask_loss": True,
        "mask_entries": totals.masked,
        "mask_mean_loss_weight": f"{totals.mean_weight:.6f}",
        "mask_region_shares": None if shares is None else json.dumps([round(share, 6) for share in shares]),
    }
    return _as_text({**settings, **facts})


def _as_text(values: Mapping[str, object]) -> dict[str, str]:
    """Return ``ss_*`` values as text; what is not set is left out, since "None" would be read as a name."""
    return {f"ss_{name}": str(value) for name, value in values.items() if value is not None}


def _base_name(model: ModelSection) -> str:
    """Return the model's name without folders: metadata is published with the LoRA."""
    if model.is_tiny:
        # Files that the configuration names besides are not read.
        return TINY
    if model.dit is not None:
        return model.dit.name
    return Path(model.model).name if model.model else ""
