"""`train`: from the cache and a frozen denoiser to a LoRA file."""

from __future__ import annotations

import dataclasses
import math
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from blissmask.cachefile.read import load_entry
from blissmask.errors import MachineError, Problem
from blissmask.events import Advanced, Announced, Noted, NullReporter, PhaseFinished, PhaseStarted, Warned
from blissmask.families.files.model_files import model_files
from blissmask.processes import connected
from blissmask.tasks.run.plan import Action, RunContext, Summary, Table, places_of
from blissmask.tasks.run.wording import counted
from blissmask.tasks.run.workers import begin
from blissmask.tasks.train.lora_metadata import TrainedOn, lora_metadata
from blissmask.tasks.train.out_of_memory import told_when_full
from blissmask.tasks.train.plan import TrainPlan
from blissmask.tasks.train.previews.draw import draw_previews, open_studio
from blissmask.tasks.train.records import recording
from blissmask.tasks.train.resume import BASE, bases, how_to_go_on, refuse_other_base
from blissmask.tasks.train.rules import (
    lora_shape,
    memory_options,
    noise_options,
    optimizer_options,
    prior_rule,
    rate_schedule,
    step_rule,
)
from blissmask.training.build import LearnerPlan, load_learners
from blissmask.training.data.batches import collate
from blissmask.training.data.cached_set import commonest_sizes
from blissmask.training.data.items import TrainingItem, make_item
from blissmask.training.data.mask_totals import MaskTotals, banner
from blissmask.training.data.prefetch import ItemStore, Prefetcher, memory_budget
from blissmask.training.data.tier_values import others_than, tiers_of
from blissmask.training.device import denoiser_dtype, find_device
from blissmask.training.eval_mode import inference_weights
from blissmask.training.experts import Learner
from blissmask.training.loop import LoopHooks, LoopSettings, PreviewHook, train
from blissmask.training.lora.file import load_lora
from blissmask.training.record import saving
from blissmask.training.record.metrics import MetricBuffer, Values
from blissmask.training.validation import HeldOut, validate

_READ_EVERY, _PATIENCE = 10, 2.0
"""Steps and seconds between readings of the numbers on a GPU, whichever is less; on a CPU every step."""


@dataclass(frozen=True, slots=True)
class _Data:
    """The items of a run, and what their masks come to (None when the mask loss is off)."""

    store: ItemStore
    totals: MaskTotals | None


def run(plan: TrainPlan, context: RunContext) -> Summary:
    """Train, save, and report the result.

    Raises:
        CacheError: an entry holds NaN or infinity.
        ModelError: model files cannot be used.
        MachineError: the training does not fit into the memory.
        StoppedError: a signal asked to stop; the step in hand is saved.
        NonFiniteLossError: the loss is not finite; the last state is kept.
    """
    started = time.monotonic()
    summary = begin(plan)
    if plan.having(Action.WRITE):
        with connected(plan.processes), told_when_full(plan):
            _refuse_other_start(plan)
            _train(plan, context, summary)
    summary.seconds = time.monotonic() - started
    return summary


def _refuse_other_start(plan: TrainPlan) -> None:
    """Raise MachineError when the processes found different training states: they do not see the same folder."""
    starts = plan.processes.gather(plan.start)
    if len(set(starts)) > 1:
        raise MachineError(
            f"the processes found different training states (this one goes on from step {plan.start})",
            fix="let all machines see the same `output_dir`",
        )


def _train(plan: TrainPlan, context: RunContext, summary: Summary) -> None:
    if not plan.processes.first:
        context = dataclasses.replace(context, reporter=NullReporter())
    device = find_device(plan.config.model.device)
    data = _read_items(plan, context)
    if data.totals is not None:
        _announce(plan, data.totals, context)
    models = _models(plan, device)
    # Before the denoisers take the device, the text encoder needs it.
    studio = open_studio(plan, models, context)
    learners = _equip(plan, data, models, context)
    last: dict[str, float] = {}
    if plan.config.memory.memory == "auto":
        context.reporter.emit(Noted(f"memory auto: {memory_options(plan.config.memory).describe()}"))
    for line in plan.expert_lines():
        context.reporter.emit(Noted(line))
    context.reporter.emit(PhaseStarted("Training", plan.total_steps, "steps"))
    context.reporter.emit(Advanced(plan.start))
    accumulation = plan.config.train.gradient_accumulation_steps
    with (
        recording(plan, context, last) as receive,
        Prefetcher(
            plan.order, data.store, accumulation=accumulation, device=device, processes=plan.processes
        ) as batches,
    ):
        patience = _PATIENCE if plan.processes.count == 1 else math.inf
        numbers = MetricBuffer(1 if device.type == "cpu" else _READ_EVERY, receive, patience)
        settings = _loop_settings(plan, device)
        hooks = _loop_hooks(plan, learners, data, settings, context)
        if studio is not None:
            previews = PreviewHook(
                is_due=lambda done: plan.previews_at(done) is not None,
                draw=partial(draw_previews, studio, learners, context),
            )
            hooks = dataclasses.replace(hooks, previews=previews)
        train(learners, batches, settings, hooks, numbers)
    context.reporter.emit(PhaseFinished("Training"))
    _conclude(plan, data.totals, last, summary)
    if studio is not None and studio.failed:
        summary.warnings.append(
            Problem(f"{counted(len(studio.failed), 'preview')} could not be drawn", places_of(studio.failed))
        )


def _read_items(plan: TrainPlan, context: RunContext) -> _Data:
    """Read every entry once: what is broken is found before the first step, and what fits stays in memory."""
    headers = [(header, cached.repeats) for cached in plan.sets for header in cached.headers]
    prior = prior_rule(plan.config.mask_loss)

    assert plan.family is not None
    scale, shown = plan.family.latent.train_scale, plan.family.task.shown_frames

    def read(position: int) -> TrainingItem:
        header = headers[position][0]
        return make_item(
            header,
            load_entry(header),
            rule=None if plan.weights is None else plan.weights.for_masks_of(tiers_of(header, plan.tiers)),
            prior_threshold=None if prior is None else prior.mask_threshold,
            latent_scale=scale,
            shown_frames=shown,
        )

    store = ItemStore(read, budget=memory_budget(plan.resting_bytes))
    totals = MaskTotals()
    held_out = frozenset(plan.held_out)
    context.reporter.emit(PhaseStarted("Reading the cache", len(headers)))
    for position, (header, repeats) in enumerate(headers):
        item = store.item(position)
        # What is held out teaches nothing, so the banner does not count it.
        if position not in held_out:
            totals.add(item, repeats=repeats)
        context.reporter.emit(Advanced(1, header.stem))
    context.reporter.emit(PhaseFinished("Reading the cache"))
    return _Data(store, None if plan.weights is None else totals)


def _announce(plan: TrainPlan, totals: MaskTotals, context: RunContext) -> None:
    assert plan.weights is not None
    section = plan.config.mask_loss
    others = others_than(plan.tiers, (header for cached in plan.sets for header in cached.headers))
    lines = banner(plan.weights, totals, scale=section.mask_loss_scale, prior=prior_rule(section), other_tiers=others)
    context.reporter.emit(Announced(lines))
    if totals.empty:
        what = f"{len(totals.empty)} of {totals.entries} cache entries have weight 0 everywhere: they teach nothing and are passed over"
        context.reporter.emit(Warned(Problem(what, places_of(totals.empty))))


def _models(plan: TrainPlan, device: torch.device) -> LearnerPlan:
    assert plan.family is not None
    config = plan.config
    return LearnerPlan(
        family=plan.family,
        files=model_files(config.model),
        experts=plan.experts,
        schedule=plan.schedule,
        steps=plan.total_steps,
        device=device,
        dtype=denoiser_dtype(config.memory.dit_dtype, device),
        memory=memory_options(config.memory),
        lora=lora_shape(config.lora),
        seed=config.train.seed,
        shared_lora=config.train.shared_lora,
        optimizer=optimizer_options(config.optimizer),
        rate=rate_schedule(config.optimizer),
        noise=noise_options(config.timesteps, default_shift=plan.family.default_shift),
    )


def _equip(plan: TrainPlan, data: _Data, models: LearnerPlan, context: RunContext) -> list[Learner]:
    """Load the denoisers, put LoRA into them, and bring it to where training starts."""
    first = collate([data.store.item(position) for position in plan.order.indices(0)], 0)
    context.reporter.emit(PhaseStarted("Loading the model", None))
    learners, left_out = load_learners(models, first)
    context.reporter.emit(PhaseFinished("Loading the model"))
    if left_out:
        context.reporter.emit(
            Noted(f"{len(left_out)} layers never get a gradient and are not adapted, e.g. {left_out[0]}")
        )
    if plan.state is not None:
        refuse_other_base(plan, learners)
        saving.restore_run_state(plan.state, learners, plan.config.optimizer.optimizer_args)
        context.reporter.emit(Noted(f"going on after step {plan.start} of {plan.total_steps}"))
        return learners
    source = plan.config.lora.network_weights
    if source is not None:
        for learner in learners:
            load_lora(source, learner.lora)
        context.reporter.emit(Noted(f"starting from {source}"))
    return learners


def _loop_settings(plan: TrainPlan, device: torch.device) -> LoopSettings:
    return LoopSettings(
        start=plan.start,
        total=plan.total_steps,
        schedule=plan.schedule,
        rule=step_rule(plan.config),
        device=device,
        offload=plan.config.memory.offload_inactive_dit,
        processes=plan.processes,
    )


def _loop_hooks(
    plan: TrainPlan, learners: list[Learner], data: _Data, settings: LoopSettings, context: RunContext
) -> LoopHooks:
    assert plan.family is not None
    facts = TrainedOn(
        items=len(plan.order.items) - len(plan.held_out),
        batches_per_epoch=plan.order.batches_per_epoch,
        batches_per_step=plan.batches_per_step,
        total_steps=plan.total_steps,
        totals=data.totals,
        base_identity=learners[0].denoiser.identity,
        resolutions=commonest_sizes(plan.sets, plan.family.latent.spatial_stride),
    )
    saved: list[int] = []

    def save(done: int) -> None:
        _save(plan, learners, facts, done, anew=plan.state is None and not saved)
        saved.append(done)

    held_out = HeldOut(plan.held_out, data.store.item, settings.rule, settings.device, plan.processes)
    return LoopHooks(
        is_save_due=plan.saves_at,
        save=save,
        stop_signal=context.stop_signal,
        validate=lambda done, learner: _validate(learner, held_out) if plan.validates_at(done) else {},
        resume_hint=how_to_go_on(plan),
    )


def _validate(learner: Learner, held_out: HeldOut) -> dict[str, torch.Tensor | float]:
    with inference_weights([learner]):
        return validate(learner, held_out)


def _save(plan: TrainPlan, learners: list[Learner], facts: TrainedOn, done: int, *, anew: bool) -> None:
    """Save a training state, and LoRA files: the final ones at the end, those of the step where they were asked for.

    Args:
        plan: of the run.
        learners: all of them.
        facts: for the metadata.
        done: steps done.
        anew: whether this is the first state of a run that does not go on from another.
    """
    if not plan.processes.first:
        return
    section, names, family = plan.config.saving, plan.names, plan.family
    assert family is not None

    def metadata_of(name: str) -> dict[str, str]:
        return lora_metadata(plan.config, family, facts, step=done, name=name)

    files = _lora_files(plan, done)

    if files:
        with inference_weights(learners):
            saving.save_loras(
                files, learners, metadata_of, precision=section.save_precision, file_format=section.lora_format
            )
    settings = {**plan.settings(), BASE: bases(learners)}
    saving.save_run_state(names, learners, step=done, settings=settings, keep_last=section.keep_last, anew=anew)


def _lora_files(plan: TrainPlan, done: int) -> list[Path]:
    """Return the LoRA files that are due after ``done`` steps."""
    if done >= plan.total_steps:
        return plan.names.lora_files()
    return plan.names.lora_files(done) if plan.saves_at(done) else []


def _conclude(plan: TrainPlan, totals: MaskTotals | None, last: Values, summary: Summary) -> None:
    files = plan.names.lora_files()
    summary.written = len(files)
    summary.details |= {"steps": plan.total_steps, "loss": last.get("loss"), "files": [str(path) for path in files]}
    summary.headline, summary.destination = f"Trained {counted(plan.total_steps, 'step')}", ", ".join(map(str, files))
    rows = [("last loss", f"{last['loss']:.4f}" if "loss" in last else "-")]
    if plan.names.curve.is_file():
        rows.append(("loss curve", str(plan.names.curve)))
    if totals is not None:
        summary.details |= {"mean_loss_weight": round(totals.mean_weight, 6), "empty_masks": len(totals.empty)}
    if totals is not None and totals.empty:
        rows.append(("entries with weight 0 everywhere", str(len(totals.empty))))
    summary.tables.append(Table("Result", ("what", "value"), tuple(rows)))
