"""What `train` will do: the whole cache checked by its headers, the experts and steps, and where training goes on from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from blissmask.config.model import Config, complete
from blissmask.errors import Hint, Problem, UsageError
from blissmask.families.family import FamilyForTask
from blissmask.families.files.model_files import model_files
from blissmask.families.protocol import Expert
from blissmask.families.registry import load_family
from blissmask.masks.tiers import TIERS, TierTable
from blissmask.processes import ALONE, Processes, this_process
from blissmask.tasks.run.plan import Plan, Table
from blissmask.tasks.train.checks import check_options, check_start, rate_warnings
from blissmask.tasks.train.fit_memory import fit_memory
from blissmask.tasks.train.previews.plan import PreviewPlan, plan_previews
from blissmask.tasks.train.resume import choose_start
from blissmask.tasks.train.rules import noise_options, prior_rule, weight_rule
from blissmask.tasks.train.settings import lasting_options
from blissmask.tasks.train.stale import stale_warnings
from blissmask.training.data.batches import BatchOrder
from blissmask.training.data.cached_set import (
    CachedSet,
    check_masks,
    identify,
    read_set,
    refuse_shared_folders,
    remembered_family,
)
from blissmask.training.data.mask_totals import tier_rows
from blissmask.training.data.tier_values import check_tiers, commonest_tiers
from blissmask.training.experts import StepSchedule, schedule_steps, wanted_experts
from blissmask.training.record import saving, training_state
from blissmask.training.timesteps import training_noise
from blissmask.training.validation import choose_held_out, without_held_out
from blissmask.training.weighting.rule import WeightRule

COMMAND = "train"


@dataclass(slots=True)
class TrainPlan(Plan):
    """What `train` will do.

    Attributes:
        config: the configuration, with the memory options that were chosen.
        family: the family, for its task.
        experts: those to train, in order.
        schedule: which of them each step trains.
        sets: the data set.
        order: its micro-batches.
        tiers: the values that most masks in the cache were made with.
        weights: how mask weights become loss weights, for masks made with ``tiers``; None when the mask loss is off.
        held_out: positions of the items that are only validated on.
        total_steps: optimiser steps in all.
        names: of the files.
        state: the training state to go on from; None starts anew.
        previews: what is drawn on the way; None where nothing is.
        processes: that train together; only the first one writes, warns and holds the lock of the output folder.
        resting_bytes: of CPU memory that the denoisers will take, as far as it is known; cached items leave it free.
    """

    config: Config = field(default_factory=Config)
    family: FamilyForTask | None = None
    experts: tuple[Expert, ...] = ()
    schedule: StepSchedule = field(default_factory=lambda: StepSchedule((1.0,)))
    sets: tuple[CachedSet, ...] = ()
    order: BatchOrder = field(default_factory=lambda: BatchOrder((), 0))
    tiers: TierTable = field(default_factory=TierTable)
    weights: WeightRule | None = None
    held_out: tuple[int, ...] = ()
    total_steps: int = 0
    names: saving.Outputs = field(default_factory=lambda: saving.Outputs(Path(), "", ()))
    state: training_state.SavedState | None = None
    previews: PreviewPlan | None = None
    processes: Processes = ALONE
    resting_bytes: int = 0

    @property
    def start(self) -> int:
        """Return how many optimiser steps are already done."""
        return self.state.step if self.state else 0

    @property
    def batches_per_step(self) -> int:
        """Return how many micro-batches a step has in all processes together."""
        return self.config.train.gradient_accumulation_steps * self.processes.count

    @property
    def fewest_steps(self) -> int:
        """Return the steps of the optimiser that gets the fewest; experts that share their LoRA share it, too."""
        if self.config.train.shared_lora:
            return self.total_steps
        return min(self.schedule.steps_of(position) for position in range(len(self.experts)))

    def saves_at(self, done: int) -> bool:
        """Say whether LoRA files and a training state are saved after ``done`` steps, the last one aside."""
        section = self.config.saving
        if section.save_every_n_steps and done % section.save_every_n_steps == 0:
            return True
        return self._ends_epochs(done, section.save_every_n_epochs)

    def previews_at(self, done: int) -> str | None:
        """Return what the files of previews after ``done`` steps are called by, the step or ``e`` and the epoch; None when none are due."""
        section = self.config.previews
        if self.previews is None:
            return None
        by_steps = section.sample_every_n_steps and done and done % section.sample_every_n_steps == 0
        if by_steps or (done == 0 and section.sample_at_first):
            return f"{done:06d}"
        if done and self._ends_epochs(done, section.sample_every_n_epochs):
            return f"e{done * self.batches_per_step // self.order.batches_per_epoch:06d}"
        return None

    def validates_at(self, done: int) -> bool:
        """Say whether the held-out items are looked at after ``done`` steps; always after the last."""
        every = self.config.train.validate_every_n_steps or max(
            1, self.order.batches_per_epoch // self.batches_per_step
        )
        return bool(self.held_out) and (done % every == 0 or done == self.total_steps)

    def _ends_epochs(self, done: int, every: int | None) -> bool:
        """Say whether step ``done`` was the one that completed another ``every`` epochs."""
        batches = (every or 0) * self.order.batches_per_epoch
        return bool(batches) and done * self.batches_per_step // batches > (done - 1) * self.batches_per_step // batches

    def expert_lines(self) -> list[str]:
        """Say how many steps each of several experts gets; with the usual shift it is lopsided."""
        if len(self.experts) == 1:
            return []
        counts = [self.schedule.steps_of(position) for position in range(len(self.experts))]
        return [
            f"the {expert.name}-noise expert gets {count} of {self.total_steps} steps ({count / self.total_steps:.0%})"
            for expert, count in zip(self.experts, counts, strict=True)
        ]

    def settings(self) -> dict[str, object]:
        """Return what must be, or should be, the same when a run goes on; JSON values."""
        assert self.family is not None
        return {
            **lasting_options(self.config),
            "arch": self.family.name,
            "task": self.family.task_name,
            "experts": [expert.name for expert in self.experts],
            "processes": self.processes.count,
            "entries": len(self.order.items),
            "batches_per_epoch": self.order.batches_per_epoch,
            saving.DATA: identify(self.sets),
        }


def plan(config: Config) -> TrainPlan:
    """Check the whole cache by its headers and decide what to train, and from where.

    Raises:
        UsageError: something must be given, or a training state was made with other settings.
        CacheError: entries are missing, foreign, damaged, or lack the masks the settings need.
    """
    folders = _cache_folders(config)
    output = config.saving.output_dir
    processes = dataclasses.replace(this_process(), lockstep=config.memory.fsdp)
    check_options(config, processes)
    family = _family(config, folders)
    sets = tuple(
        read_set(number, folder, family, batch_size=dataset.batch_size or 1, repeats=dataset.num_repeats or 1)
        for number, (folder, dataset) in enumerate(
            zip(folders, (complete(d, config.general) for d in config.datasets), strict=True), 1
        )
    )
    result = TrainPlan(COMMAND, outputs=(output,), config=config, family=family, sets=sets, processes=processes)
    _order_items(result)
    memory = fit_memory(config, family, sets, processes)
    result.config = memory.config
    result.warnings += memory.warnings
    result.details |= memory.details
    result.resting_bytes = memory.resting_bytes
    result.total_steps = _total_steps(result)
    _choose_experts(result, family)
    headers = [header for cached in sets for header in cached.headers]
    result.tiers = commonest_tiers(headers, config.masks.tiers)
    result.weights = weight_rule(config.mask_loss, result.tiers)
    result.warnings += _mask_warnings(result, family)
    result.warnings += [*rate_warnings(config.optimizer), *stale_warnings(config, family, sets)]
    choose_start(result)
    check_start(config, result.fewest_steps, anew=result.state is None)
    result.previews = plan_previews(config, family, sets, result.experts)
    if result.previews is not None:
        result.warnings += result.previews.warnings
    for expert in result.experts:
        expert.part.check(model_files(config.model))
    result.tables.append(_overview(result, memory.rows))
    if result.weights is not None:
        rows = tuple(tier_rows(result.weights))
        result.tables.append(Table("Mask loss", ("tier", "value", "weight", "loss weight"), rows))
    if not processes.first:
        result.outputs, result.warnings = (), []
    return result


def _mask_warnings(result: TrainPlan, family: FamilyForTask) -> list[Problem]:
    """Return what the user should know of the masks in the cache; see both checks for what they raise."""
    section, masks = result.config.mask_loss, result.config.masks
    problems = check_masks(
        result.sets,
        result.weights,
        prior_rule(section),
        scale=section.mask_loss_scale,
        recache=f"--arch {family.name}",
    )
    if result.weights is None:
        return problems
    headers = [header for cached in result.sets for header in cached.headers]
    named = [tier for tier in TIERS if tier.value in masks.model_fields_set]
    return problems + check_tiers(headers, result.weights.own_weights, configured=masks.tiers, named=named)


def _cache_folders(config: Config) -> list[Path]:
    if not config.datasets:
        raise UsageError("there is no dataset", fix="give `--config FILE` with [[datasets]], as for `blissmask cache`")
    folders = []
    for number, dataset in enumerate(config.datasets, 1):
        folder = dataset.cache_directory or dataset.image_directory or dataset.video_directory
        if folder is None:
            raise UsageError(
                f"dataset {number} has no cache folder", fix="set `cache_directory` for it, as for `blissmask cache`"
            )
        folders.append(folder)
    refuse_shared_folders(folders)
    return folders


def _family(config: Config, folders: list[Path]) -> FamilyForTask:
    remembered = (
        remembered_family(folders, named=config.model.arch)
        if config.model.arch is None or config.model.task is None
        else None
    )
    name = config.model.arch or (remembered[0] if remembered else None)
    if name is None:
        raise UsageError(
            "the model family is not known",
            fix=Hint("give `--arch NAME`, or run `{command}` first: caches remember it", "cache"),
        )
    return load_family(name).for_task(config.model.task or (remembered[1] if remembered else ""))


def _order_items(result: TrainPlan) -> None:
    """Choose the items to hold out, and put the others into batches."""
    section = result.config.train
    items = [item for cached in result.sets for item in cached.bucketed_items()]
    result.held_out = choose_held_out(len(items), section.validation_split, seed=section.seed)
    if len(result.held_out) == len(items):
        raise UsageError(
            f"`validation_split = {section.validation_split}` holds out all {len(items)} cache entries",
            fix="lower it, or cache more items",
        )
    result.order = BatchOrder(without_held_out(items, result.held_out), section.seed)


def _total_steps(result: TrainPlan) -> int:
    section = result.config.train
    if section.max_train_epochs is None:
        return section.max_train_steps
    return -(-section.max_train_epochs * result.order.batches_per_epoch // result.batches_per_step)


def _choose_experts(result: TrainPlan, family: FamilyForTask) -> None:
    section = result.config.train
    available = family.experts
    if len(available) == 1 and section.expert is not None:
        raise UsageError(f"`{family.name}` has only one expert", fix="leave `--expert` out")
    result.experts = tuple(wanted_experts(available, section.expert))
    noise_of_all = training_noise(noise_options(result.config.timesteps, default_shift=family.default_shift))
    shape = result.sets[0].headers[0].latent_shape
    noise = noise_of_all((shape[2], shape[3]))
    shares = [noise.share(*expert.timestep_range) for expert in result.experts]
    if min(shares) <= 0:
        nothing = ", ".join(expert.name for expert, share in zip(result.experts, shares, strict=True) if share <= 0)
        raise UsageError(
            f"`min_timestep` and `max_timestep` leave nothing to the {nothing}-noise expert",
            fix="widen the range, or train the other expert",
        )
    if section.high_noise_share is not None and len(result.experts) > 1:
        shares = [section.high_noise_share, 1 - section.high_noise_share]
    result.schedule = schedule_steps(shares, run_length=section.expert_run_length, total=result.total_steps)
    names = [expert.name for expert in result.experts]
    result.names = saving.output_names(
        result.config.saving.output_dir,
        result.config.saving.output_name,
        all_experts=len(available),
        trained=names,
        shared=section.shared_lora and len(names) > 1,
    )


def _overview(plan: TrainPlan, memory_rows: Sequence[tuple[str, str]]) -> Table:
    order = plan.order
    assert plan.family is not None
    experts = [expert.name for expert in plan.experts if expert.name]
    rows = [
        ("family", f"{plan.family.name}, {plan.family.task_name}"),
        *([("experts", ", ".join(experts))] if experts else []),
        *(("steps", line) for line in plan.expert_lines()),
        ("cache entries", str(len(order.items))),
        *([("held out for validation", str(len(plan.held_out)))] if plan.held_out else []),
        ("micro-batches per epoch", str(order.batches_per_epoch)),
        ("steps in all", str(plan.total_steps)),
        ("epochs", f"{plan.total_steps * plan.batches_per_step / order.batches_per_epoch:.1f}"),
        *([("processes", str(plan.processes.count))] if plan.processes.count > 1 else []),
        ("mask loss", "on" if plan.config.mask_loss.use_mask_loss else "off"),
        *([("previews", plan.previews.describe(plan.config.previews))] if plan.previews is not None else []),
        *memory_rows,
    ]
    return Table("Training", ("setting", "value"), tuple(rows))
