"""Which outputs are finished, which are stale, and which are not ours to touch.

Every PNG of ours carries a note (``media/png.py``): what it was made from and how. JSON records beside outputs say the
same of whole clips and folders. A second run redoes an item only when its note no longer holds, and never overwrites
what someone else made or changed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from blissmask.errors import InputError, MediaError, Problem
from blissmask.media.png import Note, read_note
from blissmask.storage.content import content_hash
from blissmask.tasks.run.plan import Action, Kept, PlannedItem, places_of
from blissmask.tasks.run.wording import counted

FORMAT_VERSION = 1
"""Part of every note; raised when the same inputs and settings would give other pixels."""

FRESH = "already fresh"


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
        force: write whatever is there.

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
        return Action.WRITE, "redone"
    note = read_note(output) if output.is_file() else None
    if note is None or note.content.get("command") != command:
        return Action.SKIP, Kept.FOREIGN
    if not note.untouched:
        return Action.SKIP, Kept.EDITED
    change = what_changed(note, inputs, settings)
    return (Action.WRITE, change) if change else (Action.SKIP, FRESH)


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
    """Name the outputs that are kept because they are not ours or were edited; an empty list when there are none."""
    kept = [item.output for item in items if item.reason in tuple(Kept)]
    if not kept:
        return []
    what = f"{counted(len(kept), 'output')} edited or made by something else, kept"
    return [Problem(what, places_of(kept), "add --force to write them anew")]


def read_record(path: Path) -> dict[str, object] | None:
    """Return the JSON object in a file that stands beside outputs; None when there is no file, or no JSON object in it.

    Raises:
        MediaError: the file is there but cannot be read.
    """
    try:
        # A link that leads nowhere, or in a circle, is no file either.
        content = json.loads(path.read_bytes()) if path.exists() else None
    except OSError as error:
        raise MediaError(f"the file cannot be read: {error.strerror or error}", where=[path]) from error
    except (ValueError, RecursionError):
        # No JSON, no text, or brackets nested deeper than Python reads.
        return None
    return content if isinstance(content, dict) else None


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
