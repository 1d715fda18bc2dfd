"""Copies of the photos in which the subject is uncertain, each with its scores, for a person to look at."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from blissmask.dataset.item_keys import VIDEO_SUFFIXES
from blissmask.errors import MediaError
from blissmask.people.people_backend import Verdict
from blissmask.storage import atomic
from blissmask.storage.ordinary import read_bytes
from blissmask.tasks.instance.report import Score
from blissmask.tasks.mask_files.output_notes import read_record

_COMMAND = "instance-review"


def write_review(folder: Path, scores: Mapping[Path, Score]) -> None:
    """Copy every uncertain photo into ``folder`` beside ``STEM.json`` with its scores.

    Copies of photos that are no longer uncertain are removed.

    A file there that is not one of our copies is never replaced. Videos are not copied.

    Raises:
        MediaError: a photo, or the file where its scores go, cannot be read.
        MachineError: the disk is full or the folder cannot be written.
    """
    for photo, score in scores.items():
        if photo.suffix.lower() in VIDEO_SUFFIXES:
            continue
        copy, record = folder / photo.name, folder / f"{photo.stem}.json"
        ours = _is_ours(record)
        if score.verdict is Verdict.UNCERTAIN and (ours or not copy.exists()):
            atomic.write_text(record, json.dumps({"command": _COMMAND, **score.to_json()}, indent=1) + "\n")
            atomic.write_bytes(copy, _read(photo))
        elif score.verdict is not Verdict.UNCERTAIN and ours:
            copy.unlink(missing_ok=True)
            record.unlink()


def _is_ours(record: Path) -> bool:
    content = read_record(record)
    return content is not None and content.get("command") == _COMMAND


def _read(photo: Path) -> bytes:
    try:
        return read_bytes(photo)
    except OSError as error:
        raise MediaError(f"the file cannot be read: {error.strerror or error}", where=[photo]) from error
