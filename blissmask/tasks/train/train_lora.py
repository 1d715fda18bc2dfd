"""`train`: from the cache and a frozen denoiser to a LoRA file."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch

from blissmask.cachefile.read import load_entry
from blissmask.errors import Problem
from blissmask.events import Advanced, Announced, Measured, Noted, NullReporter, PhaseFinished, PhaseStarted, Warned
from blissmask.tasks.carry_out import begin
from blissmask.tasks.plan import Action, RunContext, Summary, Table, name_some
from blissmask.tasks.train.plan import TrainPlan, plan
from blissmask.training import checkpoint, saving
from blissmask.training.batches import collate
from blissmask.training.cached_set import commonest_sizes
from blissmask.training.device import denoiser_dtype, find_device
from blissmask.training.experts import Learner
from blissmask.training.feed import Feed, ItemStore, memory_budget
from blissmask.training.items import TrainingItem, make_item
from blissmask.training.learners import LearnerPlan, load_learners
from blissmask.training.loop import Course, train
from blissmask.training.lora_file import load_lora
from blissmask.training.mask_report import MaskTotals, banner
from blissmask.training.memory import describe
from blissmask.training.metadata import TrainedOn, lora_metadata
from blissmask.training.metrics import MetricBuffer, StepLog, Values, tensorboard_writer
from blissmask.training.presets import prior_rule, step_rule, weight_rule
from blissmask.training.processes import joined
from blissmask.training.validation import HeldOut, validate

__all__ = ["plan", "run"]

_READ_EVERY = 10
"""Steps between readings of the numbers on a GPU; on a CPU every step."""


@dataclass(frozen=True, slots=True)
class _Data:
    """The items of a run, and what their masks come to (None when the mask loss is off)."""

    store: ItemStore
    totals: MaskTotals | None


def run(plan: TrainPlan, context: RunContext) -> Summary:
    """Train, save, and say what came of it.

    Raises:
        CacheError: an entry holds NaN or infinity.
        ModelError: model files cannot be used.
        StoppedError: a signal asked to stop; the step in hand is saved.
        NonFiniteLossError: the loss is not finite; the last state is kept.
    """
    started = time.monotonic()
    summary = begin(plan)
    if plan.config.mask_loss.like is not None:
        summary.tables += plan.tables
    if plan.having(Action.WRITE):
        with joined(plan.processes, start=plan.start):
            _train(plan, context, summary)
    summary.seconds = time.monotonic() - started
    return summary


def _train(plan: TrainPlan, context: RunContext, summary: Summary) -> None:
    if not plan.processes.first:
        context = dataclasses.replace(context, reporter=NullReporter())
    device = find_device(plan.config.model.device)
    data = _read_items(plan, context)
    if data.totals is not None:
        _announce(plan, data.totals, context)
    learners = _equip(plan, data, device, context)
    last: dict[str, float] = {}
    if plan.config.train.memory == "auto":
        context.reporter.emit(Noted(f"memory auto: {describe(plan.config.train)}"))
    for line in plan.expert_lines():
        context.reporter.emit(Noted(line))
    context.reporter.emit(PhaseStarted("Training", plan.total_steps, "steps"))
    context.reporter.emit(Advanced(plan.start))
    accumulation = plan.config.train.gradient_accumulation_steps
    with (
        tensorboard_writer(plan.names.events, purge_step=plan.start + 1) if plan.processes.first else nullcontext() as board,
        Feed(plan.order, data.store, accumulation=accumulation, device=device, processes=plan.processes) as feed,
    ):
        numbers = MetricBuffer(1 if device.type == "cpu" else _READ_EVERY, _receiver(plan, context, last, board))
        train(learners, feed, _course(plan, learners, data, device, context), numbers)
    context.reporter.emit(PhaseFinished("Training"))
    _conclude(plan, data.totals, last, summary)


def _read_items(plan: TrainPlan, context: RunContext) -> _Data:
    """Read every entry once: what is broken is found before the first step, and what fits stays in memory."""
    config = plan.config
    headers = [(header, cached.repeats) for cached in plan.sets for header in cached.headers]
    rule = weight_rule(config.mask_loss, config.masks.tiers)
    threshold = config.mask_loss.prior_mask_threshold if prior_rule(config.mask_loss) else None

    assert plan.arch is not None
    scale = plan.arch.latent.train_scale

    def read(position: int) -> TrainingItem:
        header = headers[position][0]
        return make_item(header, load_entry(header), rule=rule, prior_threshold=threshold, latent_scale=scale)

    store = ItemStore(read, budget=memory_budget())
    totals = MaskTotals()
    context.reporter.emit(PhaseStarted("Reading the cache", len(headers)))
    for position, (header, repeats) in enumerate(headers):
        item = store.item(position)
        # What is held out teaches nothing, so the banner does not count it.
        if position not in plan.held_out:
            totals.add(item, repeats=repeats)
        context.reporter.emit(Advanced(1, header.stem))
    context.reporter.emit(PhaseFinished("Reading the cache"))
    return _Data(store, totals if rule is not None else None)


def _announce(plan: TrainPlan, totals: MaskTotals, context: RunContext) -> None:
    rule = weight_rule(plan.config.mask_loss, plan.config.masks.tiers)
    assert rule is not None
    context.reporter.emit(Announced(banner(plan.config.mask_loss, rule, totals)))
    if totals.empty:
        what = f"{len(totals.empty)} of {totals.entries} cache entries have weight 0 everywhere: they teach nothing and are passed over"
        context.reporter.emit(Warned(Problem(what, name_some(totals.empty))))


def _equip(plan: TrainPlan, data: _Data, device: torch.device, context: RunContext) -> list[Learner]:
    """Load the denoisers, put LoRA into them, and bring it to where training starts."""
    section = plan.config.train
    assert plan.arch is not None
    dtype = denoiser_dtype(section.dit_dtype, device)
    first = collate([data.store.item(position) for position in plan.order.indices(0)], 0)
    context.reporter.emit(PhaseStarted("Loading the model", None))
    wanted = LearnerPlan(plan.arch, plan.task, plan.experts, plan.schedule, plan.total_steps, device, dtype)
    learners, left_out = load_learners(wanted, plan.config.model, section, first)
    context.reporter.emit(PhaseFinished("Loading the model"))
    if left_out:
        context.reporter.emit(Noted(f"{len(left_out)} layers never get a gradient and are not adapted, e.g. {left_out[0]}"))
    if plan.state is not None:
        saving.restore_run_state(plan.state, learners)
        context.reporter.emit(Noted(f"going on after step {plan.start} of {plan.total_steps}"))
        return learners
    if plan.processes.first:
        checkpoint.remove_states(plan.names.folder, plan.names.run_name)
    if section.network_weights is not None:
        for learner in learners:
            load_lora(section.network_weights, learner.lora)
        context.reporter.emit(Noted(f"starting from {section.network_weights}"))
    return learners


def _course(plan: TrainPlan, learners: list[Learner], data: _Data, device: torch.device, context: RunContext) -> Course:
    assert plan.arch is not None
    facts = TrainedOn(
        items=len(plan.order.items) - len(plan.held_out),
        batches_per_epoch=plan.order.batches_per_epoch,
        batches_per_step=plan.batches_per_step,
        total_steps=plan.total_steps,
        totals=data.totals,
        base_identity=learners[0].denoiser.identity,
        resolutions=commonest_sizes(plan.sets, plan.arch.latent.spatial_stride),
    )
    rule = step_rule(plan.config.mask_loss, plan.config.train)
    held_out = HeldOut(plan.held_out, data.store.item, rule, device, plan.processes)
    return Course(
        start=plan.start,
        total=plan.total_steps,
        schedule=plan.schedule,
        rule=rule,
        device=device,
        offload=plan.config.train.offload_inactive_dit,
        save_at=plan.saves_at,
        save=lambda done: _save(plan, learners, facts, done),
        stop_signal=context.stop_signal,
        processes=plan.processes,
        validate=lambda done, learner: _validate(learner, held_out) if plan.validates_at(done) else {},
    )


def _validate(learner: Learner, held_out: HeldOut) -> dict[str, torch.Tensor | float]:
    numbers: dict[str, torch.Tensor | float] = {}
    saving.reading_weights([learner], lambda: numbers.update(validate(learner, held_out)))
    return numbers


def _save(plan: TrainPlan, learners: list[Learner], facts: TrainedOn, done: int) -> None:
    """Save a training state, and LoRA files: the final ones at the end, those of the step where they were asked for."""
    config, section, names = plan.config, plan.config.train, plan.names
    assert plan.arch is not None
    metadata = lora_metadata(plan.arch, config.model, section, config.mask_loss, facts, step=done)
    files = names.lora_files() if done >= plan.total_steps else names.lora_files(done) if plan.saves_at(done) else []

    def write() -> None:
        if not plan.processes.first:
            return
        saving.save_loras(files, learners, metadata, precision=section.save_precision, file_format=section.lora_format)
        saving.save_run_state(names, learners, step=done, settings=plan.settings(), keep_last=section.keep_last)

    saving.reading_weights(learners, write)


def _receiver(
    plan: TrainPlan, context: RunContext, last: dict[str, float], board: Callable[[int, Values], None] | None
) -> Callable[[int, Values], None]:
    """Return what gets the numbers of each step and passes them to the log, TensorBoard, the reporter and ``last``."""
    log = StepLog(plan.names.log, keep_until=plan.start) if plan.processes.first else None

    def receive(step: int, values: Values) -> None:
        if log is not None:
            log.write(step, values)
        if board is not None:
            board(step, values)
        context.reporter.emit(Measured(step, values))
        context.reporter.emit(Advanced(1, note=f"loss {values['loss']:.4f}" if "loss" in values else "nothing to learn"))
        last.update(values)

    return receive


def _conclude(plan: TrainPlan, totals: MaskTotals | None, last: Values, summary: Summary) -> None:
    files = plan.names.lora_files()
    summary.written = len(files)
    summary.details |= {"steps": plan.total_steps, "loss": last.get("loss"), "files": [str(path) for path in files]}
    rows = [("steps", str(plan.total_steps)), ("last loss", f"{last['loss']:.4f}" if "loss" in last else "-")]
    rows += [("LoRA", str(path)) for path in files]
    if totals is not None:
        summary.details |= {"mean_loss_weight": round(totals.mean_weight, 6), "empty_masks": len(totals.empty)}
    if totals is not None and totals.empty:
        rows.append(("entries with weight 0 everywhere", str(len(totals.empty))))
    summary.tables.append(Table("Trained", ("what", "value"), tuple(rows)))
