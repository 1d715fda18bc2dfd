"""Masks of videos: a folder with one PNG per frame, or one PNG for the whole clip.

A folder of frames is finished when its record says so. The record (``.blissmask.json``) is written last, so a killed
run leaves a folder without one, and the next run writes only the frames that are missing. H, W: rows and columns.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blissmask.errors import ChangedError, InputError
from blissmask.media.png import Note, read_note, write_png_grey
from blissmask.storage import atomic
from blissmask.storage.seen import NOTHING_SEEN, Seen
from blissmask.tasks.mask_files.output_notes import (
    FRESH,
    keep_copy,
    read_count,
    read_record,
    redone_reason,
    stands,
    what_changed,
)
from blissmask.tasks.run.plan import Action, Kept

RECORD = ".blissmask.json"
STATIC_SAMPLES = 16
"""Frames looked at for one mask of a whole clip."""

MaskOfFrame = tuple[NDArray[np.uint8], Mapping[str, object]]
"""A mask and what its note remembers besides."""


def frame_path(folder: Path, number: int) -> Path:
    """Return the file of frame ``number`` (from 0): ``000000.png``."""
    return folder / f"{number:06}.png"


def decide_clip(
    folder: Path, command: str, video: Path, settings: Mapping[str, object], *, force: bool
) -> tuple[Action, str]:
    """Decide whether a folder of frame masks is written, and why; arguments as for ``output_notes.decide``.

    Links are never followed.

    Raises:
        InputError: a file is in the way, or the record or a frame cannot be read.
    """
    if folder.is_symlink():
        return Action.SKIP, Kept.LINK
    if not folder.exists():
        return Action.WRITE, ""
    if not folder.is_dir():
        what = "a file stands where the folder of the clip's masks would go; rename or remove it"
        raise InputError(what, where=[folder])
    if force:
        return Action.WRITE, redone_reason(sorted(folder.glob("*.png")))
    record = read_record(folder / RECORD)
    if record is None:
        if _is_foreign(sorted(folder.glob("*.png")), command):
            return Action.SKIP, Kept.FOREIGN
        return Action.WRITE, "unfinished"
    # Frames of another command may have been copied over ours since the record was written.
    if record.get("command") != command or _commands([frame_path(folder, 0)]) - {command, ""}:
        return Action.SKIP, Kept.FOREIGN
    change = what_changed(Note(record, untouched=True), (video,), settings)
    if not change and not _is_whole(folder, record.get("frame_count")):
        change = "frames are missing"
    return (Action.WRITE, change) if change else (Action.SKIP, FRESH)


def write_clip(
    folder: Path,
    note: Mapping[str, object],
    masks: Iterable[Callable[[], MaskOfFrame]],
    *,
    force: bool,
    summarise: Callable[[Sequence[Mapping[str, object]]], Mapping[str, object]],
    seen: Seen = NOTHING_SEEN,
) -> None:
    """Write the frames that are not finished, then the record; remove our own frames beyond the last.

    Args:
        folder: the clip's folder.
        note: what the clip's masks are made from and how, see ``output_notes.make_note``.
        masks: one function per frame, in order; called only when the frame is to be written.
        force: write frames that are finished or edited, too.
        summarise: turns what the frames' notes remember into what the record remembers.
        seen: what the plan saw of the video; the frames are looked at here, one by one.

    Raises:
        ChangedError: the video changed, or a frame was touched or removed in the meantime; there is no record then.
        MediaError, MachineError: a frame cannot be read or written.
    """
    atomic.sweep(folder)
    (folder / RECORD).unlink(missing_ok=True)
    settings = note["settings"]
    assert isinstance(settings, Mapping)
    remembered = []
    for number, make in enumerate(masks):
        path = frame_path(folder, number)
        frame_note = {**note, "settings": {**settings, "frame": number}}
        frame_seen = Seen.now((), path)
        if force or not stands(path, frame_note):
            grey_HW, results = make()
            keep_copy(path)
            write_png_grey(path, grey_HW, note={**frame_note, **results}, seen=frame_seen)
        there = read_note(path)
        remembered.append(there.content if there is not None else {})
    _remove_later_frames(folder, len(remembered))
    if not _is_whole(folder, len(remembered)):
        raise ChangedError(
            "masks of frames were removed while the clip was written", where=[folder], fix="run the same command again"
        )
    seen.check_inputs()
    atomic.write_text(
        folder / RECORD, json.dumps({**note, "frame_count": len(remembered), **summarise(remembered)}, indent=1)
    )


def read_clip_results(folder: Path) -> Mapping[str, object]:
    """Return the record of a finished folder of frames; empty when there is none."""
    return read_record(folder / RECORD) or {}


def sampled(frame_count: int, samples: int = STATIC_SAMPLES) -> Sequence[int]:
    """Return up to ``samples`` frame numbers spread evenly over a clip.

    Each stands in the middle of its stretch: the last frames of a container that only estimates their number may not
    exist.
    """
    count = max(1, min(frame_count, samples))
    return [int((number + 0.5) * frame_count / count) for number in range(count)]


def _is_whole(folder: Path, frame_count: object) -> bool:
    """Return whether all frames that a record counts are there."""
    count = read_count(frame_count)
    return count is not None and all(frame_path(folder, number).exists() for number in range(count))


def _is_foreign(frames: Sequence[Path], command: str) -> bool:
    """Return whether frames of an unfinished folder are not ours: one of another command, or none of ``command``."""
    commands = _commands(frames)
    return bool(commands - {command, ""}) or (bool(frames) and command not in commands)


def _commands(frames: Iterable[Path]) -> set[str]:
    """Return which commands made the frames that exist; an empty name for frames of other programs."""
    notes = [read_note(path) for path in frames if path.exists()]
    return {str(note.content.get("command")) if note is not None else "" for note in notes}


def _remove_later_frames(folder: Path, count: int) -> None:
    """Remove what an earlier, longer version of the video left, unless it was edited."""
    for path in folder.glob("[0-9]*.png"):
        if path.stem.isdecimal() and int(path.stem) >= count and not path.is_symlink():
            note = read_note(path)
            if note is not None and note.untouched:
                path.unlink()
