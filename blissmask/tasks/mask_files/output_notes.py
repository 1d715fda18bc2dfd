"""Which outputs are finished, which are stale, and which are not ours to touch.

Every PNG of ours carries a note (``media/png.py``): what it was made from and how. JSON records beside outputs say the
same of whole clips and folders. A second run redoes an item only when its note no longer holds, and never overwrites
what someone else made or changed.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from blissmask.errors import InputError, MediaError, Problem
from blissmask.media.png import Note, read_note
from blissmask.plurals import counted, verb
from blissmask.storage import atomic
from blissmask.storage.content import content_hash
from blissmask.storage.ordinary import read_bytes
from blissmask.tasks.run.plan import Action, Kept, PlannedItem, places_of

FORMAT_VERSION = 1
"""Part of every note; raised when the same inputs and settings would give other pixels."""

_MOST_COUNTED = 10**9
"""More people, faces or frames than anything of ours has."""

FRESH = "already fresh"
_COPIED = "redone, what was edited is kept as"
"""How the reason of an item begins whose output is written anew although somebody edited it."""


def make_note(
    command: str, inputs: Sequence[Path], settings: Mapping[str, object], **results: object
) -> dict[str, object]:
    """Describe how an output is made, for the PNG to carry.

    Args:
        command: the subcommand.
        inputs: the files it is made from, in the order ``decide`` gets them.
        settings: JSON values on which the pixels depend, the backend's identity among them.
        results: JSON values worth remembering, e.g. a verdict; they do not decide freshness.

    Raises:
        MediaError: an input cannot be read.
    """
    return {
        "command": command,
        "version": FORMAT_VERSION,
        "inputs": [_describe(path) for path in inputs],
        "settings": dict(settings),
        **results,
    }


def decide(
    output: Path, command: str, inputs: Sequence[Path], settings: Mapping[str, object], *, force: bool
) -> tuple[Action, str]:
    """Decide whether ``output`` is written, and why.

    Args:
        output: the PNG to be.
        command, inputs, settings: as for :func:`make_note`.
        force: write whatever is there; what somebody edited is kept as a copy, see :func:`keep_copy`.

    Returns:
        Write or skip, and the reason: empty for a first write, :data:`FRESH`, one of ``Kept``, or what changed.

    Raises:
        InputError: a folder is in the way, or a file cannot be read.
    """
    if output.is_symlink():
        return (Action.WRITE, "replaces a symbolic link") if force else (Action.SKIP, Kept.LINK)
    if not output.exists():
        return Action.WRITE, ""
    if output.is_dir():
        raise InputError("a folder stands where the file would go; rename or remove it", where=[output])
    if force:
        return Action.WRITE, redone_reason([output])
    note = read_note(output) if output.is_file() else None
    if note is None or note.content.get("command") != command:
        return Action.SKIP, Kept.FOREIGN
    if not note.untouched:
        return Action.SKIP, Kept.EDITED
    change = what_changed(note, inputs, settings)
    return (Action.WRITE, change) if change else (Action.SKIP, FRESH)


def redone_reason(outputs: Sequence[Path]) -> str:
    """Return the reason of outputs that are written whatever is there, with the copies that are kept of edited ones.

    Raises:
        MediaError: one of them cannot be read.
    """
    copies = [_copy_of(path).name for path in outputs if _is_edited(path)]
    if not copies:
        return "redone"
    more = f" and {len(copies) - 1} more" if len(copies) > 1 else ""
    return f"{_COPIED} `{copies[0]}`{more}"


def keep_copy(output: Path) -> None:
    """Keep a copy of an output that somebody edited, or made with another program, before it is written anew.

    Raises:
        MediaError: it cannot be read.
        MachineError: the copy cannot be written.
    """
    if _is_edited(output):
        keep_copy_of(output)


def keep_copy_of(path: Path) -> None:
    """Keep a copy of a file beside it, as ``NAME.bak``, unless there is one; errors as in :func:`keep_copy`."""
    copy = _copy_of(path)
    if not copy.exists():
        atomic.write_bytes(copy, read_bytes(path))


def _is_edited(output: Path) -> bool:
    """Return whether a file is there that is not as blissmask wrote it; a link is replaced, and its target stays."""
    if output.is_symlink() or not output.is_file():
        return False
    note = read_note(output)
    return note is None or not note.untouched


def _copy_of(output: Path) -> Path:
    """Return where the copy of an output goes: ``NAME.png.bak``, or ``.bak2`` and so on where other copies stand."""
    number = 1
    while True:
        copy = output.with_name(f"{output.name}.bak{'' if number == 1 else number}")
        if not (copy.exists() or copy.is_symlink()) or content_hash(copy) == content_hash(output):
            return copy
        number += 1


def what_changed(note: Note, inputs: Sequence[Path], settings: Mapping[str, object]) -> str:
    """Return in a few words what no longer matches ``note``; empty when all does."""
    if note.content.get("version") != FORMAT_VERSION:
        return "made by another version"
    before, now = note.content.get("settings"), json.loads(json.dumps(dict(settings)))
    if before != now:
        old = before if isinstance(before, dict) else {}
        return f"{', '.join(sorted(name for name in {*old, *now} if old.get(name) != now.get(name)))} changed"
    recorded = note.content.get("inputs")
    if not isinstance(recorded, list) or len(recorded) != len(inputs):
        return "made from other files"
    changed = [path.name for path, then in zip(inputs, recorded, strict=True) if not _same(path, then)]
    return f"{', '.join(changed)} changed" if changed else ""


def stands(output: Path, note: Mapping[str, object]) -> bool:
    """Return whether ``output`` stays as it is: it has exactly ``note``'s inputs and settings, or is not ours to touch.

    Compares hashes only; for many outputs of one input, such as the frames of a video.
    """
    if output.is_symlink():
        return True
    if not output.exists():
        return False
    there = read_note(output) if output.is_file() else None
    if there is None or there.content.get("command") != note["command"] or not there.untouched:
        return True
    decisive = ("version", "settings")
    same = all(there.content.get(name) == note[name] for name in decisive)
    return same and _hashes(there.content.get("inputs")) == _hashes(note["inputs"])


def kept_warning(items: Sequence[PlannedItem]) -> list[Problem]:
    """Name the outputs that are not ours or were edited: those that stay, and those that ``--force`` writes anew."""
    warnings = []
    kept = [item.output for item in items if item.reason in tuple(Kept)]
    if kept:
        what = f"{counted(len(kept), 'output')} edited or made by something else, kept"
        fix = "add --force to write them anew; a copy of each is kept as NAME.png.bak"
        warnings.append(Problem(what, places_of(kept), fix))
    copied = [f"{item.output}: {item.reason[item.reason.index(_COPIED) :]}" for item in items if _COPIED in item.reason]
    if copied:
        what = f"{counted(len(copied), 'output')} edited or made by something else {verb(len(copied), 'is', 'are')}"
        warnings.append(Problem(f"{what} written anew, and kept as a copy", places_of(copied)))
    return warnings


def read_record(path: Path) -> dict[str, object] | None:
    """Return the JSON object in a file that stands beside outputs; None when there is no file, or no JSON object in it.

    Raises:
        MediaError: the file is there but cannot be read.
    """
    try:
        # A link that leads nowhere, or in a circle, is no file either.
        content = json.loads(read_bytes(path)) if path.exists() else None
    except OSError as error:
        raise MediaError(
            f"the file cannot be read: {error.strerror or error}", where=[path], fix="remove or rename it"
        ) from error
    except (ValueError, RecursionError):
        # No JSON, no text, or brackets nested deeper than Python reads.
        return None
    return content if isinstance(content, dict) else None


def read_number(value: object) -> float | None:
    """Return a number that a note or record remembers, as it is; None for what is none, NaN and infinity included."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return value if math.isfinite(value) else None
    except OverflowError:
        # A whole number that no float holds.
        return None


def read_count(value: object) -> int | None:
    """Return how many there are of something, as a note or record remembers it; None for what is no count."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= _MOST_COUNTED else None


def _hashes(inputs: object) -> list[object]:
    return [entry.get("hash") for entry in inputs if isinstance(entry, dict)] if isinstance(inputs, list) else []


def _describe(path: Path) -> dict[str, object]:
    # The state before the content: a file that changes in between looks changed next time, not fresh.
    state = _stat(path)
    return {"name": path.name, "size": state.st_size, "mtime_ns": state.st_mtime_ns, "hash": content_hash(path)}


def _same(path: Path, then: object) -> bool:
    """Compare size and time first; only when the time moved, the content."""
    if not isinstance(then, dict):
        return False
    state = _stat(path)
    if state.st_size != then.get("size"):
        return False
    return state.st_mtime_ns == then.get("mtime_ns") or content_hash(path) == then.get("hash")


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise MediaError(f"the file cannot be read: {error.strerror or error}", where=[path]) from error
