"""Where the numbers of the steps go besides the log file: TensorBoard, and Weights & Biases where it is asked for."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from blissmask.config.training import TrainSection
from blissmask.errors import MachineError, MissingPackageError
from blissmask.training.record.metrics import Values

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "tensorboard": ("tensorboard",),
    "wandb": ("wandb",),
    "all": ("tensorboard", "wandb"),
    "none": (),
}

Track = Callable[[int, Values], None]
"""Receives the numbers of a step."""


def wanted_trackers(section: TrainSection) -> tuple[str, ...]:
    """Return which trackers to use; without a choice TensorBoard, where it is installed.

    Raises:
        MissingPackageError: one that was asked for is not installed.
    """
    if section.log_with is None:
        return ("tensorboard",) if importlib.util.find_spec("tensorboard") else ()
    names = _CHOICES[section.log_with]
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise MissingPackageError(
                f"`--log-with {section.log_with}` needs the package `{name}`", fix=f'pip install "blissmask[{name}]"'
            )
    return names


@contextlib.contextmanager
def tracking(
    section: TrainSection, folder: Path, *, run_name: str, first_step: int, settings: Mapping[str, object]
) -> Iterator[Track]:
    """Yield what passes the numbers of a step to every wanted tracker; what was passed is on disk afterwards.

    Args:
        section: which trackers.
        folder: for their files.
        run_name: of the output, the same for all parts of a run that was stopped and continued.
        first_step: events from this step on, of an earlier run, are hidden.
        settings: of the run, for trackers that show them.

    Raises:
        MissingPackageError: see :func:`wanted_trackers`.
        MachineError: wandb cannot start, e.g. nobody is logged in.
    """
    with contextlib.ExitStack() as stack:
        tracks = []
        for name in wanted_trackers(section):
            if name == "tensorboard":
                tracks.append(stack.enter_context(_tensorboard(folder, first_step=first_step)))
            else:
                tracks.append(stack.enter_context(_wandb(section, folder, run_name=run_name, settings=settings)))

        def track(step: int, values: Values) -> None:
            for pass_on in tracks:
                pass_on(step, values)

        yield track


@contextlib.contextmanager
def _tensorboard(folder: Path, *, first_step: int) -> Iterator[Track]:
    from torch.utils.tensorboard import SummaryWriter

    with _told_of(folder):
        writer = SummaryWriter(str(folder), purge_step=first_step)

    def track(step: int, values: Values) -> None:
        with _told_of(folder):
            for name, value in values.items():
                writer.add_scalar(name, value, step)

    try:
        yield track
    finally:
        with _told_of(folder):
            writer.close()


@contextlib.contextmanager
def _told_of(folder: Path) -> Iterator[None]:
    """Tell of a disk that fails TensorBoard, whose files a thread of its own writes, as the machine's error."""
    try:
        yield
    except OSError as error:
        fix = "free some space or mend the disk, then run again; `--log-with none` goes without"
        raise MachineError(
            f"cannot write TensorBoard's events: {error.strerror or error}", where=[folder], fix=fix
        ) from error


@contextlib.contextmanager
def _wandb(section: TrainSection, folder: Path, *, run_name: str, settings: Mapping[str, object]) -> Iterator[Track]:
    import wandb

    folder.mkdir(parents=True, exist_ok=True)
    try:
        run = wandb.init(
            project=section.log_tracker_name,
            name=section.wandb_run_name or run_name,
            # The parts of a run that was stopped and continued stand together.
            group=run_name,
            dir=str(folder),
            config=dict(settings),
            # Nothing leaves the machine unless the user says so; `wandb sync` uploads it later.
            mode=os.environ.get("WANDB_MODE", "offline"),
        )
    except wandb.Error as error:
        fix = "run `wandb login`, or leave WANDB_MODE unset: then the run is kept on disk, for `wandb sync`"
        raise MachineError(f"wandb cannot start: {error}", fix=fix) from error
    with run:
        yield lambda step, values: run.log(dict(values), step=step)
