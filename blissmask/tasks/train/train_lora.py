"""`train`: from the cache and a frozen denoiser to a LoRA file."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from blissmask.errors import InputError, MachineError, Problem
from blissmask.events import Noted, NullReporter, PhaseFinished, PhaseStarted, Warned
from blissmask.families.files.model_files import model_files
from blissmask.people.subject_likeness import LikenessMeter
from blissmask.plurals import counted
from blissmask.processes import connected
from blissmask.tasks.run.plan import Action, RunContext, Summary, Table, places_of
from blissmask.tasks.run.workers import begin
from blissmask.tasks.train.data.read_items import TrainingItems, read_items
from blissmask.tasks.train.memory.fit_memory import explained_out_of_memory
from blissmask.tasks.train.previews.draw import Previews, draw_previews, open_previews
from blissmask.tasks.train.previews.measure import LikenessLog, open_meter
from blissmask.tasks.train.records import Records, recording
from blissmask.tasks.train.resume import refuse_other_base, resume_hint
from blissmask.tasks.train.rules import (
    base_loras,
    lora_shape,
    memory_options,
    noise_options,
    optimizer_options,
    rate_schedule,
)
from blissmask.tasks.train.saving.checkpoints import Checkpoints
from blissmask.tasks.train.saving.disk_room import room_warnings
from blissmask.tasks.train.saving.page.place import is_page
from blissmask.tasks.train.saving.page.run_page import Drawing
from blissmask.tasks.train.settings import base_identities
from blissmask.tasks.train.train_plan import TrainPlan
from blissmask.training.build import LearnerPlan, load_learners
from blissmask.training.data.mask_totals import MaskTotals
from blissmask.training.data.micro_batch import collate
from blissmask.training.data.prefetch import Prefetcher
from blissmask.training.device import denoiser_dtype, find_device
from blissmask.training.eval_mode import inference_weights
from blissmask.training.experts import Learner
from blissmask.training.loop import LoopHooks, LoopSettings, PreviewHook, train
from blissmask.training.lora.file import load_lora
from blissmask.training.memory.block_compiler import BlockCompiler
from blissmask.training.record import saving
from blissmask.training.record.metrics import MetricBuffer, Values, read_log
from blissmask.training.validation import HeldOut, validate

_READ_EVERY, _PATIENCE = 10, 2.0
"""Steps and seconds between readings of the numbers on a GPU, whichever is less; on a CPU every step."""


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
        with connected(plan.processes), explained_out_of_memory(plan.config, plan.data.sets):
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
    items = read_items(plan, context)
    learner_plan = dataclasses.replace(learner_plan_of(plan, device), compiler=_compiler_of(plan, context))
    previews = None
    if plan.previews is not None:
        # Before the denoisers take the device: the text encoder needs it.
        previews = open_previews(plan, plan.previews, learner_plan, context)
    meter = None
    if previews is not None and plan.likeness is not None and plan.processes.first:
        meter = open_meter(plan.likeness, context)
    learners = _load_learners(plan, learner_plan, items, context)
    _look_at_room(plan, learners, context)
    if previews is not None:
        previews.follow(learners)
    last = _run_loop(plan, learners, items, previews=previews, meter=meter, device=device, context=context)
    _conclude(plan, items.totals, last, summary)
    if previews is not None and previews.failed:
        what = f"{counted(len(previews.failed), 'preview')} could not be drawn"
        summary.warnings.append(Problem(what, places_of(previews.failed)))


def _look_at_room(plan: TrainPlan, learners: Sequence[Learner], context: RunContext) -> None:
    """Warn before the first step of a disk without room, where the plan could not know what the LoRA needs."""
    if plan.room_known:
        return
    loras = {id(learner.lora): learner.lora for learner in learners}
    numbers = sum(parameter.numel() for lora in loras.values() for _, parameter in lora.named_parameters())
    for problem in room_warnings(plan.config, plan.steps, trained_numbers=numbers):
        context.reporter.emit(Warned(problem))


def _compiler_of(plan: TrainPlan, context: RunContext) -> BlockCompiler | None:
    backend = memory_options(plan.config.memory).compile_backend
    if backend is None:
        return None

    def warn(problem: Problem) -> None:
        context.reporter.emit(Warned(problem))

    return BlockCompiler(backend, asked=not plan.compiling.by_rule, warn=warn)


def learner_plan_of(plan: TrainPlan, device: torch.device) -> LearnerPlan:
    """Return how the denoisers of a training are loaded, uncompiled, and what is trained of them."""
    config = plan.config
    return LearnerPlan(
        family=plan.family,
        files=model_files(config.model),
        experts=plan.steps.experts,
        schedule=plan.steps.schedule,
        steps=plan.steps.total,
        device=device,
        dtype=denoiser_dtype(config.memory.dit_dtype, device),
        memory=memory_options(config.memory),
        lora=lora_shape(config.lora),
        base_loras=base_loras(config.lora),
        seed=config.train.seed,
        shared_lora=config.train.shared_lora,
        optimizer=optimizer_options(config.optimizer),
        rate=rate_schedule(config.optimizer),
        noise=noise_options(config.timesteps, default_shift=plan.family.default_shift),
        guidance_scale=config.train.guidance_scale,
        ema_decay=config.optimizer.ema_decay,
    )


def _load_learners(
    plan: TrainPlan, learner_plan: LearnerPlan, items: TrainingItems, context: RunContext
) -> list[Learner]:
    """Load the denoisers, put LoRA into them, and bring it to where training starts."""
    first = collate([items.store.item(position) for position in plan.data.order.indices(0)], 0)
    context.reporter.emit(PhaseStarted("Loading the model", None))
    learners, left_out = load_learners(learner_plan, first)
    context.reporter.emit(PhaseFinished("Loading the model"))
    if left_out:
        note = f"layers that never get a gradient are not adapted, {len(left_out)} in all, e.g. {left_out[0]}"
        context.reporter.emit(Noted(note))
    if plan.state is not None:
        refuse_other_base(plan.state, base_identities(learners))
        saving.restore_run_state(plan.state, learners, optimizer_options(plan.config.optimizer), items.losses)
        context.reporter.emit(Noted(_where_it_goes_on(plan)))
    elif plan.config.lora.network_weights is not None:
        _load_weights(plan.config.lora.network_weights, learners)
        context.reporter.emit(Noted(f"starting from {plan.config.lora.network_weights}"))
    return learners


def _where_it_goes_on(plan: TrainPlan) -> str:
    if plan.start < plan.steps.total:
        return f"going on after step {plan.start} of {plan.steps.total}"
    return f"all steps are done: the files are written from the training state of step {plan.start}"


def _load_weights(path: Path, learners: Sequence[Learner]) -> None:
    for learner in learners:
        load_lora(path, learner.lora)
        if learner.average is not None:
            learner.average.restart()


def _run_loop(
    plan: TrainPlan,
    learners: Sequence[Learner],
    items: TrainingItems,
    *,
    previews: Previews | None,
    meter: LikenessMeter | None,
    device: torch.device,
    context: RunContext,
) -> Values:
    """Train all steps, and return the latest value of each name."""
    memory = plan.config.memory
    if memory.memory == "auto":
        context.reporter.emit(Noted(f"memory auto: {memory_options(memory).describe()}"))
    if plan.compiling.compiles and plan.compiling.by_rule:
        context.reporter.emit(Noted(f"compile {plan.compiling.reason}"))
    for line in plan.steps.expert_lines():
        context.reporter.emit(Noted(line))
    context.reporter.emit(PhaseStarted("Training", plan.steps.total, "steps", before=plan.start))
    last: dict[str, float] = {}
    batches = Prefetcher(
        plan.data.order,
        items.store,
        accumulation=plan.config.train.gradient_accumulation_steps,
        device=device,
        processes=plan.processes,
    )
    drawing = Drawing(plan, items, context)
    with recording(plan, drawing, context, last) as records, batches:
        numbers = MetricBuffer(
            interval=1 if device.type == "cpu" else _READ_EVERY,
            receive=records.step,
            # Several processes must read at the same step, and each has its own clock.
            patience=_PATIENCE if plan.processes.count == 1 else math.inf,
        )
        settings = _loop_settings(plan, device)
        hooks = _loop_hooks(plan, learners, items, drawing, settings=settings, context=context)
        if previews is not None:
            hooks = dataclasses.replace(
                hooks, previews=_preview_hook(plan, learners, previews, meter, records, context)
            )
        train(learners, batches, settings, hooks, numbers)
    context.reporter.emit(PhaseFinished("Training"))
    return last


def _loop_settings(plan: TrainPlan, device: torch.device) -> LoopSettings:
    return LoopSettings(
        start=plan.start,
        total=plan.steps.total,
        schedule=plan.steps.schedule,
        rule=plan.rule,
        device=device,
        offload=plan.config.memory.offload_inactive_dit,
        processes=plan.processes,
    )


def _loop_hooks(
    plan: TrainPlan,
    learners: Sequence[Learner],
    items: TrainingItems,
    drawing: Drawing,
    *,
    settings: LoopSettings,
    context: RunContext,
) -> LoopHooks:
    held_out = HeldOut(
        positions=plan.data.held_out,
        item=items.store.item,
        rule=settings.rule,
        device=settings.device,
        processes=plan.processes,
    )

    def validate_when_due(done: int, learner: Learner) -> dict[str, Tensor | float]:
        if not plan.validates_at(done):
            return {}
        with inference_weights([learner]):
            return validate(learner, held_out)

    return LoopHooks(
        is_save_due=plan.saves_at,
        save=Checkpoints(plan, learners, items, drawing, context).save,
        stop_signal=context.stop_signal,
        validate=validate_when_due,
        losses=items.losses,
        resume_hint=resume_hint(plan.config),
    )


def _preview_hook(
    plan: TrainPlan,
    learners: Sequence[Learner],
    previews: Previews,
    meter: LikenessMeter | None,
    records: Records,
    context: RunContext,
) -> PreviewHook:
    """Return when and how previews are drawn, and measured where there is a meter."""
    log = None
    if meter is not None:
        log = LikenessLog(meter, plan.names.likeness, keep_until=plan.start, record=records.more, context=context)

    def is_due(done: int) -> bool:
        return plan.preview_label(done) is not None

    def draw(done: int) -> None:
        draw_previews(previews, learners, context, done)
        # After a stop in the middle the run that goes on draws the rest, and measures all.
        if log is not None and plan.likeness is not None and not context.stop_signal():
            paths = [previews.path(number, done) for number in range(len(previews.planned))]
            log.measure(plan.likeness.drawn(previews.planned, paths), done)

    return PreviewHook(is_due=is_due, draw=draw)


def _conclude(plan: TrainPlan, totals: MaskTotals | None, last: Values, summary: Summary) -> None:
    """Put the result into the summary."""
    averages = plan.names.average_files()
    files = [*plan.names.lora_files(), *averages]
    summary.written = len(files)
    # A state may be of more steps than are asked for now.
    steps = max(plan.start, plan.steps.total)
    summary.headline = f"Trained {counted(steps, 'step')}"
    summary.told_again += plan.stale
    summary.destination = ", ".join(str(path) for path in files)
    summary.details |= {"steps": steps, "loss": last.get("loss"), "files": [str(path) for path in files]}
    summary.details["experts"] = [expert.name for expert in plan.steps.experts if expert.name]
    if plan.read_in_part_by:
        summary.details["read_in_part_by"] = list(plan.read_in_part_by)
    summary.details["averages"] = [str(path) for path in averages]
    summary.details["checkpoints"] = [str(path) for _, path in plan.names.earlier_files(without=plan.files_of_before)]
    # As `rank_loras.plan` asks for one of the two.
    summary.details["rankable"] = plan.likeness is not None or bool(plan.data.held_out)
    rows = [("loss", _loss_text(plan))]
    if _has_page(plan):
        rows.append(("page", str(plan.names.page)))
    if plan.unmeasured:
        rows.append(("likeness of previews", "not measured: photos of the subject are missing"))
    if totals is not None:
        empty = len(totals.empty) + len(plan.data.left_out)
        summary.details |= {"mean_loss_weight": round(totals.mean_weight, 6), "empty_masks": empty}
        if empty:
            rows.append(("entries with weight 0 everywhere", str(empty)))
    summary.tables.append(Table("Result", ("What", "Value"), tuple(rows)))


def _has_page(plan: TrainPlan) -> bool:
    """Return whether the page is there and ours; another file of its name was kept, and a warning says so."""
    try:
        return is_page(plan.names.page)
    except OSError:
        return False


def _loss_text(plan: TrainPlan) -> str:
    """Return how the loss went: means, since that of one step depends on its noise level most of all."""
    try:
        losses = [line["loss"] for line in read_log(plan.names.log) if "loss" in line]
    except (InputError, OSError):
        # Whoever drew the page has named the line that is not ours, or why the log cannot be read.
        losses = []
    if not losses:
        return "-"
    count = max(1, len(losses) // 10)
    first, now = (sum(part) / count for part in (losses[:count], losses[-count:]))
    return f"{first:.4f} at first, {now:.4f} at last, means of {counted(count, 'step')}"
