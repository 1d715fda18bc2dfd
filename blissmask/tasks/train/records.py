"""Record the steps of a run: in the log, in trackers, on the terminal, and at the end as its curve and its page."""

from __future__ import annotations

import contextlib
import statistics
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from blissmask.errors import Problem
from blissmask.events import Advanced, Measured, Warned
from blissmask.tasks.run.plan import RunContext
from blissmask.tasks.train.saving.page.run_page import Drawing
from blissmask.tasks.train.train_plan import TrainPlan
from blissmask.training.record.metrics import StepLog, Values, read_log
from blissmask.training.record.trackers import WandbRun, tracking, wanted_trackers

Receive = Callable[[int, Values], None]
"""Takes the number of a step and its values."""


@dataclass(frozen=True, slots=True)
class Records:
    """Where the numbers of a run go.

    Attributes:
        step: takes those of the next step.
        more: takes further numbers of the step that came last.
    """

    step: Receive
    more: Receive


_SPAN = 100
"""Steps of a mean that the screen shows. The loss of one step depends on its noise level most of all; a mean of 100
wavers a tenth as much."""


class LossTrend:
    """How the loss goes, in a few words for the screen.

    Args:
        earlier: losses of the steps of an earlier run.
    """

    def __init__(self, earlier: Iterable[float] = ()) -> None:
        self._losses = deque(earlier, maxlen=2 * _SPAN)

    def after(self, loss: float) -> str:
        """Return the mean of the latest 100 steps and of the 100 before, or the loss of this one among the first."""
        self._losses.append(loss)
        if len(self._losses) < 2 * _SPAN:
            return f"loss {loss:.4f}"
        losses = list(self._losses)
        before, now = statistics.fmean(losses[:_SPAN]), statistics.fmean(losses[_SPAN:])
        # Three digits: in a terminal of 80 columns there is not room for more.
        return f"loss {now:#.3g}, was {before:#.3g}"


@contextlib.contextmanager
def recording(plan: TrainPlan, drawing: Drawing, context: RunContext, last: dict[str, float]) -> Iterator[Records]:
    """Yield the functions that record values.

    Only the first process writes files.

    Args:
        plan: names the files, and the trackers.
        items: that are trained on.
        context: its reporter shows the values.
        last: gets the latest value of each name.
    """
    trend = LossTrend()

    def show_more(step: int, values: Values) -> None:
        context.reporter.emit(Measured(step, values, plan.steps.total))
        last.update(values)

    def show(step: int, values: Values) -> None:
        show_more(step, values)
        note = trend.after(values["loss"]) if "loss" in values else "nothing to learn"
        context.reporter.emit(Advanced(1, note=note))

    if not plan.processes.first:
        yield Records(show, show_more)
        return
    section, names = plan.config.logging, plan.names
    log = StepLog(names.log, keep_until=plan.start)
    trend = LossTrend(line["loss"] for line in read_log(names.log) if "loss" in line)
    folder = names.tracker_folder(section.logging_dir)
    wandb_run = WandbRun(
        project=section.log_tracker_name,
        name=section.wandb_run_name or names.run_name,
        group=names.run_name,
        settings=plan.settings,
    )
    trackers = wanted_trackers(section.log_with)
    told = {problem.what for problem in plan.warnings}

    def tell_once(problem: Problem | None) -> None:
        if problem is not None and problem.what not in told:
            told.add(problem.what)
            context.reporter.emit(Warned(problem))

    with tracking(trackers, folder, first_step=plan.start + 1, wandb_run=wandb_run, on_trouble=tell_once) as track:

        def keep(step: int, values: Values) -> None:
            tell_once(log.write(step, values))
            track(step, values)

        def receive(step: int, values: Values) -> None:
            keep(step, values)
            show(step, values)

        def receive_more(step: int, values: Values) -> None:
            keep(step, values)
            show_more(step, values)

        try:
            yield Records(receive, receive_more)
        finally:
            tell_once(log.flush())
            # Also when the run stopped or failed: then its curve is looked at most.
            drawing.draw()
