"""Save a training where there is no room, or where its drive is gone: wait for it, then save in a second place.

A training of days must not end because a disk was full for a minute, and never without its state.
"""

from __future__ import annotations

import contextlib
import errno
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from blissmask.errors import MachineError, Problem
from blissmask.events import Noted, Warned
from blissmask.storage import held_folders
from blissmask.tasks.run.plan import RunContext
from blissmask.training.record.saving import Outputs

PATIENCE_SECONDS = 120.0
"""How long to wait for room. A choice: who sits there can free some, and a machine by the hour does not idle longer."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0
"""Seconds before the first and between later tries, twice as long each time. A passing failure costs no more."""
_LOOK_EVERY = 0.2
"""Seconds between two looks whether a signal asks to stop."""
_WAITING_IS_USELESS = (errno.EFBIG, errno.EISDIR, errno.ENAMETOOLONG)
"""What stays as it is: a limit on the size of files (``ulimit -f``, FAT32), a folder in the place of a file, a name too
long for the drive."""


@dataclass(frozen=True, slots=True)
class Rescue:
    """The second place for the state of a training.

    Attributes:
        folder: ``rescue_dir``; None for a new folder in the system's folder for temporary files.
        save: publishes the state in a folder, then the LoRA files that are due, and returns the state's folder.
    """

    folder: Path | None
    save: Callable[[Path], Path]


def save_patiently(
    save: Callable[[], None], rescue: Rescue, outputs: Outputs, context: RunContext, *, done: int
) -> None:
    """Save; where that fails, say so, wait and try again, and after a while save the state in a second place.

    Args:
        save: saves after ``done`` steps, and may be called again.
        rescue: the second place.
        outputs: where ``save`` saves.
        context: its reporter is told, and a signal to stop ends the waiting.
        done: steps done.

    Raises:
        MachineError: the state is in the second place, which the error names; or it is nowhere.
    """
    failure = _attempt(save)
    if failure is None:
        return
    if not _is_useless_to_wait(failure):
        context.reporter.emit(Warned(_waiting(failure, done)))
        failure = _try_again(save, failure, outputs, context)
        if failure is None:
            context.reporter.emit(Noted(f"saved after step {done}; the training goes on"))
            return
    raise _end_in_second_place(rescue, failure, outputs, done) from failure


def _attempt(save: Callable[[], None]) -> MachineError | None:
    try:
        save()
    except MachineError as error:
        return error
    except OSError as error:
        # A drive that vanishes fails in calls that do not write, such as listing the states.
        return MachineError(f"cannot save: {error.strerror or error}", where=[error.filename or ""])
    return None


def _try_again(
    save: Callable[[], None], failure: MachineError, outputs: Outputs, context: RunContext
) -> MachineError | None:
    """Try until it works, time is up, or a signal asks to stop; return the last failure, or None."""
    end, pause = time.monotonic() + PATIENCE_SECONDS, _FIRST_PAUSE
    latest: MachineError | None = failure
    while latest is not None and time.monotonic() < end:
        stopped = _wait(pause, context)
        pause = min(2 * pause, _LONGEST_PAUSE)
        _accept_returned_drive(outputs)
        latest = _attempt(save)
        if stopped:
            break
    return latest


def _wait(seconds: float, context: RunContext) -> bool:
    """Wait, and return whether a signal asks to stop, which ends the waiting."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if context.stop_signal():
            return True
        time.sleep(min(_LOOK_EVERY, seconds))
    return bool(context.stop_signal())


def _accept_returned_drive(outputs: Outputs) -> None:
    """Write to the output folder again when its drive came back: the same folder then has another number.

    It is known by the log of this run; an empty folder where a drive was mounted is not taken for it.
    """
    if outputs.log.is_file() and not held_folders.is_there(outputs.folder):
        with contextlib.suppress(OSError):
            held_folders.accept_anew(outputs.folder)


def _end_in_second_place(rescue: Rescue, failure: MachineError, outputs: Outputs, done: int) -> MachineError:
    """Save in the second place and return the error that names it, or that says that nothing could be saved."""
    problem = failure.as_one()
    try:
        folder = _folder_of(rescue, outputs)
        state = rescue.save(folder)
    except (MachineError, OSError) as error:
        second = error.as_one() if isinstance(error, MachineError) else Problem(str(error))
        return MachineError(
            f"the training cannot be saved after step {done}: {problem.what}; nor in a second place: {second.what}",
            where=[*problem.where, *second.where],
            fix="free some space; earlier training states are kept, and the same command goes on from them",
        )
    return MachineError(
        f"the training cannot be saved after step {done}: {problem.what}; its state is in a second place",
        where=[*problem.where, f"the state: {state}"],
        fix=f"free some space, then run the same command again; "
        f"to go on after step {done}, first move the state into `{outputs.folder}`",
    )


def _folder_of(rescue: Rescue, outputs: Outputs) -> Path:
    """Return where to save: a new folder, unless the named one is empty; what is in it may be of another run."""
    if rescue.folder is not None:
        rescue.folder.mkdir(parents=True, exist_ok=True)
        if not any(rescue.folder.iterdir()):
            return rescue.folder
    return Path(tempfile.mkdtemp(prefix=f"blissmask-{outputs.run_name}-", dir=rescue.folder))


def _is_useless_to_wait(failure: MachineError) -> bool:
    cause: BaseException | None = failure
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _WAITING_IS_USELESS:
            return True
        cause = cause.__cause__
    return False


def _waiting(failure: MachineError, done: int) -> Problem:
    problem = failure.as_one()
    minutes = PATIENCE_SECONDS / 60
    fix = (
        f"free some space, or bring the drive back: it tries again for {minutes:.0f} minutes, "
        "and then saves the training state in a second place (`--rescue-dir`)"
    )
    return Problem(f"the training waits to be saved after step {done}: {problem.what}", problem.where, fix)
