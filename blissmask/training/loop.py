"""The training loop: step after step until the last one, a stop signal, or a loss that is not finite."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from blissmask.errors import InputError, StoppedError
from blissmask.processes import ALONE, Processes
from blissmask.training.data.prefetch import Prefetcher
from blissmask.training.device import release_memory
from blissmask.training.experts import Learner, StepSchedule
from blissmask.training.optim.optimizer import set_training_mode
from blissmask.training.record.item_losses import ItemLosses
from blissmask.training.record.metrics import MetricBuffer
from blissmask.training.step.run_step import run_step
from blissmask.training.step.step_rule import StepRule


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """Which steps to train, and how.

    Attributes:
        start: optimiser steps already done.
        total: optimiser steps in all.
        schedule: which learner a step trains.
        rule: what a step does.
        device: of the active learner.
        offload: whether the learner that rests keeps its weights in CPU memory.
        processes: that share every step.
    """

    start: int
    total: int
    schedule: StepSchedule
    rule: StepRule
    device: torch.device
    offload: bool
    processes: Processes = ALONE


@dataclass(frozen=True, slots=True)
class PreviewHook:
    """When and how previews are drawn.

    Attributes:
        is_due: whether to draw after a number of steps, from 0.
        draw: draws after a number of steps; may leave the learners on other devices.
    """

    is_due: Callable[[int], bool]
    draw: Callable[[int], None]


@dataclass(frozen=True, slots=True)
class LoopHooks:
    """What the loop calls between steps; each gets the number of steps done.

    Attributes:
        is_save_due: whether to save after this step.
        save: saves; the loop has seen before that all numbers up to this step are finite.
        stop_signal: returns the number of the signal that asked to stop, or 0.
        validate: returns the numbers of the held-out items; empty where no validation is due.
        previews: None where none are wanted.
        losses: take the loss of each item.
        resume_hint: what to type to continue after a stop.
    """

    is_save_due: Callable[[int], bool]
    save: Callable[[int], None]
    stop_signal: Callable[[], int]
    validate: Callable[[int, Learner], Mapping[str, Tensor | float]] | None = None
    previews: PreviewHook | None = None
    losses: ItemLosses | None = None
    resume_hint: str = "run the same command again to continue"


def train(
    learners: Sequence[Learner],
    batches: Prefetcher,
    settings: LoopSettings,
    hooks: LoopHooks,
    metrics: MetricBuffer,
) -> None:
    """Train from ``settings.start`` to ``settings.total``.

    Args:
        learners: in the order of the schedule.
        batches: the micro-batches of each step.
        settings: which steps, and how.
        hooks: what happens between steps.
        metrics: receives the numbers of each step.

    Raises:
        StoppedError: a signal asked to stop; the step in hand was finished and saved.
        InputError: a cache entry cannot be read any more; the steps before are saved.
        NonFiniteLossError: a loss or gradient is not finite; nothing was saved since.
        RuntimeError, MemoryError: memory ran out; the steps before are saved.
    """
    for learner in learners:
        learner.denoiser.module.train()
        set_training_mode(learner.optimizer, training=True)
    if settings.start >= settings.total:
        # All steps are done, and the final LoRA file was removed, or the run is to be shorter now: only that file is
        # missing.
        hooks.save(settings.start)
    # Previews are due before the first step. They may also be due when a kill came right after this state was saved.
    _draw_previews(hooks, metrics, settings.start)
    active: int | None = None
    for step in range(settings.start, settings.total):
        position = settings.schedule.learner_at(step)
        if position != active:
            _activate(learners, position, settings)
            active = position
        done = step + 1
        try:
            window = batches.window(step, last=done == settings.total)
        except InputError:
            # A cache entry changed, or its drive is gone; what was trained before that is whole.
            _save_finished_steps(settings, hooks, metrics, step)
            raise
        values = run_step(
            learners[position],
            window,
            settings.rule,
            step=step,
            device=settings.device,
            processes=settings.processes,
            losses=hooks.losses,
            on_out_of_memory=partial(_save_finished_steps, settings, hooks, metrics, step),
        )
        validation = {} if hooks.validate is None else hooks.validate(done, learners[position])
        metrics.add(done, {**values, **validation})
        # The signal reaches each process at another step; all must stop after the same one.
        signal = settings.processes.highest(hooks.stop_signal())
        is_saved = signal != 0 or done == settings.total or hooks.is_save_due(done)
        if is_saved:
            _save(hooks, metrics, done)
        if not signal and _draw_previews(hooks, metrics, done):
            # Drawing moves the learners between devices.
            active = None
            signal = settings.processes.highest(hooks.stop_signal())
            if signal and not is_saved:
                _save(hooks, metrics, done)
        if signal and done < settings.total:
            raise StoppedError(
                f"stopped after step {done} of {settings.total}; it is saved",
                signal_number=signal,
                fix=hooks.resume_hint,
            )


def _save_finished_steps(settings: LoopSettings, hooks: LoopHooks, metrics: MetricBuffer, done: int) -> None:
    """Save the finished steps when the next one cannot be made: its data are gone, or memory ran out."""
    # Other processes wait inside the step, so one process alone cannot save.
    if done > settings.start and settings.processes.count == 1:
        # What the failed step left in memory goes first: saving needs room, too.
        release_memory(settings.device)
        _save(hooks, metrics, done)


def _save(hooks: LoopHooks, metrics: MetricBuffer, done: int) -> None:
    """Save, once all numbers up to step ``done`` were seen to be finite."""
    metrics.flush()
    hooks.save(done)


def _draw_previews(hooks: LoopHooks, metrics: MetricBuffer, done: int) -> bool:
    """Draw the previews that are due after ``done`` steps, and return whether there were any."""
    if hooks.previews is None or not hooks.previews.is_due(done):
        return False
    # What is measured on previews follows the numbers of their step.
    metrics.flush()
    hooks.previews.draw(done)
    return True


def _activate(learners: Sequence[Learner], position: int, settings: LoopSettings) -> None:
    """Bring the learner at ``position`` to the device; the others make room for it where offloading is on."""
    for other, learner in enumerate(learners):
        if other != position and settings.offload:
            learner.to(torch.device("cpu"))
    active = learners[position]
    active.to(settings.device)
    # The optimiser's state may have been restored while the weights rested in CPU memory. Step counters (tensors
    # without dimensions) stay where the optimiser wants them.
    for values in active.optimizer.state.values():
        for name, value in values.items():
            if isinstance(value, Tensor) and value.ndim > 0:
                values[name] = value.to(settings.device)
