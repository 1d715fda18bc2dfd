"""Plan a training: check the whole cache by its headers, and decide everything that is known before the first step."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from blissmask.config.model import Config
from blissmask.errors import Problem
from blissmask.families.family import FamilyForTask
from blissmask.families.files.model_files import model_files
from blissmask.families.protocol import Expert
from blissmask.families.registry import load_family
from blissmask.processes import Processes, this_process
from blissmask.tasks.run.plan import Explanation, Plan, Table
from blissmask.tasks.train.checks import (
    check_base_loras,
    check_guidance,
    check_options,
    check_start,
    mask_warnings,
    refuse_before_cache,
)
from blissmask.tasks.train.curve import curve_kept_out
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
from blissmask.tasks.train.previews.likeness_plan import LikenessPlan, plan_likeness
from blissmask.tasks.train.previews.plan import PreviewPlan, plan_previews
from blissmask.tasks.train.resume import Start, choose_start, files_of_before, refuse_other_base
from blissmask.tasks.train.rules import (
    base_loras,
    caption_rule,
    memory_options,
    prior_rule,
    run_names,
    step_rule,
    weight_rule,
)
from blissmask.tasks.train.saving.disk_room import room_warnings
from blissmask.tasks.train.saving.page.place import page_kept_out
from blissmask.tasks.train.settings import COMPILED, remembered_settings
from blissmask.tasks.train.steps import StepPlan, plan_steps, step_cost
from blissmask.training.data.empty_masks import leave_out_empty
from blissmask.training.data.mask_totals import tier_rows
from blissmask.training.data.tier_values import commonest_tiers
from blissmask.training.device import find_device
from blissmask.training.lora.base_weights import fused_identity
from blissmask.training.lora.peft_files import alpha_warnings
from blissmask.training.memory.blocks import check_compiler
from blissmask.training.record.saving import Outputs
from blissmask.training.record.states.load import SavedState
from blissmask.training.record.trackers import trackers_kept_out, wanted_trackers
from blissmask.training.step.step_rule import StepRule
from blissmask.training.weighting.rule import WeightRule

COMMAND = "train"


@dataclass(slots=True, kw_only=True)
class TrainPlan(Plan):
    """Everything that is decided before the first step.

    Attributes:
        config: the configuration, with the memory options that were chosen.
        family: the model family, for the task that is trained.
        data: the cache.
        weights: how mask weights become loss weights; None when the mask loss is off.
        rule: what each step does with its items; prior preservation is in it.
        steps: how many there are, and what each one trains.
        names: of the files.
        settings: what a training state remembers of this run.
        state: the training state to continue from; None starts anew.
        files_of_before: names of LoRA files of an earlier run; the run leaves out those that it replaces.
        previews: None where none are drawn.
        likeness: what the faces in previews are compared with; None where they are not.
        stale: what is trained as it was cached and is different now; among the warnings, too.
        unmeasured: why they are not, where photos of [instance] or [[subjects]] are missing; among the warnings, too.
        read_in_part_by: programs that would use a part of the LoRA; among the warnings, too.
        processes: that train together. Only the first one writes, warns and locks the output folder.
        resting_bytes: CPU memory that the denoisers will take, as far as it is known; cached items leave it free.
        compiling: whether blocks are compiled, and why; it is in the configuration, too.
        room_known: whether the plan knew how much room the files need; else the run looks when the model is loaded.
    """

    config: Config
    family: FamilyForTask
    data: TrainingData
    weights: WeightRule | None
    rule: StepRule
    steps: StepPlan
    names: Outputs
    settings: Mapping[str, object]
    state: SavedState | None
    files_of_before: set[str]
    previews: PreviewPlan | None
    likeness: LikenessPlan | None
    stale: Sequence[Problem]
    unmeasured: Sequence[Problem]
    read_in_part_by: Sequence[str]
    processes: Processes
    resting_bytes: int
    compiling: CompileRule
    room_known: bool

    @property
    def start(self) -> int:
        """Return how many steps are already done."""
        return self.state.step if self.state else 0

    def saves_at(self, done: int) -> bool:
        """Return whether LoRA files and a training state are due after ``done`` steps, the last step aside."""
        section = self.config.saving
        if section.save_every_n_steps and done % section.save_every_n_steps == 0:
            return True
        return self.steps.ends_epochs(done, section.save_every_n_epochs)

    def preview_label(self, done: int) -> str | None:
        """Return the label in the names of previews after ``done`` steps; None when none are due.

        It is the step, or ``e`` and the epoch.
        """
        if done == self.steps.total and self.draws_end_apart:
            return f"{done:06d}"
        return self._due_label(done)

    @property
    def draws_end_apart(self) -> bool:
        """Whether the final LoRA is drawn, too, though no previews would be due after the last step."""
        return self.previews is not None and self._due_label(self.steps.total) is None

    def _due_label(self, done: int) -> str | None:
        section = self.config.previews
        if self.previews is None:
            return None
        by_steps = section.sample_every_n_steps and done and done % section.sample_every_n_steps == 0
        if by_steps or (done == 0 and section.sample_at_first):
            return f"{done:06d}"
        if done and self.steps.ends_epochs(done, section.sample_every_n_epochs):
            return f"e{self.steps.epochs_after(done):06d}"
        return None

    def validates_at(self, done: int) -> bool:
        """Return whether the held-out items are validated after ``done`` steps; always after the last one."""
        every = self.config.train.validate_every_n_steps or self.steps.steps_per_epoch
        return bool(self.data.held_out) and (done % every == 0 or done == self.steps.total)


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
        foreseen = forecast(config, COMMAND)
        foreseen.warnings += number_warnings(config)
        family = load_family(config.model.arch).for_task(config.model.task or "")
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
    folders = cache_folders(config)
    family = choose_family(config.model, folders)
    check_guidance(config.train.guidance_scale, family)
    sets = read_sets(config, folders, family)
    weights = weight_rule(config.mask_loss, commonest_tiers(headers_of(sets), config.masks.tiers))
    empty = leave_out_empty(sets, weights, config.mask_loss.empty_mask, shown_frames=family.task.shown_frames)
    data = put_in_order(config, sets, empty.left_out)
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
        *memory.warnings,
        *mask_warnings(config, family, data.sets, weights, prior_rule(config.mask_loss)),
        *empty.warnings,
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
    check_start(config, steps.fewest, anew=start.state is None)
    warnings += _kept_out(config, names)
    if start.state is None:
        warnings += expert_warnings(config, steps.experts)
        warnings += alpha_warnings([path for path in (config.lora.network_weights,) if path is not None])
    previews = plan_previews(config, family, data.used_headers, steps.experts)
    if not (config.run.dry_run and memory.by_published_size):
        warnings += _check_denoisers(config, steps.experts)
        _refuse_other_base(config, steps.experts, start)
    warnings += start.warnings
    likeness: LikenessPlan | None = None
    unmeasured: list[Problem] = []
    if previews is not None:
        warnings += previews.warnings
        likeness, unmeasured = plan_likeness(config)
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
    overview = _overview(result, [*base.rows, *memory.rows, *compiling.rows()])
    result.tables = [overview, *_mask_table(weights), *memory.tables]
    return result


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


def _overview(plan: TrainPlan, model_rows: Sequence[tuple[str, str]]) -> Table:
    """Return the facts of the training as a table for ``--dry-run``; ``model_rows`` are about the base model."""
    data, steps = plan.data, plan.steps
    rows = [("family", f"{plan.family.name}, {plan.family.task_name}")]
    experts = [expert.name for expert in steps.experts if expert.name]
    if experts:
        rows.append(("experts", ", ".join(experts)))
    rows += [("steps", line) for line in steps.expert_lines()]
    rows.append(("cache entries", str(len(data.order.items))))
    if data.left_out:
        rows.append(("left out, weight 0 everywhere", str(len(data.left_out))))
    if data.held_out:
        rows.append(("held out for validation", str(len(data.held_out))))
    rows.append(("micro-batches per epoch", str(steps.batches_per_epoch)))
    rows.append(("steps in all", str(steps.total)))
    rows.append(("epochs", f"{steps.epochs:.1f}"))
    if plan.processes.count > 1:
        rows.append(("processes", str(plan.processes.count)))
    rows.append(("mask loss", "on" if plan.config.mask_loss.use_mask_loss else "off"))
    captions = caption_rule(plan.config.datasets)
    if captions:
        rows.append(("captions", captions))
    if data.prior_only:
        rows.append(("only held to the base model", str(len(data.prior_only))))
    cost = cost_of(plan)
    if cost:
        rows.append(("cost of a step", cost))
    if plan.previews is not None:
        rows.append(("previews", plan.previews.describe(plan.config.previews, end_apart=plan.draws_end_apart)))
    rows += model_rows
    return Table("Training", ("Setting", "Value"), tuple(rows))


def cost_of(plan: TrainPlan) -> str:
    """Return what a step costs, in one line; empty where nothing is held to the base model."""
    return step_cost(
        plan.rule,
        checkpointing=plan.config.memory.gradient_checkpointing,
        only_held=plan.data.only_held_share,
        holds_outside=prior_rule(plan.config.mask_loss) is not None,
    )


def _mask_table(weights: WeightRule | None) -> list[Table]:
    if weights is None:
        return []
    return [Table("Mask loss", ("Tier", "Value", "Weight", "Loss weight"), tuple(tier_rows(weights)))]
