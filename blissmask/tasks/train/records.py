"""What a run keeps of its steps: the log, the trackers, what the terminal shows, and the loss curve at the end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from blissmask.events import Advanced, Measured, Warned
from blissmask.tasks.run.plan import RunContext
from blissmask.tasks.train.curve import save_curve
from blissmask.tasks.train.plan import TrainPlan
from blissmask.training.record.metrics import StepLog, Values
from blissmask.training.record.trackers import tracking

Receive = Callable[[int, Values], None]
"""Takes the numbers of a step."""


@contextlib.contextmanager
def recording(plan: TrainPlan, context: RunContext, last: dict[str, float]) -> Iterator[Receive]:
    """Yield what takes the numbers of each step; ``last`` holds the latest of each name.

    Only the first process writes files.
    """

    def show(step: int, values: Values) -> None:
        context.reporter.emit(Measured(step, values))
        context.reporter.emit(
            Advanced(1, note=f"loss {values['loss']:.4f}" if "loss" in values else "nothing to learn")
        )
        last.update(values)

    if not plan.processes.first:
        yield show
        return
    section, names = plan.config.train, plan.names
    log = StepLog(names.log, keep_until=plan.start)
    folder = (section.logging_dir or names.folder / "logs") / names.run_name
    with tracking(
        section, folder, run_name=names.run_name, first_step=plan.start + 1, settings=plan.settings()
    ) as track:

        def receive(step: int, values: Values) -> None:
            log.write(step, values)
            track(step, values)
            show(step, values)

        try:
            yield receive
        finally:
            # A run that stopped or failed is the one whose curve is looked at most.
            if problem := save_curve(names.log, names.curve, title=names.run_name):
                context.reporter.emit(Warned(problem))
