"""Plan a training: check the whole cache by its headers, and decide everything that is known before the first step."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from blissmask.config.model import Config
from blissmask.errors import Problem
from blissmask.families.family import FamilyForTask
from blissmask.families.files.model_files import model_files, unread_files
from blissmask.families.protocol import Expert
from blissmask.families.registry import load_family
from blissmask.processes import this_process
from blissmask.tasks.run.plan import Explanation
from blissmask.tasks.train.checks import (
    check_base_loras,
    check_guidance,
    check_options,
    check_start,
    mask_warnings,
    refuse_before_cache,
)
from blissmask.tasks.train.data.stale import stale_warnings
from blissmask.tasks.train.data.texts import check_texts
from blissmask.tasks.train.data.training_data import (
    TrainingData,
    cache_folders,
    choose_family,
    headers_of,
    put_in_order,
    read_sets,
)
from blissmask.tasks.train.memory.compile_rule import CompileRule, compile_rule
from blissmask.tasks.train.memory.fit_memory import MemoryPlan, fit_memory
from blissmask.tasks.train.memory.forecast import forecast, is_cached
from blissmask.tasks.train.odd_options import (
    expert_warnings,
    lora_part_readers,
    number_warnings,
    part_reader_warnings,
)
from blissmask.tasks.train.overview import mask_table, overview
from blissmask.tasks.train.previews.likeness_plan import plan_likeness
from blissmask.tasks.train.previews.plan import plan_previews
from blissmask.tasks.train.resume import Start, choose_start, files_of_before, refuse_other_base
from blissmask.tasks.train.rules import (
    base_loras,
    memory_options,
    prior_rule,
    run_names,
    step_rule,
    weight_rule,
)
from blissmask.tasks.train.saving.curve import curve_kept_out
from blissmask.tasks.train.saving.disk_room import room_warnings
from blissmask.tasks.train.saving.page.place import page_kept_out
from blissmask.tasks.train.settings import COMPILED, remembered_settings
from blissmask.tasks.train.steps import StepPlan, plan_steps
from blissmask.tasks.train.train_plan import TrainPlan
from blissmask.training.data.empty_masks import leave_out_empty
from blissmask.training.data.tier_values import commonest_tiers
from blissmask.training.device import find_device
from blissmask.training.lora.base_weights import fused_identity
from blissmask.training.lora.peft_files import alpha_warnings
from blissmask.training.memory.blocks import check_compiler
from blissmask.training.record.saving import Outputs
from blissmask.training.record.states.load import SavedState
from blissmask.training.record.trackers import trackers_kept_out, wanted_trackers
from blissmask.training.weighting.rule import WeightRule

COMMAND = "train"


def outputs(config: Config) -> tuple[Path, ...]:
    """Return the folder that is written to; none in all but the first of several processes, which writes for all."""
    return (config.saving.output_dir,) if this_process().first else ()


def plan(config: Config) -> TrainPlan | Explanation:
    """Decide what to train, and from where; with `--dry-run` and without a cache, forecast what it would need.

    Raises:
        As :func:`plan_training`.
    """
    if config.run.dry_run and config.model.arch is not None and not is_cached(config):
        refuse_before_cache(config)
        family = load_family(config.model.arch).for_task(config.model.task or "")
        foreseen = forecast(config, family, COMMAND)
        foreseen.warnings += [*unread_files(config.model), *number_warnings(config)]
        foreseen.warnings += part_reader_warnings(lora_part_readers(config, family))
        return foreseen
    return plan_training(config)


def plan_training(config: Config) -> TrainPlan:
    """Decide what to train, and from where.

    Raises:
        UsageError: something must be given, options exclude each other, or a training state was made with other
            settings.
        CacheError: entries are missing, foreign, damaged, or lack the masks that the settings need.
        ModelError: a model file or the LoRA to start from is damaged.
        MachineError: no such device, or no compiler.
        MissingPackageError: an optimiser or a tracker is not installed.
    """
    processes = dataclasses.replace(this_process(), lockstep=config.memory.fsdp)
    # First what was typed: whoever misses an option need not have a data set yet.
    check_options(config, processes)
    cached = _read_cache(config)
    family, data, weights = cached.family, cached.data, cached.weights
    memory = fit_memory(config, family, data.sets, processes)
    config = memory.config
    steps = plan_steps(config, family, data, processes)
    names = run_names(config, family, steps.experts)
    rule = step_rule(config, has_prior_sets=bool(data.prior_only))
    check_texts(config, data.sets)
    base = check_base_loras(base_loras(config.lora), family, steps.experts)
    in_part = lora_part_readers(config, family)
    stale = stale_warnings(config, family, data.sets)
    warnings = [
        *unread_files(config.model),
        *memory.warnings,
        *mask_warnings(config, family, data.sets, weights, prior_rule(config.mask_loss)),
        *cached.warnings,
        *number_warnings(config),
        *part_reader_warnings(in_part),
        *base.warnings,
        *stale,
        *room_warnings(config, steps, trained_numbers=memory.trained_numbers),
    ]
    # What is decided by a rule is no setting: a run goes on where another card decides otherwise.
    settings = remembered_settings(config, family, data, steps, processes)
    resume = config.saving.resume and not config.run.force
    start = choose_start(names, settings, total_steps=steps.total, resume=resume, miniature=config.model.is_tiny)
    compiling = _compiling(config, memory, steps, start.state)
    config = config.model_copy(update={"memory": config.memory.model_copy(update={"compile": compiling.compiles})})
    check_start(config, family, steps.fewest, anew=start.state is None)
    warnings += _kept_out(config, names)
    if start.state is None:
        warnings += expert_warnings(config, steps.experts)
        warnings += alpha_warnings([path for path in (config.lora.network_weights,) if path is not None])
    previews = plan_previews(config, family, data.used_headers, steps.experts)
    if not (config.run.dry_run and memory.by_published_size):
        warnings += _check_denoisers(config, steps.experts)
        _refuse_other_base(config, steps.experts, start)
    warnings += start.warnings
    if previews is not None:
        warnings += previews.warnings
    likeness, unmeasured = plan_likeness(config) if previews is not None else (None, [])
    warnings += unmeasured
    result = TrainPlan(
        command=COMMAND,
        items=start.items,
        outputs=outputs(config),
        warnings=warnings if processes.first else [],
        details=memory.details if rule.prior is None else {**memory.details, "prior_share": rule.prior.share},
        config=config,
        family=family,
        data=data,
        weights=weights,
        rule=rule,
        steps=steps,
        names=names,
        settings=settings,
        state=start.state,
        files_of_before=files_of_before(start.state, names),
        previews=previews,
        likeness=likeness,
        stale=stale,
        unmeasured=unmeasured,
        read_in_part_by=[reader.program for reader in in_part],
        processes=processes,
        resting_bytes=memory.resting_bytes,
        compiling=compiling,
        room_known=memory.trained_numbers > 0,
    )
    facts = overview(result, [*base.rows, *memory.rows, *compiling.rows()])
    result.tables = [facts, *mask_table(weights), *memory.tables]
    return result


@dataclass(frozen=True, slots=True)
class _Cached:
    """What is trained on.

    Attributes:
        family: that the cache was made for.
        data: the cache, in the order in which it is trained.
        weights: how its mask weights become loss weights; None when the mask loss is off.
        warnings: of items whose mask leaves nothing to learn.
    """

    family: FamilyForTask
    data: TrainingData
    weights: WeightRule | None
    warnings: Sequence[Problem]


def _read_cache(config: Config) -> _Cached:
    folders = cache_folders(config)
    family = choose_family(config.model, folders)
    check_guidance(config.train.guidance_scale, family)
    sets = read_sets(config, folders, family)
    weights = weight_rule(config.mask_loss, commonest_tiers(headers_of(sets), config.masks.tiers))
    empty = leave_out_empty(sets, weights, config.mask_loss.empty_mask, shown_frames=family.task.shown_frames)
    return _Cached(family, put_in_order(config, sets, empty.left_out), weights, empty.warnings)


def _compiling(config: Config, memory: MemoryPlan, steps: StepPlan, state: SavedState | None) -> CompileRule:
    before = None if state is None else state.settings.get(COMPILED)
    device = find_device(config.model.device)
    decided = compile_rule(
        memory_options(config.memory),
        given=config.memory.compile,
        device=device,
        operations=memory.operations * config.train.gradient_accumulation_steps,
        steps=steps.total,
        before=before if isinstance(before, bool) else None,
    )
    # What the user asked for is checked with the other options.
    if decided.compiles and decided.by_rule:
        check_compiler(config.memory.compile_backend, device=device)
    return decided


def _check_denoisers(config: Config, experts: Sequence[Expert]) -> list[Problem]:
    """Make sure that the denoisers are there; a dry run goes on without them, and is told which are not here.

    Raises:
        UsageError, ModelError: as :meth:`Part.check`.
    """
    files = model_files(config.model)
    missing: list[str] = []
    for expert in experts:
        if config.run.dry_run and not expert.part.is_here(files):
            missing.append(str(getattr(files, expert.part.field) or f"the denoiser, `{expert.part.option}`"))
        else:
            expert.part.check(files)
    if not missing:
        return []
    fix = "name a file with the flag, or a diffusers folder with `--model`"
    return [Problem("the model is not here yet, so the memory that it needs is not known", tuple(missing), fix)]


def _refuse_other_base(config: Config, experts: Sequence[Expert], start: Start) -> None:
    """Refuse to go on from a state of another base model; one that is not here yet is compared once it is loaded.

    It costs what the run saves when it loads the model: at most 260 MiB are read of each file over 1 GiB.
    """
    files, parts = model_files(config.model), [expert.part for expert in experts]
    if start.state is None or not start.writes:
        return
    if any(part.is_fetched_later(files) or not part.is_here(files) for part in parts):
        return
    loras = base_loras(config.lora)
    refuse_other_base(start.state, [fused_identity(part.identity(files), loras) for part in parts])


def _kept_out(config: Config, names: Outputs) -> list[Problem]:
    """Return what stands in the way of the pictures and numbers beside the LoRA; raises as ``trackers_kept_out``."""
    section = config.logging
    trackers = wanted_trackers(section.log_with)
    problems = [
        curve_kept_out(names.curve),
        page_kept_out(names.page),
        trackers_kept_out(trackers, names.tracker_folder(section.logging_dir)),
    ]
    return [problem for problem in problems if problem is not None]
