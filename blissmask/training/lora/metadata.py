"""What a LoRA file says of its training: kohya's ``ss_*`` keys, the ``modelspec.*`` keys, and our mask settings.

All values are text.

There is no clock and no session number in it: the same training gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from blissmask import __version__
from blissmask.config.training import MaskLossSection, ModelSection, TrainSection
from blissmask.families.protocol import Architecture
from blissmask.training.data.mask_totals import MaskTotals

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


def lora_metadata(
    arch: Architecture,
    model: ModelSection,
    train: TrainSection,
    mask: MaskLossSection,
    facts: TrainedOn,
    step: int,
    name: str,
) -> dict[str, str]:
    """Return the metadata of a LoRA file called ``name`` that is saved after ``step`` steps; what loaders need alone when it is off."""
    if not train.metadata:
        kohya = _kohya(arch, model, train, facts, step)
        return {key: kohya[key] for key in _LOADERS_NEED}
    return {
        **_modelspec(arch, train, facts, name),
        **_kohya(arch, model, train, facts, step),
        **(_mask_settings(mask, facts.totals) if facts.totals is not None else {"ss_mask_loss": "False"}),
    }


def _modelspec(arch: Architecture, train: TrainSection, facts: TrainedOn, name: str) -> dict[str, str]:
    values = {
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": arch.modelspec,
        "modelspec.implementation": f"blissmask {__version__}",
        "modelspec.title": train.metadata_title or name,
        "modelspec.resolution": facts.resolutions[0] if facts.resolutions else "",
    }
    if train.min_timestep is not None or train.max_timestep is not None:
        values["modelspec.timestep_range"] = (
            f"{train.min_timestep or 0},{1000 if train.max_timestep is None else train.max_timestep}"
        )
    given = {
        "author": train.metadata_author,
        "description": train.metadata_description,
        "license": train.metadata_license,
        "tags": train.metadata_tags,
    }
    return values | {f"modelspec.{key}": text for key, text in given.items() if text is not None}


def _kohya(arch: Architecture, model: ModelSection, train: TrainSection, facts: TrainedOn, step: int) -> dict[str, str]:
    values = {
        "output_name": train.output_name,
        "learning_rate": train.learning_rate,
        "num_train_items": facts.items,
        "num_batches_per_epoch": facts.batches_per_epoch,
        "num_epochs": -(-facts.total_steps * facts.batches_per_step // facts.batches_per_epoch),
        "gradient_checkpointing": train.gradient_checkpointing,
        "gradient_accumulation_steps": train.gradient_accumulation_steps,
        "max_train_steps": facts.total_steps,
        "lr_warmup_steps": train.lr_warmup_steps,
        "lr_scheduler": train.lr_scheduler,
        "base_model_version": arch.metadata_name,
        "network_module": f"blissmask.{train.network_type}",
        "network_dim": train.network_dim,
        "network_alpha": train.network_alpha or train.network_dim,
        "network_dropout": train.network_dropout,
        "seed": train.seed,
        "training_comment": train.training_comment,
        "optimizer": train.optimizer_type,
        "max_grad_norm": train.max_grad_norm,
        "scale_weight_norms": train.scale_weight_norms,
        "weighting_scheme": train.weighting_scheme,
        "timestep_sampling": train.timestep_sampling,
        "sigmoid_scale": train.sigmoid_scale,
        "discrete_flow_shift": train.discrete_flow_shift or arch.default_shift,
        "sd_model_name": _base_name(model),
        "sd_model_hash": facts.base_identity,
        "resolutions": json.dumps(facts.resolutions),
        "steps": step,
        "epoch": step * facts.batches_per_step // facts.batches_per_epoch,
    }
    return _as_text(values)


def _mask_settings(mask: MaskLossSection, totals: MaskTotals) -> Mapping[str, str]:
    settings = {
        name: value for name, value in mask.model_dump().items() if name not in ("use_mask_loss", "mask_loss_scale")
    }
    facts = {
        "mask_loss": True,
        "mask_entries": totals.masked,
        "mask_mean_loss_weight": f"{totals.mean_weight:.6f}",
        "mask_region_shares": None
        if totals.region_shares is None
        else json.dumps([round(share, 6) for share in totals.region_shares]),
    }
    return _as_text({**settings, **facts})


def _as_text(values: Mapping[str, object]) -> dict[str, str]:
    """Return ``ss_*`` values as text; what is not set is left out, since "None" would be read as a name."""
    return {f"ss_{name}": str(value) for name, value in values.items() if value is not None}


def _base_name(model: ModelSection) -> str:
    """Return the model's name without folders: metadata is published with the LoRA."""
    return model.dit.name if model.dit is not None else Path(model.model).name if model.model else ""
