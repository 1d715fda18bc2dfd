"""Complete a scan with what the masks decide: where windows stand, and which zooms a photo is large enough for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from blissmask.cachefile.redo import Redo
from blissmask.dataset.item import DatasetItem
from blissmask.dataset.zoom import Zoom, zoomed_item, zooms
from blissmask.errors import InputError, Problem
from blissmask.masks.sight import Box
from blissmask.storage.seen import states_with_output
from blissmask.tasks.cache.planned_entries import LatentEntry
from blissmask.tasks.cache.planning.dataset_faults import RENAME, SHARED_FILE, MaskCheck, check_masks, shared_paths
from blissmask.tasks.cache.planning.scan import Scanned, decided, scan_text


def place_windows(found: Scanned, jobs: int, *, force: bool) -> list[MaskCheck]:
    """Look at the masks that nobody has looked at, decide again where a window was placed, and add the zooms.

    Args:
        found: the data set.
        jobs: masks that are looked at at a time.
        force: everything is made anew.

    Returns:
        The entries of the photos and videos, then those of zooms.
    """
    undecided = [entry.needs_look for entry in found.entries]
    checks = []
    for check, needed_look in zip(check_masks(found.entries, jobs), undecided, strict=True):
        if check.problem is None and needed_look:
            check = replace(check, entry=decided(check.entry, found, force=force))
        checks.append(check)
    whole = [check.entry for check in checks if check.problem is None]
    return [*checks, *(MaskCheck(entry) for entry in _zooms(whole, found, force=force))]


def add_zoom_texts(found: Scanned, zoomed: Sequence[LatentEntry], *, force: bool) -> None:
    """Add the captions of zooms to the texts of their data set, but for items that cannot be read."""
    unreadable = {item.media.path for item, _ in found.unreadable}
    for entry in zoomed:
        if entry.item.media.path not in unreadable:
            scan_text(entry.item, found, force=force)


def refuse_names_of_zooms(found: Scanned, zoomed: Sequence[LatentEntry]) -> None:
    """Raise InputError where a photo has the name of a zoom: they would share the file of their captions."""
    if not zoomed:
        return
    problems = shared_paths([*found.entries, *zoomed], found.texts)
    # By their names alone, since `--latents-only` reads no captions.
    owners = {item.media.stem: item for item in found.collected.items}
    if not problems and (taken := [entry.item for entry in zoomed if entry.item.media.stem in owners]):
        pairs = tuple(name for item in taken for name in (owners[item.media.stem].name, item.name))
        problems = [Problem(SHARED_FILE, pairs, RENAME)]
    if problems:
        raise InputError.several(problems)


def _zooms(entries: Sequence[LatentEntry], found: Scanned, *, force: bool) -> Iterator[LatentEntry]:
    dataset = found.dataset
    if not dataset.section.zoom:
        return
    for entry in entries:
        if entry.shown is None or entry.is_moving:
            continue
        boxes: list[tuple[str, Box | None]] = [("subject", entry.shown.subject), ("face", entry.shown.head)]
        wanted = [(kind, box) for kind, box in boxes if kind in dataset.section.zoom]
        for zoom in zooms(wanted, entry.geometry, dataset.buckets):
            yield decided(_zoomed(entry, zoomed_item(entry.item, zoom.kind), zoom), found, force=force)


def _zoomed(entry: LatentEntry, item: DatasetItem, zoom: Zoom) -> LatentEntry:
    zoomed = replace(
        entry,
        item=item,
        geometry=zoom.geometry,
        region_wh=zoom.region_wh,
        redo=Redo.LATENTS,
        reason="",
        mean_weight=None,
    )
    return replace(zoomed, states=states_with_output(entry.states, zoomed.path))
