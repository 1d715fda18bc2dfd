"""Where the numbers of the steps go besides the log file: TensorBoard, and Weights & Biases where it is asked for."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from blissmask.errors import MachineError, MissingPackageError, Problem, left_undone
from blissmask.storage.ordinary import in_the_way, what_is
from blissmask.training.record.metrics import Values

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "tensorboard": ("tensorboard",),
    "wandb": ("wandb",),
    "all": ("tensorboard", "wandb"),
    "none": (),
}
"""Value of ``log_with`` -> the trackers, which have the names of their packages."""

_ELSEWHERE = "remove or rename it, or name another folder with `--logging-dir`; `--log-with none` goes without"

Track = Callable[[int, Values], None]
"""Receives the numbers of a step."""


@dataclass(frozen=True, slots=True)
class WandbRun:
    """How wandb shows a run.

    Attributes:
        project: that it belongs to.
        name: of the run.
        group: the same for all parts of a run that was stopped and continued.
        settings: of the run.
    """

    project: str
    name: str
    group: str
    settings: Mapping[str, object]


def wanted_trackers(log_with: str | None) -> tuple[str, ...]:
    """Return which trackers to use; without a choice TensorBoard, where it is installed.

    Args:
        log_with: ``tensorboard``, ``wandb``, ``all``, ``none``, or None without a choice.

    Raises:
        MissingPackageError: one that was asked for is not installed.
    """
    if log_with is None:
        return ("tensorboard",) if importlib.util.find_spec("tensorboard") else ()
    names = _CHOICES[log_with]
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise MissingPackageError(
                f"`--log-with {log_with}` needs the package `{name}`", fix=f'pip install "blissmask[{name}]"'
            )
    return names


def trackers_kept_out(trackers: Sequence[str], folder: Path) -> Problem | None:
    """Return what stands in the way of the trackers' folder, or None; a run tells it in its plan.

    Raises:
        InputError: the same, where wandb was asked for: it cannot start.
    """
    # A folder that is to be made has one above it that is there.
    there = next((path for path in (folder, *folder.parents) if what_is(path)), None)
    if not trackers or there is None or what_is(there) == "a folder":
        return None
    error = in_the_way(there, "the folder of the trackers", fix=_ELSEWHERE)
    if "wandb" in trackers:
        raise error
    return left_undone("TensorBoard gets no events; the log beside the LoRA has all numbers", error)


@contextlib.contextmanager
def tracking(
    names: Sequence[str],
    folder: Path,
    *,
    first_step: int,
    wandb_run: WandbRun,
    on_trouble: Callable[[Problem], None],
) -> Iterator[Track]:
    """Yield what passes the numbers of a step to every wanted tracker; what was passed is on disk afterwards.

    Args:
        names: from :func:`wanted_trackers`.
        folder: for their files.
        first_step: TensorBoard hides the events of an earlier run from this step on.
        wandb_run: how wandb shows the run.
        on_trouble: called when TensorBoard cannot write its files. They repeat the log, so training goes on.

    Raises:
        InputError: something else stands in the place of wandb's folder.
        MachineError: wandb cannot start, e.g. nobody is logged in.
    """
    kept_out = trackers_kept_out(names, folder)
    if kept_out is not None:
        on_trouble(kept_out)
        names = ()
    with contextlib.ExitStack() as stack:
        tracks = []
        for name in names:
            if name == "tensorboard":
                tracks.append(stack.enter_context(_tensorboard(folder, first_step=first_step, on_trouble=on_trouble)))
            else:
                tracks.append(stack.enter_context(_wandb(wandb_run, folder)))

        def track(step: int, values: Values) -> None:
            for pass_on in tracks:
                pass_on(step, values)

        yield track


@contextlib.contextmanager
def _tensorboard(folder: Path, *, first_step: int, on_trouble: Callable[[Problem], None]) -> Iterator[Track]:
    from torch.utils.tensorboard import SummaryWriter

    report = partial(_report_disk_error, folder, on_trouble)
    try:
        writer = SummaryWriter(str(folder), purge_step=first_step)
    except OSError as error:
        report(error)
        yield _track_nothing
        return
    except UnicodeEncodeError:
        fix = "rename the folder, or set `--log-with none`; the log beside the LoRA has all numbers"
        on_trouble(Problem("TensorBoard writes to no folder whose name is not UTF-8", (str(folder),), fix))
        yield _track_nothing
        return

    def track(step: int, values: Values) -> None:
        try:
            for name, value in values.items():
                writer.add_scalar(name, value, step)
        except OSError as error:
            report(error)

    try:
        yield track
    finally:
        try:
            writer.close()
        except OSError as error:
            report(error)


def _track_nothing(step: int, values: Values) -> None:
    """Take the numbers of a step and do nothing with them."""


def _report_disk_error(folder: Path, on_trouble: Callable[[Problem], None], error: OSError) -> None:
    """Call ``on_trouble`` with the reason why TensorBoard's writer thread cannot write."""
    fix = "free some space or mend the disk; the log beside the LoRA has all numbers, `--log-with none` goes without"
    what = f"cannot write TensorBoard's events: {error.strerror or error}"
    on_trouble(Problem(what, (str(folder),), fix))


@contextlib.contextmanager
def _wandb(shown: WandbRun, folder: Path) -> Iterator[Track]:
    import wandb

    folder.mkdir(parents=True, exist_ok=True)
    try:
        run = wandb.init(
            project=shown.project,
            name=shown.name,
            group=shown.group,
            dir=str(folder),
            config=dict(shown.settings),
            # Nothing leaves the machine unless the user says so; `wandb sync` uploads it later.
            mode=os.environ.get("WANDB_MODE", "offline"),
        )
    except wandb.Error as error:
        fix = "run `wandb login`, or leave WANDB_MODE unset: then the run is kept on disk, for `wandb sync`"
        raise MachineError(f"wandb cannot start: {error}", fix=fix) from error
    with run:
        yield lambda step, values: run.log(dict(values), step=step)
