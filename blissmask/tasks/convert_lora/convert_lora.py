"""`train --convert-lora`: write a LoRA file in another spelling, or several as one, without a model or a cache."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from torch import Tensor

from blissmask.cachefile.metadata import OURS
from blissmask.cachefile.read_file import read_keys, read_metadata
from blissmask.config.model import Config
from blissmask.config.sections.saving_section import SavingSection
from blissmask.errors import CacheError, InputError, ModelError, Problem, UsageError
from blissmask.families.family import Family
from blissmask.families.registry import FAMILIES, load_family
from blissmask.plurals import counted
from blissmask.storage.atomic import MAX_NAME_BYTES
from blissmask.storage.ordinary import why_no_file
from blissmask.storage.seen import states_of
from blissmask.tasks.convert_lora.combination import (
    Combination,
    Combined,
    check_files,
    combine,
    expert_warnings,
    hashes_of,
    refuse_other_family,
    wanted_combination,
)
from blissmask.tasks.convert_lora.partly_read import partly_read
from blissmask.tasks.run.plan import Action, Plan, PlannedItem, RunContext, Summary, Table
from blissmask.tasks.run.workers import begin, reading
from blissmask.training.lora.convert import (
    LoraSummary,
    block_count,
    convert_lora,
    describe_lora,
    in_precision,
    is_spelled_so,
    needs_weights,
    refuse_inconvertible,
    refuse_unknown,
)
from blissmask.training.lora.dora_norms import WeightOf
from blissmask.training.lora.file import DIVIDED_BY_BASE, DORA_DIVISOR, DTYPES, read_finite_lora, write_lora
from blissmask.training.lora.formats import LoraFormat
from blissmask.training.lora.names import layer_names
from blissmask.training.lora.peft_files import alpha_warnings, configs_of
from blissmask.training.record.saving import refuse_all_but_plain_name

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
        made_from: names the content of the files and the settings; the new file remembers it.
        combination: what the source is combined with; None where it is spelled another way alone.
        hashes: of the files that are combined.
        weights: the model file, where DoRA's norms must be computed anew; see ``training.lora.dora_norms``.
    """

    family: Family
    source: Path
    target: Path
    file_format: LoraFormat
    precision: str | None
    made_from: str
    combination: Combination | None
    hashes: tuple[str, ...]
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
    combination = wanted_combination(config.combine, source)
    paths = (source,) if combination is None else combination.paths
    target = _target(section, source, combination)
    states = states_of(paths, target)
    read = [(read_finite_lora(path), read_metadata(path)) for path in paths]
    tensors, metadata = read[0]
    found = describe_lora(tensors, source)
    family = _family(config.model.arch, metadata, source)
    _refuse_own_target(target, paths)
    for path, (_, own_metadata) in zip(paths[1:], read[1:], strict=True):
        refuse_other_family(None if config.model.arch else _family_in(own_metadata), family, path)
    names = layer_names(family, block_count=max(block_count(own) for own, _ in read))
    for path, (own, _) in zip(paths, read, strict=True):
        describe_lora(own, path)
        refuse_unknown(own, names, path)
    file_format, precision = section.lora_format, _precision(section)
    configs = configs_of(paths)
    warnings = alpha_warnings(paths)
    if combination is not None:
        by_base = [_divided_by_base(own) for _, own in read]
        check_files(combination, [own for own, _ in read], by_base, file_format, names)
        warnings += expert_warnings(combination.paths)
    elif precision is None and is_spelled_so(read_keys(source), tensors, file_format, names, source):
        others = " or ".join(f"`--lora-format {name}`" for name in get_args(LoraFormat) if name != file_format)
        raise UsageError(f"this LoRA is spelled the {file_format} way already", where=[source], fix=f"choose {others}")
    else:
        refuse_inconvertible(tensors, file_format, names, source)
    weights = None
    if needs_weights(tensors, file_format, by_base=_divided_by_base(metadata)):
        weights = _frozen_weights(config, source)
    hashes = tuple(hashes_of(paths))
    made_from = _made_from([*hashes, *hashes_of(configs)], combination, file_format, precision)
    action, reason = _decide(target, made_from, overwrite=config.run.force)
    partly = partly_read(family, [own for own, _ in read], file_format, source, combination)
    item = PlannedItem(
        key=source.stem,
        action=action,
        reason=reason or (combination.describe() if combination else f"{found.file_format} to {file_format}"),
        inputs=paths,
        output=target,
        states=states,
    )
    return ConversionPlan(
        command=COMMAND,
        items=[item],
        outputs=outputs(config),
        warnings=[*warnings, *partly],
        tables=[_overview(found, family)],
        family=family,
        source=source,
        target=target,
        file_format=file_format,
        precision=precision,
        made_from=made_from,
        combination=combination,
        hashes=hashes,
        weights=weights,
    )


def run(plan: ConversionPlan, context: RunContext) -> Summary:
    """Convert the file, or combine the files.

    Raises:
        ModelError: a file holds layers that the family does not have.
        UsageError: files of an average differ in layers, kind or rank.
        MachineError: the disk is full.
    """
    summary = begin(plan)
    if not plan.having(Action.WRITE):
        return summary
    paths = (plan.source,) if plan.combination is None else plan.combination.paths
    with reading(seen := plan.items[0].seen):
        read = [read_finite_lora(path) for path in paths]
    names = layer_names(plan.family, block_count=max(block_count(tensors) for tensors in read))
    metadata = read_metadata(plan.source)
    made = Combined(read[0], is_spelled=False, kept={})
    if plan.combination is not None:
        made = combine(plan.combination, read, plan.file_format, names)
        metadata = {**metadata, **plan.combination.metadata(plan.hashes)}
    converted = made.tensors
    if not made.is_spelled:
        weight_of = None if plan.weights is None else _weight_reader(plan.family, plan.weights, names.modules)
        by_base = _divided_by_base(metadata)
        converted = convert_lora(
            made.tensors, plan.file_format, names, plan.source, by_base=by_base, weight_of=weight_of
        )
        if weight_of is not None:
            metadata = _with_divisor(metadata, by_base=plan.file_format != "diffusers")
    if plan.precision is not None:
        converted = in_precision(converted, DTYPES[plan.precision])
    before, after = describe_lora(read[0], plan.source), describe_lora(converted, plan.target)
    if plan.combination is not None:
        metadata = _with_new_rank(metadata, after)
    write_lora(plan.target, converted, {**metadata, _MADE_FROM: plan.made_from}, seen=seen)
    rows = [
        ("family", plan.family.name, plan.family.name),
        ("spelling", before.file_format, after.file_format),
        ("tensors", str(len(read[0])), str(len(converted))),
        ("layers", str(before.layers), str(after.layers)),
        ("rank", _counted(before.ranks), _counted(after.ranks)),
        ("alpha / rank", _counted(before.scales), _counted(after.scales)),
        ("file", str(plan.source), str(plan.target)),
    ]
    if plan.combination is not None:
        rows += [(plan.combination.kind or "", str(path), "") for path in paths[1:]]
        if plan.combination.rank is not None and not made.kept:
            what = f"no layer has a rank above {plan.combination.rank}, so `--rank` has lowered none"
            summary.warnings.append(Problem(what, (str(plan.target),)))
    rows += _kept_rows(made.kept)
    summary.written = 1
    summary.details |= {"files": [str(plan.target)], "layers": after.layers, "lora_format": after.file_format}
    if made.kept:
        summary.details["kept"] = {layer: round(share, 6) for layer, share in made.kept.items()}
    summary.tables.append(Table("Converted", ("What", "From", "To"), tuple(rows)))
    return summary


def _kept_rows(kept: Mapping[str, float]) -> list[tuple[str, str, str]]:
    """Return what a lower rank left of the update."""
    if not kept:
        return []
    mean = sum(kept.values()) / len(kept)
    worst = min(kept, key=lambda layer: kept[layer])
    return [
        ("kept of the update, mean of its layers", "100%", f"{mean:.1%}"),
        (f"kept, least of all: {worst}", "100%", f"{kept[worst]:.1%}"),
    ]


def _made_from(
    hashes: Sequence[str], combination: Combination | None, file_format: LoraFormat, precision: str | None
) -> str:
    parts = [*hashes, file_format, precision or "as it was"]
    if combination is not None:
        parts.append(f"{combination.describe()}, {' '.join(f'{strength!r}' for strength in combination.strengths)}")
    return " ".join(parts)


def _with_new_rank(metadata: Mapping[str, str], found: LoraSummary) -> dict[str, str]:
    """Return metadata whose rank and alpha are those of the new file, where they name any."""
    if not found.ranks or "ss_network_dim" not in metadata:
        return dict(metadata)
    rank = max(found.ranks)
    alpha = max(scale * rank for scale in found.scales)
    return {**metadata, "ss_network_dim": str(rank), "ss_network_alpha": f"{alpha:g}"}


def _refuse_own_target(target: Path, paths: Sequence[Path]) -> None:
    for path in paths:
        if target.exists() and target.samefile(path):
            raise UsageError(
                "the LoRA would be written over itself", where=[path], fix="choose another `--output-name`"
            )


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
    why = why_no_file(config.model.dit, "model file")
    if why:
        raise ModelError(why, where=[config.model.dit], fix="correct `--dit`")
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


def _target(section: SavingSection, source: Path, combination: Combination | None) -> Path:
    """Return the file to write; without ``output_name`` it is named after the source and what is done with it.

    Raises:
        UsageError: it cannot have that name.
    """
    named = "output_name" in section.model_fields_set
    done: str = section.lora_format
    if combination is not None:
        done = combination.kind or f"rank{combination.rank}"
    if named:
        refuse_all_but_plain_name(section.output_name)
    name = f"{section.output_name if named else f'{source.stem}-{done}'}.safetensors"
    size = len(os.fsencode(name))
    if size > MAX_NAME_BYTES:
        what = f"the name of the converted LoRA has {size} bytes, and {MAX_NAME_BYTES} are possible"
        raise UsageError(what, where=[name], fix="choose a shorter `--output-name`")
    return section.output_dir / name


def _precision(section: SavingSection) -> str | None:
    """Return the precision that the user gave; None keeps the file's own."""
    return section.save_precision if "save_precision" in section.model_fields_set else None


def _family(named: str | None, metadata: Mapping[str, str], source: Path) -> Family:
    """Return the family ``named``, or else the one in the metadata of blissmask, musubi-tuner or ComfyUI."""
    family = load_family(named) if named is not None else _family_in(metadata)
    if family is None:
        raise UsageError("the LoRA does not say which family it is for", where=[source], fix="give `--arch NAME`")
    return family


def _family_in(metadata: Mapping[str, str]) -> Family | None:
    families = [load_family(name) for name in FAMILIES.names()]
    spec, version = metadata.get("modelspec.architecture", "").lower(), metadata.get("ss_base_model_version", "")
    for family in families:
        if family.modelspec.lower() == spec:
            return family
    for family in families:
        if family.metadata_name == version:
            return family
    return None


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
    return Table("LoRA", ("What", "Value"), rows)


def _counted(counts: Mapping[int, int] | Mapping[float, int]) -> str:
    """Return the values as text, the commonest first; where they differ, each with the number of its layers."""
    if len(counts) == 1:
        return "".join(f"{value:g}" for value in counts)
    ordered = sorted(counts.items(), key=lambda entry: -entry[1])
    return ", ".join(f"{value:g} ({counted(count, 'layer')})" for value, count in ordered) or "-"
