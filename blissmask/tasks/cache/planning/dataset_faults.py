"""Find the faults of a data set before the first encode: refusals that stop the run, and masks that do not fit.

Masks that are zero everywhere, or that mask nothing, are named as well.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from blissmask.cachefile.redo import Redo
from blissmask.dataset.item import DatasetItem, MaskSource
from blissmask.dataset.mask_source import opaque_warning, required_problem
from blissmask.errors import InputError, Problem, naming_files
from blissmask.tasks.cache.empty_masks import EmptyMask, empty_warnings
from blissmask.tasks.cache.planned_entries import LatentEntry, TextEntry
from blissmask.tasks.cache.planning.scan import Scanned
from blissmask.tasks.cache.reading.mask_weights import MaskLook, has_moving_mask, look_at_mask
from blissmask.tasks.run.wording import about

_ANEW = (Redo.MASK, Redo.LATENTS)
"""At these the mask is read and averaged anew."""
SHARED_FILE, RENAME = "two items would share one cache file", "rename one of each"
"""What is said of two items of one name, and how to mend it."""
_MAX_NAME_BYTES = 255
"""Longest file name of the usual file systems (NAME_MAX on Linux)."""


@dataclass(frozen=True, slots=True)
class MaskCheck:
    """The result of looking at one mask.

    Attributes:
        entry: with mean weight and doubt filled in, and its window placed.
        problem: why the entry cannot be made; None when it can.
    """

    entry: LatentEntry
    problem: Problem | None = None


def refusals(scanned: Scanned) -> list[Problem]:
    """Return what must be mended before anything of the data set is encoded."""
    dataset = scanned.dataset
    problems = []
    if dataset.section.require_mask:
        bare = [str(entry.item.media.path) for entry in scanned.entries if entry.mask_source in (None, MaskSource.FULL)]
        has_folder = dataset.section.mask_directory is not None
        if bare:
            problems.append(
                required_problem(
                    list(dict.fromkeys(bare)),
                    has_folder=has_folder,
                    takes_alpha=dataset.section.alpha_mask,
                    orphans=scanned.collected.orphan_masks,
                )
            )
    problems += scanned.caption_faults.problems
    problems += shared_paths(scanned.entries, scanned.texts)
    return [*problems, *_control_counts(scanned)]


def check_masks(entries: Sequence[LatentEntry], jobs: int) -> list[MaskCheck]:
    """Look at the masks that will be averaged anew, or that place a window, several at a time and each once.

    Other entries come back unchanged.

    Still masks are decoded, so that empty ones are known before a model is loaded. Those with frames are measured and
    not read.
    """
    masks = [_mask_of(entry) for entry in entries]
    firsts: dict[Hashable, LatentEntry] = {}
    for mask, entry in zip(masks, entries, strict=True):
        if mask is not None:
            firsts.setdefault(mask, entry)
    with ThreadPoolExecutor(jobs, thread_name_prefix="blissmask-masks") as pool:
        seen = dict(zip(firsts, pool.map(_look, firsts.values()), strict=True))
    return [
        MaskCheck(entry) if mask is None else _checked(entry, seen[mask])
        for mask, entry in zip(masks, entries, strict=True)
    ]


def empty_masks(checks: Iterable[MaskCheck]) -> list[Problem]:
    """Name masks that are zero everywhere; nothing would be learned from their items."""
    return empty_warnings(EmptyMask.of(check.entry) for check in checks if check.entry.mean_weight == 0.0)


def opaque_masks(checks: Iterable[MaskCheck]) -> list[Problem]:
    """Name photos whose alpha channel is their mask and masks nothing, with the mask files that it stands before."""
    opaque = [
        check.entry
        for check in checks
        if check.entry.mask_source is MaskSource.ALPHA and check.entry.mean_weight == 1.0
    ]
    # A fresh entry may have an empty mask that was filled with full weight; the run that filled it named it.
    opaque = [entry for entry in opaque if entry.redo in _ANEW or entry.dataset.empty_mask != "full"]
    if not opaque:
        return []
    inverted = opaque[0].dataset.section.invert_mask
    return [opaque_warning([(entry.item.media.path, entry.item.mask_path) for entry in opaque], inverted=inverted)]


def _mask_of(entry: LatentEntry) -> Hashable:
    """Return a key of the mask that is looked at, shared by the clips of a video; None where none is looked at."""
    if not entry.has_mask or (entry.redo not in _ANEW and not entry.needs_look):
        return None
    owner = None if entry.mask_files and not has_moving_mask(entry) else entry.item.media.path
    return entry.mask_files, owner, entry.geometry


def _look(entry: LatentEntry) -> MaskLook | Problem:
    try:
        with naming_files():
            return look_at_mask(entry)
    except InputError as error:
        return error.as_one()


def _checked(entry: LatentEntry, seen: MaskLook | Problem) -> MaskCheck:
    if isinstance(seen, Problem):
        return MaskCheck(entry, seen)
    return MaskCheck(
        replace(entry, mean_weight=seen.mean_weight, doubt=seen.doubt, geometry=seen.geometry, shown=seen.shown)
    )


def shared_paths(entries: Iterable[LatentEntry], texts: Iterable[TextEntry]) -> list[Problem]:
    """Refuse two items with one cache file, and names that no file system takes."""
    owners: dict[str, DatasetItem] = {}
    shared: dict[str, None] = {}
    long: dict[str, None] = {}
    for planned in itertools.chain[LatentEntry | TextEntry](entries, texts):
        # A photo called `a-face` has the file of the zoom of `a`.
        first = owners.setdefault(planned.name, planned.item)
        if first is not planned.item and first.name != planned.item.name:
            shared |= {first.name: None, planned.item.name: None}
        if len(planned.name.encode()) > _MAX_NAME_BYTES:
            long[planned.item.name] = None
    problems = []
    if shared:
        problems.append(Problem(SHARED_FILE, tuple(shared), RENAME))
    if long:
        problems.append(Problem("file names too long for a cache file", tuple(long), "shorten them to 200 bytes"))
    return problems


def _control_counts(scanned: Scanned) -> list[Problem]:
    dataset = scanned.dataset
    family = dataset.family
    if dataset.one_frame:
        fewest = most = len(dataset.one_frame.clean_indices)
    else:
        fewest, most = family.task.control_range
    wrong = [entry.item for entry in scanned.entries if not fewest <= len(entry.item.control_paths) <= most]
    if not wrong:
        return []
    if not most:
        return [
            about(wrong, f"{{}} with control pictures, and `{family.name}` takes none", "remove `control_directory`")
        ]
    expected = str(fewest) if fewest == most else f"{fewest} to {most}"
    return [
        about(
            wrong,
            f"{{}} without the {expected} control pictures that `{family.name}` takes",
            "check `control_directory`",
        )
    ]
