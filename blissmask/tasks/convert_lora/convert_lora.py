"""`train --convert-lora`: a LoRA file in another spelling; no model, no cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from blissmask.cachefile.layout import OURS
from blissmask.cachefile.read import read_metadata
from blissmask.config.model import Config
from blissmask.config.training import TrainSection
from blissmask.errors import CacheError, InputError, ModelError, UsageError
from blissmask.families.protocol import Architecture
from blissmask.families.registry import ARCHS, load_architecture
from blissmask.storage.content import file_sha256
from blissmask.tasks.run.plan import Action, Plan, PlannedItem, RunContext, Summary, Table
from blissmask.tasks.run.workers import begin
from blissmask.training.lora.convert import LoraSummary, block_count, convert_lora, describe_lora, in_precision
from blissmask.training.lora.file import DTYPES, read_finite_lora, write_lora
from blissmask.training.lora.formats import LoraFormat
from blissmask.training.lora.names import layer_names

COMMAND = "train"
_MADE_FROM = f"{OURS}converted_from"
"""Metadata: hash of the file that was converted, and how."""


@dataclass(slots=True)
class ConversionPlan(Plan):
    """What is converted.

    Attributes:
        config: says how.
        arch: the family.
        source, target: the files.
        made_from: names the source and the settings by content.
    """

    config: Config = field(default_factory=Config)
    arch: Architecture | None = None
    source: Path = field(default_factory=Path)
    target: Path = field(default_factory=Path)
    made_from: str = ""


def plan(config: Config) -> ConversionPlan:
    """Look at the file and decide what is written.

    Raises:
        ModelError: the file is missing, damaged, no LoRA, or holds NaN or infinity.
        UsageError: the family is not known, or nothing would change.
        InputError: another file has the name of the new one.
    """
    section = config.train
    assert section.convert_lora is not None
    source, target = section.convert_lora, _target(section)
    held = describe_lora(read_finite_lora(source), source)
    metadata = read_metadata(source)
    arch = _family(config, metadata, source)
    if target.exists() and target.samefile(source):
        raise UsageError("the LoRA would be written over itself", where=[source], fix="choose another `--output-name`")
    precision = _precision(section)
    if held.file_format == section.lora_format and precision is None:
        others = " or ".join(f"`--lora-format {name}`" for name in get_args(LoraFormat) if name != held.file_format)
        raise UsageError(
            f"this LoRA is spelled the {held.file_format} way already", where=[source], fix=f"choose {others}"
        )
    made_from = f"{file_sha256(source)} {section.lora_format} {precision or 'as it was'}"
    action, reason = _decide(target, made_from, overwrite=config.run.force)
    item = PlannedItem(source.stem, action, reason or f"{held.file_format} to {section.lora_format}", (source,), target)
    return ConversionPlan(
        COMMAND,
        [item],
        (target.parent,),
        tables=[_overview(held, arch)],
        config=config,
        arch=arch,
        source=source,
        target=target,
        made_from=made_from,
    )


def run(plan: ConversionPlan, context: RunContext) -> Summary:
    """Convert the file.

    Args:
        plan: from :func:`plan`.
        context: unused; the conversion of one file takes a second and reports no progress.

    Raises ModelError when it holds layers that the family does not have, MachineError when the disk is full.
    """
    del context
    summary = begin(plan)
    if not plan.having(Action.WRITE):
        return summary
    assert plan.arch is not None
    section = plan.config.train
    tensors = read_finite_lora(plan.source)
    names = layer_names(plan.arch, block_count=block_count(tensors))
    converted = convert_lora(tensors, section.lora_format, names, plan.source)
    precision = _precision(section)
    if precision is not None:
        converted = in_precision(converted, DTYPES[precision])
    write_lora(plan.target, converted, {**read_metadata(plan.source), _MADE_FROM: plan.made_from})
    before, after = describe_lora(tensors, plan.source), describe_lora(converted, plan.target)
    rows = [
        ("family", plan.arch.name, plan.arch.name),
        ("spelling", before.file_format, after.file_format),
        ("tensors", str(len(tensors)), str(len(converted))),
        ("layers", str(before.layers), str(after.layers)),
        ("rank", _counted(before.ranks), _counted(after.ranks)),
        ("alpha / rank", _counted(before.scales), _counted(after.scales)),
        ("file", str(plan.source), str(plan.target)),
    ]
    summary.written = 1
    summary.details |= {"files": [str(plan.target)], "layers": after.layers, "lora_format": after.file_format}
    summary.tables.append(Table("Converted", ("what", "from", "to"), tuple(rows)))
    return summary


def _target(section: TrainSection) -> Path:
    assert section.convert_lora is not None
    named = "output_name" in section.model_fields_set
    name = section.output_name if named else f"{section.convert_lora.stem}-{section.lora_format}"
    return section.output_dir / f"{name}.safetensors"


def _precision(section: TrainSection) -> str | None:
    """Return the precision that was asked for; a conversion keeps the file's own otherwise."""
    return section.save_precision if "save_precision" in section.model_fields_set else None


def _family(config: Config, metadata: Mapping[str, str], source: Path) -> Architecture:
    """Return the family that is named, or else the one that the metadata of ours, musubi-tuner or ComfyUI names."""
    if config.model.arch is not None:
        return load_architecture(config.model.arch)
    families = [load_architecture(name) for name in ARCHS.names()]
    spec, version = metadata.get("modelspec.architecture", "").lower(), metadata.get("ss_base_model_version", "")
    matching = [arch for arch in families if arch.modelspec.lower() == spec] or [
        a for a in families if a.metadata_name == version
    ]
    if not matching:
        raise UsageError("the LoRA does not say which family it is for", where=[source], fix="give `--arch NAME`")
    return matching[0]


def _decide(target: Path, made_from: str, *, overwrite: bool) -> tuple[Action, str]:
    if not target.exists() or overwrite:
        return Action.WRITE, ""
    try:
        known = read_metadata(target).get(_MADE_FROM)
    except (CacheError, ModelError):
        known = None
    if known == made_from:
        return Action.SKIP, "already converted"
    if known is None:
        raise InputError(
            "another file has the name of the converted LoRA",
            where=[target],
            fix="choose another `--output-name`, or `--force`",
        )
    return Action.WRITE, ""


def _overview(held: LoraSummary, arch: Architecture) -> Table:
    rows = (
        ("family", arch.name),
        ("spelling", held.file_format),
        ("layers", str(held.layers)),
        ("rank", _counted(held.ranks)),
    )
    return Table("LoRA", ("what", "value"), rows)


def _counted(counts: Mapping[int, int] | Mapping[float, int]) -> str:
    """Say which values there are, the commonest first, each with how many layers have it where they differ."""
    ordered = sorted(counts.items(), key=lambda entry: -entry[1])
    shown = [
        f"{value:g}" if len(ordered) == 1 else f"{value:g} ({count} layer{'s' if count > 1 else ''})"
        for value, count in ordered
    ]
    return ", ".join(shown) or "-"
