"""Look at the photos that are to be encoded, at small size.

The cache remembers what was found, so that photos that are encoded already are not opened again.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from blissmask.cachefile.redo import Redo
from blissmask.dataset.item import MediaKind
from blissmask.errors import InputError
from blissmask.media.glance import read_glance
from blissmask.media.likeness import likeness_of
from blissmask.storage.short_path import ShortPath
from blissmask.tasks.cache.photo_look import Look
from blissmask.tasks.cache.planned_entries import LatentEntry
from blissmask.vision.faces.sideways import BEST_SIDE, lies_on_its_side


def look_at_photos(entries: Sequence[LatentEntry], jobs: int) -> list[LatentEntry]:
    """Return the entries with looks at the photos that are encoded now; each photo is opened once.

    Photos that cannot be read have none: the run names them.
    """
    new = {entry.item.media.file for entry in entries if _is_looked_at(entry)}
    with ThreadPoolExecutor(jobs, thread_name_prefix="blissmask-look") as pool:
        looks = dict(zip(new, pool.map(_look_at, new), strict=True))
    return [
        replace(entry, look=looks[entry.item.media.file]) if entry.item.media.file in looks else entry
        for entry in entries
    ]


def with_look(entry: LatentEntry) -> LatentEntry:
    """Return the entry with a look at its photo, where the plan could not read it and the run can."""
    if entry.look is not None or not _is_looked_at(entry):
        return entry
    return replace(entry, look=_look(entry.item.media.path))


def _is_looked_at(entry: LatentEntry) -> bool:
    return entry.redo is Redo.LATENTS and entry.item.media.kind is MediaKind.IMAGE


def _look_at(file: ShortPath) -> Look | None:
    return _look(file.path)


def _look(path: Path) -> Look | None:
    try:
        glance = read_glance(path, BEST_SIDE)
    except InputError:
        return None
    return Look.of(
        likeness_of(glance.rgb_hw3),
        hidden_share=glance.hidden_share,
        frame_count=glance.frame_count,
        on_its_side=not glance.was_turned and lies_on_its_side(glance.rgb_hw3),
    )
