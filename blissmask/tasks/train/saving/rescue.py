"""Save a training where there is no room, or where its drive is gone: wait for it, then save in a second place.

A training of days must not end because a disk was full for a minute, and never without its state.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from blissmask.config.sections.saving_section import SavingSection
from blissmask.errors import MachineError, Problem, UsageError
from blissmask.events import Noted, Warned
from blissmask.storage import held_folders
from blissmask.storage.content import without_links
from blissmask.storage.ordinary import what_is
from blissmask.tasks.run.plan import RunContext
from blissmask.training.record.saving import Outputs
from blissmask.training.record.states.folders import state_steps

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
        folder: ``rescue_dir``; None for a new folder in the system's folder for temporary files, which is also taken
            when the named one fails.
        save: publishes the state in a folder, then the LoRA files that are due, and returns the state's folder.
    """

    folder: Path | None
    save: Callable[[Path], Path]


def check_rescue_dir(section: SavingSection) -> None:
    """Refuse a second place that is none before the first step; nothing is made there.

    Raises:
        UsageError: ``rescue_dir`` is or lies in the output folder, is no folder, or cannot be written to.
    """
    if section.rescue_dir is None:
        return
    place, output = without_links(section.rescue_dir), without_links(section.output_dir)
    why = "it is in the output folder" if output in (place, *place.parents) else _why_not_writable(place)
    if why:
        raise UsageError(
            f"`rescue_dir` is no second place for the training state: {why}",
            where=[section.rescue_dir],
            fix="name a folder on another drive, or leave it out for the system's folder for temporary files",
        )


def _why_not_writable(place: Path) -> str:
    """Return why no folder can be at a path or be made there; empty where one can. Links of ``place`` are resolved."""
    # `Path.exists` raises where a folder on the way may not be entered.
    present = next(path for path in (place, *place.parents) if os.path.lexists(path))
    if not present.is_dir():
        return f"`{present}` is {what_is(present) or 'no folder'}"
    try:
        # Rights alone do not tell: all may be given in /proc, or where a drive is only read. This file has no name.
        with tempfile.TemporaryFile(dir=present):
            return ""
    except OSError as error:
        return f"nothing can be written to `{present}`: {error.strerror or error}"


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
    """Save in the second place and return the error that names it, or that says that nothing could be saved.

    Where the named one fails, the system's folder for temporary files is the second place.
    """
    problem = failure.as_one()
    what, where = f"the training cannot be saved after step {done}: {problem.what}", [*problem.where]
    too_large = errno.EFBIG in _numbers(failure)
    remedy = (
        "choose another `--output-dir`, whose drive takes such files, or lift the limit"
        if too_large
        else "free some space"
    )
    for named in dict.fromkeys((rescue.folder, None)):
        try:
            state = _save_in(_folder_of(named, outputs), rescue)
        except (MachineError, OSError) as error:
            second = _as_problem(error, named)
            what += f"; nor in a second place: {second.what}"
            where += second.where
            continue
        folder = "it" if too_large else f"`{outputs.folder}`"
        return MachineError(
            f"{what}; its state is in {'a second place' if named == rescue.folder else 'a third'}",
            where=[*where, f"the state: {state}"],
            fix=f"{remedy}, then run the same command again; "
            f"to go on after step {done}, first move the state into {folder}",
        )
    kept = "; earlier training states are kept, and the same command goes on from them"
    return MachineError(what, where=where, fix=remedy + (kept if _has_states(outputs) else ""))


def _save_in(folder: Path, rescue: Rescue) -> Path:
    """Save and return the state's folder; where that fails, a folder that is made for it does not stay behind empty."""
    try:
        return rescue.save(folder)
    except (MachineError, OSError):
        if folder != rescue.folder:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def _as_problem(error: MachineError | OSError, folder: Path | None) -> Problem:
    """Return why a second place could not be saved to, with its path; the named ``folder`` where no other is known."""
    if isinstance(error, MachineError):
        return error.as_one()
    place = error.filename if isinstance(error.filename, str) else str(folder or tempfile.tempdir)
    return Problem(error.strerror or str(error), (place,))


def _has_states(outputs: Outputs) -> bool:
    """Return whether the output folder shows a training state of this run; not where it cannot be looked at."""
    try:
        return bool(state_steps(outputs.folder, outputs.run_name))
    except OSError:
        return False


def _folder_of(named: Path | None, outputs: Outputs) -> Path:
    """Return where to save: a new folder, unless the named one is empty; what is in it may be of another run."""
    if named is not None:
        named.mkdir(parents=True, exist_ok=True)
        if not any(named.iterdir()):
            return named
    return Path(tempfile.mkdtemp(prefix=f"blissmask-{outputs.run_name}-", dir=named))


def _is_useless_to_wait(failure: MachineError) -> bool:
    return any(number in _WAITING_IS_USELESS for number in _numbers(failure))


def _numbers(failure: MachineError) -> list[int | None]:
    """Return the numbers of the system's errors that led to a failure."""
    numbers, cause = [], failure.__cause__
    while cause is not None:
        if isinstance(cause, OSError):
            numbers.append(cause.errno)
        cause = cause.__cause__
    return numbers


def _waiting(failure: MachineError, done: int) -> Problem:
    problem = failure.as_one()
    minutes = PATIENCE_SECONDS / 60
    fix = (
        f"free some space, or bring the drive back: it tries again for {minutes:.0f} minutes, "
        "and then saves the training state in a second place (`--rescue-dir`)"
    )
    return Problem(f"the training waits to be saved after step {done}: {problem.what}", problem.where, fix)
