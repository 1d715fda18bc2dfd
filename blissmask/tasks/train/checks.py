"""Check the options before the model is loaded, which takes minutes."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from blissmask.config.model import Config
from blissmask.config.sections.lora_section import LoraSection
from blissmask.config.sections.memory_section import MemorySection
from blissmask.config.sections.optimizer_section import OptimizerSection
from blissmask.errors import BlissmaskError, MissingPackageError, ModelError, Problem, UsageError
from blissmask.families.family import FamilyForTask
from blissmask.families.files.model_files import WHERE_FILES_ARE, model_files
from blissmask.families.files.part import Part
from blissmask.families.protocol import Expert
from blissmask.families.registry import load_family
from blissmask.masks.tiers import TIERS
from blissmask.plurals import counted, verb
from blissmask.processes import Processes, this_process
from blissmask.storage.near_miss import near_miss
from blissmask.tasks.train.rules import base_loras, optimizer_options, rate_schedule, run_names
from blissmask.tasks.train.saving.rescue import check_rescue_dir
from blissmask.training.data.cached_set import CachedSet, check_masks
from blissmask.training.data.tier_values import check_tiers
from blissmask.training.device import find_device
from blissmask.training.experts import wanted_experts
from blissmask.training.lora.base_weights import BaseLora, check_base_lora
from blissmask.training.lora.convert import block_count, refuse_unknown
from blissmask.training.lora.file import read_finite_lora
from blissmask.training.lora.layers.targets import check_patterns
from blissmask.training.lora.names import layer_names
from blissmask.training.lora.peft_files import alpha_warnings
from blissmask.training.memory.blocks import check_compiler
from blissmask.training.optim.optimizer import check_optimizer
from blissmask.training.optim.schedule import check_schedule
from blissmask.training.record.states.find import state_folders
from blissmask.training.record.trackers import wanted_trackers
from blissmask.training.weighting.prior import PriorRule
from blissmask.training.weighting.rule import WeightRule

_MANY_STEPS = 10**9
"""Stands for the steps of a training that is told in epochs while nobody knows its items: any warm-up fits."""


def check_options(config: Config, processes: Processes) -> None:
    """Refuse options that exclude each other or ask for what is not there.

    Raises:
        UsageError: they cannot work together, or one names nothing that there is.
        MachineError: no such device, or no compiler.
        MissingPackageError: the optimiser, or a tracker that was asked for, is not installed.
    """
    device = find_device(config.model.device)
    _check_usage(config, processes)
    check_optimizer(optimizer_options(config.optimizer), device=device)
    if processes.first:
        check_rescue_dir(config.saving)
    if config.memory.compile:
        check_compiler(config.memory.compile_backend, device=device)
    wanted_trackers(config.logging.log_with)


def _check_usage(config: Config, processes: Processes) -> None:
    """Refuse options that exclude each other, on whatever machine the training will be."""
    refuse_options_of_others(config)
    _check_memory_options(config.memory, processes)
    _check_network_options(config.lora, config.optimizer, lora_format=config.saving.lora_format)
    check_patterns([*config.lora.include_patterns, *config.lora.exclude_patterns])
    # Of another machine it may be there; its arguments are then looked at where it is.
    with contextlib.suppress(MissingPackageError):
        check_optimizer(optimizer_options(config.optimizer), device=None)
    _check_rates(config, config.train.max_train_steps if config.train.max_train_epochs is None else _MANY_STEPS)


def _check_rates(config: Config, steps: int) -> None:
    check_schedule(rate_schedule(config.optimizer), learning_rate=config.optimizer.learning_rate, steps=steps)


def refuse_before_cache(config: Config) -> None:
    """Refuse what is wrong with a training whatever its cache will hold, before that is made or while it is forecast.

    A dry run asks for no device, compiler or tracker: it may be of a training for another machine.

    Raises:
        BlissmaskError: carries the problems of the options, of the guidance scale, and of the LoRA files.
    """
    check = _check_usage if config.run.dry_run else check_options
    checks: list[Callable[[], object]] = [functools.partial(check, config, this_process())]
    if config.model.arch is not None:
        family = load_family(config.model.arch).for_task(config.model.task or "")
        checks.append(functools.partial(check_guidance, config.train.guidance_scale, family))
        checks.append(functools.partial(_check_lora_files, config, family))
    errors: list[BlissmaskError] = []
    for refuse in checks:
        try:
            refuse()
        except BlissmaskError as error:
            errors.append(error)
    if errors:
        raise type(errors[0]).several([problem for error in errors for problem in error.problems])


def _check_lora_files(config: Config, family: FamilyForTask) -> None:
    """Refuse LoRA files that cannot be fused or trained on; a run that goes on from a state does not read the last."""
    trained = wanted_experts(family.experts, config.train.expert)
    check_base_loras(base_loras(config.lora), family, trained)
    names = run_names(config, family, trained)
    goes_on = config.saving.resume and not config.run.force and bool(state_folders(names.folder, names.run_name))
    if config.lora.network_weights is not None and not goes_on:
        _refuse_other_layers(config.lora.network_weights, family)


def refuse_missing_models(config: Config) -> None:
    """Refuse to prepare a training whose model files are not all here: `cache` needs some, and the training others.

    Raises:
        UsageError: a file or a folder is not named, or the family is not known; names all of them.
        ModelError: files are missing, damaged or another model's; names all of them.
        MachineError: a file cannot be read.
    """
    if config.model.arch is None:
        # `cache` says so.
        return
    family, files = load_family(config.model.arch).for_task(config.model.task or ""), model_files(config.model)
    parts = [part for part in (*family.task.latents, *family.task.text) if isinstance(part, Part)]
    parts += [expert.part for expert in wanted_experts(family.experts, config.train.expert)]
    named = {part.field: getattr(files, part.field) for part in parts if not part.is_here(files)}
    missing = [
        ", ".join(filter(None, (f"{field}: {path}", near_miss(path, same_words=True))))
        for field, path in named.items()
        if path is not None
    ]
    if missing:
        raise ModelError(
            f"{counted(len(missing), 'model file')} {verb(len(missing), 'is', 'are')} not there",
            where=missing,
            fix=WHERE_FILES_ARE,
        )
    errors: list[BlissmaskError] = []
    for part in parts:
        try:
            part.check(files)
        except (UsageError, ModelError) as error:
            errors.append(error)
    # A model folder that is not here lacks all parts, and is named once.
    problems = tuple(dict.fromkeys(problem for error in errors for problem in error.problems))
    if problems:
        raise type(errors[0]).several(problems)


def check_guidance(guidance_scale: float | None, family: FamilyForTask) -> None:
    """Raise UsageError for a guidance scale that the family has no input for."""
    if guidance_scale is not None and family.task.guidance_scale is None:
        raise UsageError(
            f"`guidance_scale` is an input of models that were distilled for guidance, and `{family.name}` is none",
            fix="leave it out; `--l` in a prompt file guides previews",
        )


def check_start(config: Config, family: FamilyForTask, fewest_steps: int, *, anew: bool) -> None:
    """Refuse a schedule or a LoRA file that training cannot start with.

    Args:
        config: names them.
        family: knows the names of its layers.
        fewest_steps: of the optimisers of the run.
        anew: whether it does not go on from a training state; only then the LoRA file is read.

    Raises:
        UsageError: the schedule cannot be made as asked.
        ModelError: the LoRA file cannot be read, holds NaN or infinity, or adapts layers that the family does not have.
    """
    _check_rates(config, fewest_steps)
    if anew and config.lora.network_weights is not None:
        _refuse_other_layers(config.lora.network_weights, family)


def _refuse_other_layers(path: Path, family: FamilyForTask) -> None:
    """Raise ModelError for a LoRA that no run of the family can go on from, before a model is loaded to find that."""
    tensors = read_finite_lora(path)
    refuse_unknown(tensors, layer_names(family, block_count=block_count(tensors)), path)


@dataclass(frozen=True, slots=True)
class BaseModel:
    """What the LoRA files make of the base model.

    Attributes:
        rows: for the overview, one for each file.
        warnings: tensors that fit no layer, and an alpha that is not known.
    """

    rows: list[tuple[str, str]]
    warnings: list[Problem]


def check_base_loras(loras: Sequence[BaseLora], family: FamilyForTask, trained: Sequence[Expert]) -> BaseModel:
    """Check that the LoRA files fit the base model, by their names.

    Args:
        loras: in the order in which they are fused.
        family: knows the names of its layers.
        trained: the experts that are trained.

    Raises:
        ModelError: a file is missing, damaged, no LoRA, or nothing of it fits.
        UsageError: two experts are trained, and a LoRA is made for one.
    """
    rows: list[tuple[str, str]] = []
    warnings: list[Problem] = []
    if loras and len(trained) > 1:
        raise UsageError(
            "`base_weights` would go into both experts, and a LoRA is made for one of them",
            fix="train one after the other, with `--expert high` and `--expert low`",
        )
    for lora in loras:
        layers, left = check_base_lora(lora.path, family)
        rows.append(("base weights", f"{lora.path.name}, {counted(layers, 'layer')}, x {lora.multiplier:g}"))
        if left:
            left_out = verb(len(left), "fits no layer of the model and is", "fit no layer of the model and are")
            what = f"{counted(len(left), 'tensor')} of a base LoRA {left_out} left out"
            warnings.append(Problem(what, (str(lora.path), *left[:3])))
    return BaseModel(rows, [*alpha_warnings([lora.path for lora in loras]), *warnings])


def mask_warnings(
    config: Config,
    family: FamilyForTask,
    sets: Sequence[CachedSet],
    weights: WeightRule | None,
    prior: PriorRule | None,
) -> list[Problem]:
    """Check that the masks that the settings need are in the cache, and return what the user should know about them.

    Args:
        config: its mask loss, and the tier values of ``masks``.
        family: named in the advice to cache again.
        sets: the caches.
        weights: None when the mask loss is off.
        prior: None when nothing is held to the base model.

    Raises:
        CacheError: the mask loss is on and a data set has no masks, or region shares are needed and missing.
    """
    section, masks = config.mask_loss, config.masks
    warnings = check_masks(
        sets,
        weights,
        prior,
        scale=section.mask_loss_scale,
        recache=f"--arch {family.name}",
    )
    if weights is not None:
        headers = [header for cached in sets for header in cached.headers]
        named = [tier for tier in TIERS if tier.value in masks.model_fields_set]
        warnings += check_tiers(headers, weights.own_weights, configured=masks.tiers, named=named)
    return warnings


def _check_network_options(lora: LoraSection, optimizer: OptimizerSection, *, lora_format: str) -> None:
    """Raise UsageError when options exclude each other, naming all that LoKr and LoHa do not have."""
    if lora.scale_weight_norms and "schedulefree" in optimizer.optimizer_type.lower():
        raise UsageError(
            "`scale_weight_norms` cannot reach both of the weights that a schedule-free optimiser keeps",
            fix="leave one of the two out",
        )
    if optimizer.ema_decay is not None and "schedulefree" in optimizer.optimizer_type.lower():
        raise UsageError(
            "a schedule-free optimiser saves an average of its weights already, and `ema_decay` would average that",
            fix="leave one of the two out",
        )
    if lora.network_type == "lora":
        return
    given = {
        "network_dropout": lora.network_dropout,
        "use_rslora": lora.use_rslora,
        "use_dora": lora.use_dora,
        "loraplus_lr_ratio": optimizer.loraplus_lr_ratio,
        "scale_weight_norms": lora.scale_weight_norms,
        'lora_format = "diffusers"': lora_format == "diffusers",
    }
    wrong = [f"`{name}`" for name, value in given.items() if value]
    if wrong:
        raise UsageError(
            f"{lora.network_type} has no {', '.join(wrong)}", fix="leave it out, or use `--network-type lora`"
        )


def refuse_options_of_others(config: Config) -> None:
    """Raise UsageError for options that only another task of the command reads, and that is not asked for."""
    ranking, section = config.ranking, config.combine
    if ranking.rank_file and not (ranking.rank_loras or ranking.rank_items):
        raise UsageError(
            "`rank_file` names what is ranked, and no ranking is asked for",
            fix="add `--rank-loras` or `--rank-items`, or leave it out to train",
        )
    given = [f"`{name}`" for name in type(section).model_fields if getattr(section, name)]
    if given:
        belong = verb(len(given), "belongs", "belong")
        raise UsageError(
            f"{', '.join(given)} {belong} to `--convert-lora`, and there is no file to convert",
            fix="name it with `--convert-lora FILE`; the rank of a training is `--network-dim`",
        )


def _check_memory_options(memory: MemorySection, processes: Processes) -> None:
    """Raise UsageError when options exclude each other."""
    bases = [name for name in ("int8_base", "fp8_base", "nf4_base") if getattr(memory, name)]
    if len(bases) > 1:
        raise UsageError(
            f"`{bases[0]}` and `{bases[1]}` are two ways to keep the same weights",
            fix="leave one of the two out; int8 is closest",
        )
    if memory.nf4_base and importlib.util.find_spec("bitsandbytes") is None:
        raise MissingPackageError(
            "`nf4_base` needs the package `bitsandbytes`", fix="install it: `pip install 'blissmask[nf4]'`"
        )
    if memory.blocks_to_swap and not memory.gradient_checkpointing:
        raise UsageError(
            "`blocks_to_swap` needs gradient checkpointing: "
            "without it the backward pass keeps every block's weights on the device",
            fix="add `--gradient-checkpointing`",
        )
    if memory.blocks_to_swap and memory.compile:
        raise UsageError(
            "`compile` needs the weights in one place, and `blocks_to_swap` moves them", fix="leave one of the two out"
        )
    moving = [name for name in ("blocks_to_swap", "offload_inactive_dit") if getattr(memory, name)]
    if memory.fsdp and moving:
        raise UsageError(
            f"`fsdp` spreads the weights over the processes, and `{moving[0]}` moves them",
            fix="leave one of the two out",
        )
    if memory.fsdp and processes.count == 1:
        raise UsageError(
            "`fsdp` spreads the weights over several processes, and there is one",
            fix="start it as `torchrun --nproc-per-node 2 -m blissmask train ...`",
        )
    if memory.memory == "auto" and processes.count > 1:
        raise UsageError(
            f'`memory = "auto"` picks for one process, and {processes.count} could pick differently',
            fix="see what `blissmask train --memory auto --dry-run` picks, and give that to all",
        )
