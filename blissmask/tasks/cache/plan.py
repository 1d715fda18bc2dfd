"""Plan `cache`: every data set looked at, every problem found, every entry decided, before any model is loaded."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from blissmask.cachefile.file_names import as_unicode, text_name
from blissmask.cachefile.fingerprint import Prints
from blissmask.cachefile.redo import Redo
from blissmask.config.model import Config
from blissmask.dataset.collect import cache_folder
from blissmask.dataset.item_keys import zoom_stem
from blissmask.errors import InputError, MaskError, Problem, UsageError
from blissmask.families.files.model_files import unread_files
from blissmask.free_memory import workers
from blissmask.imports import uncollected
from blissmask.processes import Processes, this_process
from blissmask.storage.short_path import ShortPath
from blissmask.tasks.cache.cache_sheet import check_cache_sheet
from blissmask.tasks.cache.cached_dataset import CachedDataset, Model, choose_datasets, choose_model, refuse_wrong_files
from blissmask.tasks.cache.planned_entries import LatentEntry, TextEntry
from blissmask.tasks.cache.planning import dataset_faults, notices
from blissmask.tasks.cache.planning.listing import Listing, PlannedSet
from blissmask.tasks.cache.planning.scan import Scanned, scan
from blissmask.tasks.cache.planning.windows import add_zoom_texts, place_windows, refuse_names_of_zooms
from blissmask.tasks.cache.remarks.caption_text import caption_remarks
from blissmask.tasks.cache.remarks.look_at_photos import look_at_photos
from blissmask.tasks.cache.remarks.mask_values import mask_remarks
from blissmask.tasks.cache.remarks.photo_looks import copy_remarks, photo_remarks, size_remarks
from blissmask.tasks.cache.remarks.subject_in_crop import subject_remarks
from blissmask.tasks.cache.report import entry_bytes, plan_details, plan_tables
from blissmask.tasks.mask_files.contact_sheet import with_own_sheet
from blissmask.tasks.remarks.remark import Remark, as_problems
from blissmask.tasks.run.folders import room_warning
from blissmask.tasks.run.plan import Plan

COMMAND = "cache"
ItemT = TypeVar("ItemT")


@dataclass(slots=True, kw_only=True)
class CachePlan(Plan):
    """What a run of `cache` does.

    Attributes:
        model: the family and its weights.
        folders: the cache folders. ``outputs`` names them only in the first of several processes, which locks them for
            all.
        entries: latent files, all that can be made, fresh ones included.
        texts: text files, fresh ones included.
        other_texts: those of captions in other orders or with the class word instead of the trigger, and of none.
        remarks: what is odd about items, for the sheet; ``warnings`` hold them, too.
        sheet: the contact sheet to write first; None when none is wanted.
        outdated: our own files that no item needs; removed after a whole pass.
        sets: what is planned for each data set.
    """

    model: Model
    folders: tuple[Path, ...] = ()
    entries: list[LatentEntry] = field(default_factory=list)
    texts: list[TextEntry] = field(default_factory=list)
    other_texts: list[TextEntry] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)
    sheet: Path | None = None
    outdated: list[Path] = field(default_factory=list)
    sets: list[PlannedSet] = field(default_factory=list)

    def take(self, sets: list[PlannedSet]) -> None:
        """Plan what is to be done for these data sets, and nothing else."""
        self.sets, self.items = sets, Listing(sets)
        self.entries = _joined([planned.entries for planned in sets])
        self.texts = _joined([planned.texts for planned in sets])
        self.other_texts = _joined([planned.other_texts for planned in sets])
        self.tables = plan_tables(self.entries, self.texts, self.other_texts)
        self.details = plan_details(self.entries, [*self.texts, *self.other_texts], self.outdated)

    def keep_own(self, processes: Processes) -> None:
        """Keep the photos and videos of one process of a job array, with all of their clips, zooms and captions."""
        self.take([planned.share(processes) for planned in self.sets])


def outputs(config: Config) -> tuple[Path, ...]:
    """Return the cache folders; none in all but the first of several processes, which locks them for all.

    Raises:
        UsageError: a data set that is listed in a file names no ``cache_directory``.
    """
    if not this_process().first:
        return ()
    return tuple(cache_folder(section, number) for number, section in enumerate(config.datasets, 1))


# Entries form no cycles, and may be a million.
@uncollected()
def plan(config: Config) -> CachePlan:
    """Decide item by item what is encoded, refreshed or left.

    Raises:
        UsageError: the configuration is incomplete or contradicts itself.
        InputError: folders cannot be read, names collide, captions or required masks are missing; all problems at once.
        ModelError: a weights file is missing, damaged or another model's.
    """
    model = choose_model(config)
    datasets = choose_datasets(config, model)
    folders = tuple(dataset.folder for dataset in datasets)
    result = CachePlan(
        command=COMMAND,
        outputs=outputs(config),
        warnings=[*unread_files(config.model), *check_cache_sheet(config)],
        model=model,
        folders=folders,
        sheet=with_own_sheet(config.cache).sheet,
    )
    scans = _scan_all(datasets, config)
    refuse_wrong_files(
        model,
        latents=any(entry.redo is Redo.LATENTS for found in scans for entry in found.entries),
        texts=any(text.reason for found in scans for text in (*found.texts, *found.other_texts)),
    )
    result.take([_planned(found, result, config) for found in scans])
    result.remarks = [
        *mask_remarks(result.entries),
        *size_remarks(result.entries),
        *subject_remarks(result.entries),
        *photo_remarks(result.entries),
        *copy_remarks(result.entries),
        *caption_remarks(result.texts, model, _without_subject(result.entries)),
    ]
    result.warnings += as_problems(result.remarks)
    result.warnings += [*_missing_warning(model), *_disk_warning(result)]
    return result


def _without_subject(entries: Iterable[LatentEntry]) -> set[tuple[int, Path]]:
    """Return number of the data set and photo of the items whose masks show none of its subjects."""
    of_subjects = [entry for entry in entries if entry.dataset.section.subject]
    shown = {(each.dataset.number, each.item.media.path) for each in of_subjects if each.mean_weight != 0.0}
    return {(each.dataset.number, each.item.media.path) for each in of_subjects} - shown


def _joined(lists: list[list[ItemT]]) -> list[ItemT]:
    """Return the lists as one; of one data set, which may have a million items, the list itself."""
    return lists[0] if len(lists) == 1 else list(itertools.chain.from_iterable(lists))


def _missing_warning(model: Model) -> list[Problem]:
    if not model.missing:
        return []
    where = tuple(": ".join([problem.what, *problem.where]) for problem in model.missing)
    return [Problem("the model is not here yet, so everything counts as to be encoded", where, model.missing[0].fix)]


def _scan_all(datasets: Iterable[CachedDataset], config: Config) -> list[Scanned]:
    """Look at every data set; raise InputError with what must be mended in any of them before anything is encoded."""
    prints = Prints(by_content=config.cache.verify)
    scans: list[Scanned] = []
    problems: list[Problem] = []
    for dataset in datasets:
        try:
            found = scan(
                dataset,
                prints,
                latents=not config.cache.text_only,
                texts=not config.cache.latents_only,
                force=config.run.force,
                verify=config.cache.verify,
            )
        except UsageError:
            raise
        except InputError as error:
            problems += error.problems
            continue
        problems += [_in_dataset(problem, found) for problem in dataset_faults.refusals(found)]
        scans.append(found)
    if problems:
        raise InputError.several(problems)
    return scans


def _planned(found: Scanned, result: CachePlan, config: Config) -> PlannedSet:
    """Check the masks of one data set and place windows by them, and return what is to be done for it."""
    largest = max((math.prod(entry.facts.size_wh) for entry in found.entries), default=0)
    jobs = config.run.jobs or workers(config.run.worker_count, largest)
    checked = place_windows(found, jobs, force=config.run.force)
    zoomed = [check.entry for check in checked if check.entry.item.zoom]
    if not config.cache.latents_only:
        add_zoom_texts(found, zoomed, force=config.run.force)
    refuse_names_of_zooms(found, zoomed)
    # Whether they have zooms is not known, so that files of zooms are kept.
    unknown = {check.entry.item.media.file for check in checked if check.problem is not None}
    if config.cache.text_only:
        # They were looked at for the captions of zooms alone.
        found.entries, checked = [], []
    empty = dataset_faults.empty_masks(checked)
    if empty and config.cache.empty_mask == "error":
        raise MaskError.several(empty)
    result.warnings += [*notices.warnings(found), *empty, *dataset_faults.opaque_masks(checked)]
    fitting = [check.entry for check in checked if check.problem is None]
    entries = look_at_photos(fitting, config.run.worker_count)
    failed = {check.entry.item.media.file: check.problem for check in checked if check.problem is not None}
    failed |= {item.media.file: problem for item, problem in found.unreadable}
    if not config.cache.keep_cache:
        result.outdated += _outdated(found, [*entries, *zoomed], unknown | failed.keys(), config)
    return PlannedSet(found.collected.items, entries, found.texts, found.other_texts, failed)


def _outdated(
    found: Scanned, entries: Sequence[LatentEntry], failed: Collection[ShortPath], config: Config
) -> list[Path]:
    """Return our own files that no item needs; files of items that cannot be read now are kept."""
    suffix = found.dataset.family.cache_suffix
    items = itertools.chain(found.collected.items, (entry.item for entry in entries))
    claimed = {entry.name for entry in entries} | {text.name for text in (*found.texts, *found.other_texts)}
    claimed |= {text_name(item.media.stem, suffix) for item in items}
    stems = {as_unicode(item.media.stem) for item in found.collected.items if item.media.file in failed}
    stems |= {zoom_stem(stem, kind) for stem in stems for kind in found.dataset.section.zoom}
    return found.folder.ours_beyond(
        claimed, stems, latents=not config.cache.text_only, texts=not config.cache.latents_only
    )


def _in_dataset(problem: Problem, found: Scanned) -> Problem:
    return dataclasses.replace(problem, within=f"in dataset {found.dataset.number}")


def _disk_warning(plan: CachePlan) -> list[Problem]:
    """Warn when a folder's disk has clearly less room than its new entries need."""
    problems = []
    for folder in plan.folders:
        needed = sum(
            entry_bytes(entry) for entry in plan.entries if entry.dataset.folder == folder and entry.reason == "new"
        )
        fix = "free some space, or choose another `cache_directory`"
        problems += room_warning(folder, needed, "the cache needs", fix=fix)
    return problems
