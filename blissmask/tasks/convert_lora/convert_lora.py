"""`train --convert-lora`: write a LoRA file in another spelling. Neither a model nor a cache is needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from torch import Tensor

from blissmask.cachefile.layout import OURS
from blissmask.cachefile.read import read_metadata
from blissmask.config.model import Config
from blissmask.config.saving_section import SavingSection
from blissmask.errors import CacheError, InputError, ModelError, Problem, UsageError
from blissmask.families.family import Family
from blissmask.families.registry import FAMILIES, load_family
from blissmask.storage.content import file_sha256
from blissmask.storage.seen import states_of
from blissmask.tasks.run.plan import Action, Plan, PlannedItem, RunContext, Summary, Table
from blissmask.tasks.run.wording import counted
from blissmask.tasks.run.workers import begin, reading
from blissmask.training.lora.convert import (
    LoraSummary,
    block_count,
    convert_lora,
    describe_lora,
    in_precision,
    needs_weights,
    spelled_layers,
)
from blissmask.training.lora.dora_norms import WeightOf
from blissmask.training.lora.file import DIVIDED_BY_BASE, DORA_DIVISOR, DTYPES, read_finite_lora, write_lora
from blissmask.training.lora.formats import LoraFormat
from blissmask.training.lora.names import layer_names

COMMAND = "train"
_MADE_FROM = f"{OURS}converted_from"
"""Metadata key: the hash of the converted file, and the settings of the conversion."""


@dataclass(slots=True, kw_only=True)
class ConversionPlan(Plan):
    """Which LoRA file is converted, and how.

    Attributes:
        family: the model family that the LoRA is for; it knows the names of the layers.
        source, target: the files.
        file_format: the spelling to write.
        precision: of the written tensors; None keeps the file's own.
        made_from: names the content of the source and the settings; the new file remembers it.
        weights: the model file, where DoRA's norms must be computed anew; see ``training.lora.dora_norms``.
    """

    family: Family
    source: Path
    target: Path
    file_format: LoraFormat
    precision: str | None
    made_from: str
    weights: Path | None


def outputs(config: Config) -> tuple[Path, ...]:
    """Return the folder that is written to."""
    return (config.saving.output_dir,)


def plan(config: Config) -> ConversionPlan:
    """Read the file and decide whether it is converted.

    Raises:
        ModelError: the file is missing, damaged, no LoRA, or holds NaN or infinity.
        UsageError: the family is not known, or nothing would change.
        InputError: another file has the name of the new one.
    """
    section, source = config.saving, config.saving.convert_lora
    # The command line chooses this task by that option.
    assert source is not None
    target = _target(section, source)
    states = states_of((source,), target)
    tensors, metadata = read_finite_lora(source), read_metadata(source)
    found = describe_lora(tensors, source)
    family = _family(config.model.arch, metadata, source)
    if target.exists() and target.samefile(source):
        raise UsageError("the LoRA would be written over itself", where=[source], fix="choose another `--output-name`")
    file_format, precision = section.lora_format, _precision(section)
    if found.file_format == file_format and precision is None:
        others = " or ".join(f"`--lora-format {name}`" for name in get_args(LoraFormat) if name != found.file_format)
        raise UsageError(
            f"this LoRA is spelled the {found.file_format} way already", where=[source], fix=f"choose {others}"
        )
    weights = None
    if needs_weights(tensors, file_format, by_base=_divided_by_base(metadata)):
        weights = _frozen_weights(config, source)
    made_from = f"{file_sha256(source)} {file_format} {precision or 'as it was'}"
    action, reason = _decide(target, made_from, overwrite=config.run.force)
    item = PlannedItem(
        key=source.stem,
        action=action,
        reason=reason or f"{found.file_format} to {file_format}",
        inputs=(source,),
        output=target,
        states=states,
    )
    return ConversionPlan(
        command=COMMAND,
        items=[item],
        outputs=outputs(config),
        warnings=_partly_read(family, tensors, file_format, source),
        tables=[_overview(found, family)],
        family=family,
        source=source,
        target=target,
        file_format=file_format,
        precision=precision,
        made_from=made_from,
        weights=weights,
    )


def run(plan: ConversionPlan, context: RunContext) -> Summary:
    """Convert the file.

    Raises:
        ModelError: the file holds layers that the family does not have.
        MachineError: the disk is full.
    """
    summary = begin(plan)
    if not plan.having(Action.WRITE):
        return summary
    with reading(seen := plan.items[0].seen):
        tensors = read_finite_lora(plan.source)
    names = layer_names(plan.family, block_count=block_count(tensors))
    metadata = read_metadata(plan.source)
    weight_of = None if plan.weights is None else _weight_reader(plan.family, plan.weights, names.modules)
    by_base = _divided_by_base(metadata)
    converted = convert_lora(tensors, plan.file_format, names, plan.source, by_base=by_base, weight_of=weight_of)
    if plan.precision is not None:
        converted = in_precision(converted, DTYPES[plan.precision])
    if weight_of is not None:
        metadata = _with_divisor(metadata, by_base=plan.file_format != "diffusers")
    write_lora(plan.target, converted, {**metadata, _MADE_FROM: plan.made_from}, seen=seen)
    before, after = describe_lora(tensors, plan.source), describe_lora(converted, plan.target)
    rows = (
        ("family", plan.family.name, plan.family.name),
        ("spelling", before.file_format, after.file_format),
        ("tensors", str(len(tensors)), str(len(converted))),
        ("layers", str(before.layers), str(after.layers)),
        ("rank", _counted(before.ranks), _counted(after.ranks)),
        ("alpha / rank", _counted(before.scales), _counted(after.scales)),
        ("file", str(plan.source), str(plan.target)),
    )
    summary.written = 1
    summary.details |= {"files": [str(plan.target)], "layers": after.layers, "lora_format": after.file_format}
    summary.tables.append(Table("Converted", ("what", "from", "to"), rows))
    return summary


def _partly_read(family: Family, tensors: Mapping[str, Tensor], file_format: LoraFormat, source: Path) -> list[Problem]:
    """Return a warning for each program that would find some of the layers of the new file and leave out the others."""
    names = layer_names(family, block_count=block_count(tensors))
    layers = spelled_layers(tensors, file_format, names)
    warnings = []
    for reader in family.lora_readers:
        unread = reader.unread(layers, names.modules)
        if not unread or len(unread) == len(layers):
            continue
        whole = [
            f"`--lora-format {other}`"
            for other in get_args(LoraFormat)
            if not reader.unread(spelled_layers(tensors, other, names), names.modules)
        ]
        what = f"{reader.program} would use {len(layers) - len(unread)} of the {len(layers)} layers of the new file"
        fix = f"for {reader.program} take {' or '.join(whole)}" if whole else "load it in another program"
        warnings.append(Problem(what, (str(source), f"it does not find `{unread[0]}`"), fix))
    return warnings


def _divided_by_base(metadata: Mapping[str, str]) -> bool:
    return metadata.get(DORA_DIVISOR) == DIVIDED_BY_BASE


def _with_divisor(metadata: Mapping[str, str], *, by_base: bool) -> dict[str, str]:
    kept = {key: value for key, value in metadata.items() if key != DORA_DIVISOR}
    return {**kept, DORA_DIVISOR: DIVIDED_BY_BASE} if by_base else kept


def _frozen_weights(config: Config, source: Path) -> Path:
    """Return the model file that the user named.

    Raises:
        UsageError: none is named.
        ModelError: it is not there.
    """
    if config.model.dit is None:
        raise UsageError(
            "the norms of DoRA are of another kind in that spelling, and follow from the weights of the model",
            where=[source],
            fix="name the model file that it was trained on with `--dit`",
        )
    if not config.model.dit.is_file():
        raise ModelError("there is no such model file", where=[config.model.dit], fix="correct `--dit`")
    return config.model.dit


def _weight_reader(family: Family, path: Path, modules: Mapping[str, str]) -> WeightOf:
    """Return a function that reads the frozen weight of a layer, by its original name."""
    stored = family.for_task().experts[0].part.stored(path)

    def weight_of(original: str) -> Tensor:
        name = f"{modules[original]}.weight"
        if name not in stored:
            fix = "name the model file that the LoRA was trained on with `--dit`"
            raise ModelError(f"the model has no layer `{original}`", where=[path], fix=fix)
        return stored[name].read()

    return weight_of


def _target(section: SavingSection, source: Path) -> Path:
    """Return the file to write; without ``output_name`` it is named after the source and the spelling."""
    named = "output_name" in section.model_fields_set
    name = section.output_name if named else f"{source.stem}-{section.lora_format}"
    return section.output_dir / f"{name}.safetensors"


def _precision(section: SavingSection) -> str | None:
    """Return the precision that the user gave; None keeps the file's own."""
    return section.save_precision if "save_precision" in section.model_fields_set else None


def _family(named: str | None, metadata: Mapping[str, str], source: Path) -> Family:
    """Return the family ``named``, or else the one in the metadata of blissmask, musubi-tuner or ComfyUI."""
    if named is not None:
        return load_family(named)
    families = [load_family(name) for name in FAMILIES.names()]
    spec, version = metadata.get("modelspec.architecture", "").lower(), metadata.get("ss_base_model_version", "")
    for family in families:
        if family.modelspec.lower() == spec:
            return family
    for family in families:
        if family.metadata_name == version:
            return family
    raise UsageError("the LoRA does not say which family it is for", where=[source], fix="give `--arch NAME`")


def _decide(target: Path, made_from: str, *, overwrite: bool) -> tuple[Action, str]:
    """Return whether to write ``target``, and the reason where there is more to it than the spellings."""
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


def _overview(found: LoraSummary, family: Family) -> Table:
    rows = (
        ("family", family.name),
        ("spelling", found.file_format),
        ("layers", str(found.layers)),
        ("rank", _counted(found.ranks)),
    )
    return Table("LoRA", ("what", "value"), rows)


def _counted(counts: Mapping[int, int] | Mapping[float, int]) -> str:
    """Return the values as text, the commonest first; where they differ, each with the number of its layers."""
    if len(counts) == 1:
        return "".join(f"{value:g}" for value in counts)
    ordered = sorted(counts.items(), key=lambda entry: -entry[1])
    return ", ".join(f"{value:g} ({counted(count, 'layer')})" for value, count in ordered) or "-"
