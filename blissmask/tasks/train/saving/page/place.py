"""Where the page of a training goes: what is ours there, and what is not and is never overwritten."""

from __future__ import annotations

from pathlib import Path

from blissmask.errors import BlissmaskError, Problem, left_undone
from blissmask.storage.ordinary import in_the_way, open_ordinary

MARK = "<meta name=generator content='blissmask training'>"
"""Marks the page as ours, within its first 1000 bytes; files without it are never overwritten."""
NOT_WRITTEN = "the page of the training is not written"


def is_page(path: Path) -> bool:
    """Return whether a file is the page of a training; raises OSError where it cannot be read."""
    if not path.is_file():
        return False
    with open_ordinary(path) as file:
        return MARK.encode() in file.read(1000)


def page_kept_out(path: Path) -> Problem | None:
    """Return what stands in the way of the page, or None; a run tells it in its plan."""
    try:
        if path.exists() and not is_page(path):
            return left_undone(NOT_WRITTEN, in_the_way(path, "the page of the training"))
    except (BlissmaskError, OSError) as error:
        return left_undone(NOT_WRITTEN, error)
    return None
