"""The loop: step after step until the last, a stop, or a loss that is not finite."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from blissmask.errors import StoppedError
from blissmask.training.data.prefetch import Feed
from blissmask.training.device import release_memory
from blissmask.training.experts import Learner, StepSchedule
from blissmask.training.optim.optimizer import set_training_mode
from blissmask.training.processes import ALONE, Processes
from blissmask.training.record.metrics import MetricBuffer
from blissmask.training.step import StepRule, run_step


@dataclass(frozen=True, slots=True)
class Course:
    """How far to go, and what happens on the way.

    Attributes:
        start: optimiser steps already done.
        total: optimiser steps in all.
        schedule: which learner a step trains.
        rule: what a step does.
        device: of the active learner.
        offload: keep the weights of the learner that rests in CPU memory.
        save_at: says, for a number of steps done, whether to save.
        save: saves; called with the number of steps done, after all numbers up to it were seen to be finite.
        validate: returns the numbers of held-out items after a number of steps; empty when it is not their turn.
        stop_signal: returns the number of the signal that asked to stop, or 0.
        how_to_go_on: what to type after a stop.
        preview: draws what is due after a number of steps, and says whether there was any; learners may then be on
            other devices.
        processes: that share every step.
    """

    start: int
    total: int
    schedule: StepSchedule
    rule: StepRule
    device: torch.device
    offload: bool
    save_at: Callable[[int], bool]
    save: Callable[[int], None]
    stop_signal: Callable[[], int]
    how_to_go_on: str = "run the same command again to continue"
    processes: Processes = ALONE
    validate: Callable[[int, Learner], Mapping[str, Tensor | float]] = lambda done, learner: {}
    preview: Callable[[int], bool] = lambda done: False


def train(learners: Sequence[Learner], feed: Feed, course: Course, numbers: MetricBuffer) -> None:
    """Train from ``course.start`` to ``course.total``.

    Raises:
        StoppedError: a signal asked to stop; the step in hand was finished and saved.
        NonFiniteLossError: a loss or gradient is not finite; nothing was saved since.
        RuntimeError, MemoryError: memory ran out; the steps before are saved.
    """
    active = -1
    for learner in learners:
        learner.denoiser.module.train()
        set_training_mode(learner.optimizer, training=True)
    if course.start >= course.total:
        # All steps are done, and the final LoRA file was removed or is to be of fewer steps: only that is left to do.
        course.save(course.start)
    # What is due before the first step, or was due when a kill came after this state was saved.
    course.preview(course.start)
    for step in range(course.start, course.total):
        position = course.schedule.learner_at(step)
        if position != active:
            _take_turns(learners, position, course)
            active = position
        window = feed.window(step, last=step + 1 == course.total)
        values = run_step(
            learners[position],
            window,
            course.rule,
            step=step,
            device=course.device,
            processes=course.processes,
            rescue=partial(_rescue, course, numbers, step),
        )
        numbers.add(step + 1, {**values, **course.validate(step + 1, learners[position])})
        # A signal reaches the processes at different steps; all must stop after the same one.
        signal = course.processes.highest(course.stop_signal())
        done = step + 1
        is_saved = signal != 0 or done == course.total or course.save_at(done)
        if is_saved:
            _save(course, numbers, done)
        if not signal and course.preview(done):
            active = -1
            signal = course.processes.highest(course.stop_signal())
            if signal and not is_saved:
                _save(course, numbers, done)
        if signal and done < course.total:
            raise StoppedError(
                f"stopped after step {done} of {course.total}; it is saved",
                signal_number=signal,
                fix=course.how_to_go_on,
            )


def _rescue(course: Course, numbers: MetricBuffer, done: int) -> None:
    """Save the steps that are done when the next one does not fit into the memory; what it left there goes first."""
    # Other processes wait inside the step, so this one alone cannot save.
    if done > course.start and course.processes.count == 1:
        release_memory(course.device)
        _save(course, numbers, done)


def _save(course: Course, numbers: MetricBuffer, done: int) -> None:
    """Save, once all numbers up to step ``done`` were seen to be finite."""
    numbers.flush()
    course.save(done)


def _take_turns(learners: Sequence[Learner], position: int, course: Course) -> None:
    """Bring the learner at ``position`` to the device, the others out of its way when there is no room for all."""
    for other, learner in enumerate(learners):
        if other != position and course.offload:
            learner.to(torch.device("cpu"))
    active = learners[position]
    active.to(course.device)
    for values in active.optimizer.state.values():
        # What was restored while the weights rested in CPU memory; step counters stay where the optimiser wants them.
        values.update(
            {
                name: value.to(course.device)
                for name, value in values.items()
                if isinstance(value, Tensor) and value.ndim > 0
            }
        )
