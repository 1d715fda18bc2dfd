"""Plan `masks`: which photos and videos get a weighted mask, and what the classes of the backend become."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from blissmask.config.model import Config
from blissmask.config.sections.dataset_section import DatasetSection
from blissmask.config.sections.mask_sections import MasksSection
from blissmask.dataset.buckets import Buckets, make_buckets
from blissmask.dataset.captions.caption_file import HOW_TO_CAPTION
from blissmask.dataset.captions.caption_words import blanks, how_to_fill, words_for
from blissmask.dataset.collect import without_caption_file
from blissmask.dataset.item import MediaFile
from blissmask.errors import Problem, UsageError
from blissmask.masks import bars
from blissmask.parsing.parts_backend import PARSING, PartsBackend
from blissmask.plurals import counted
from blissmask.storage.content import without_links
from blissmask.tasks.mask_files.clip_forms import OtherForms, settle_forms
from blissmask.tasks.mask_files.contact_sheet import check_sheet, size_without_dataset, training_area, with_own_sheet
from blissmask.tasks.mask_files.licences import Weights, licence_table, refuse_non_commercial, to_json
from blissmask.tasks.mask_files.media_plan import Making, PlannedMedia, find_for_masks, keys_of, plan_media
from blissmask.tasks.mask_files.output_notes import kept_warning
from blissmask.tasks.masks.classes import explanation, tier_values, tiers_of_classes
from blissmask.tasks.masks.maker import MaskMaker
from blissmask.tasks.remarks.odd_photos import size_remarks
from blissmask.tasks.remarks.remark import Remark, as_problems
from blissmask.tasks.run.folders import FolderPair, pairs_to_do
from blissmask.tasks.run.plan import Explanation, Plan, places_of

COMMAND = "masks"
_GRID = 16
"""Sides of training sizes are multiples of this in most families, 32 in one; to ask them, torch would be loaded."""


@dataclass(slots=True, kw_only=True)
class MasksPlan(Plan):
    """What `masks` will do.

    Attributes:
        maker: turns pictures into masks.
        making: how masks are made, as their notes record it.
        weights: the weights that are used, with their licences.
        forms: masks of clips that are replaced by masks in the other form.
        options: the section of the configuration.
        training_area: pixels of a training picture, for the latent grid on the contact sheet.
        remarks: what is odd about the sizes of photos, for the sheet; ``warnings`` hold them, too.
    """

    maker: MaskMaker
    making: Making
    weights: tuple[Weights, ...]
    forms: OtherForms
    options: MasksSection
    training_area: int
    remarks: list[Remark]


def outputs(config: Config) -> tuple[Path, ...]:
    """Return the folders that are written to.

    Raises:
        UsageError: folders are missing or wrong.
    """
    options = config.masks
    if options.explain:
        return ()
    pairs, _ = folders_to_do(config)
    return tuple(dict.fromkeys(pair.output for pair in pairs))


def plan(config: Config) -> MasksPlan | Explanation:
    """Find the photos and videos and decide item by item; with ``explain``, only show what the classes become.

    Raises:
        UsageError: folders or classes are missing or wrong, or the licence of the weights is.
        InputError: a folder cannot be read, holds nothing, or two files have one name.
    """
    options = with_own_sheet(config.masks)
    backend = PARSING.load(options.backend).backend(options)
    weights = (Weights("--backend", options.backend, backend.identity, backend.licence),)
    refuse_non_commercial(weights, commercial_only=options.commercial_only)
    tiers = tiers_of_classes(backend, options.map)
    table, details = explanation(options, backend, tiers)
    details["licences"] = to_json(weights)
    if options.explain:
        return Explanation(COMMAND, tables=[table, licence_table(weights)], details=details)
    pairs, warnings = folders_to_do(config)
    check_sheet(options.sheet, [folder for pair in pairs for folder in (pair.input, pair.output)])
    making = Making(
        command=COMMAND,
        settings=_settings(options, backend, details["classes"]),
        licences=to_json(weights),
        video_every=options.video_every,
        frames=options.video_masks == "frames",
        force=config.run.force,
    )
    found = {}
    for pair in pairs:
        found[pair], unread = find_for_masks(pair.input, options.media, frames=making.frames)
        warnings += unread
    warnings += _caption_warnings(config, pairs)
    decided = _decided(found, making)
    remarks = list(_size_remarks(decided, config))
    items, forms = settle_forms([planned.item for of_pair in decided.values() for planned in of_pair], making)
    return MasksPlan(
        command=COMMAND,
        items=items,
        outputs=outputs(config),
        warnings=[*warnings, *as_problems(remarks), *forms.warning(), *kept_warning(items)],
        details=details,
        maker=MaskMaker(backend, tiers, options),
        making=making,
        weights=weights,
        forms=forms,
        options=options,
        training_area=training_area(config),
        remarks=remarks,
    )


def folders_to_do(config: Config) -> tuple[list[FolderPair], list[Problem]]:
    """Return which folders to go through, and warnings; a folder that `apply` fills is for one person's masks alone.

    Raises:
        UsageError: as :func:`pairs_to_do`, or `apply` fills the folders of all data sets.
    """
    options = config.masks
    pairs, warnings = pairs_to_do(config, COMMAND, options.input, options.output)
    applied = [pair for pair in pairs if config.is_filled_by_apply(pair.output)]
    if options.output is not None or not applied:
        return pairs, warnings
    folders = places_of(pair.output for pair in applied)
    where = f'`input = "{applied[0].input}"` and `output = "{config.apply.weighted_masks or "masks"}"`'
    fix = f"say under [masks] where they go, so that `apply` can read them: {where}"
    if len(applied) == len(pairs):
        raise UsageError("masks of everybody would go where `apply` puts those of one person", where=folders, fix=fix)
    left_out = Problem("data sets whose masks `apply` makes are left out", folders, fix)
    return [pair for pair in pairs if pair not in applied], [*warnings, left_out]


def _decided(found: Mapping[FolderPair, Sequence[MediaFile]], making: Making) -> dict[FolderPair, list[PlannedMedia]]:
    """Decide item by item; with several folders their names are part of the keys."""
    decided = {}
    for pair, media in found.items():
        folder = f"{pair.input.name}/" if len(found) > 1 else ""
        files = zip(media, keys_of(media), strict=True)
        decided[pair] = [plan_media(file, pair.output, f"{folder}{key}", making) for file, key in files]
    return decided


def _size_remarks(decided: Mapping[FolderPair, Sequence[PlannedMedia]], config: Config) -> Iterator[Remark]:
    """Yield remarks about photos and videos that will be enlarged much, or trained as thumbnails."""
    for pair, media in decided.items():
        sizes = _training_sizes(config, pair.input)
        if sizes is None:
            continue
        buckets, resolution_wh = sizes
        is_configured = bool(config.datasets) or config.general.resolution is not None
        for planned in media:
            if planned.size_wh is not None:
                geometry = buckets.fit(planned.size_wh)
                path = planned.item.inputs[0]
                yield from size_remarks(path, geometry, resolution_wh, is_configured=is_configured)


def _training_sizes(config: Config, folder: Path) -> tuple[Buckets, tuple[int, int]] | None:
    """Return the training sizes of a folder and its resolution; None where its data set is one that `cache` refuses.

    A folder of no data set has those of the first, as on the sheet (``training_area``).
    """
    alone = DatasetSection(resolution=size_without_dataset(config), enable_bucket=True)
    of_folder = [data for data in config.datasets if _reads(data, {without_links(folder)})]
    section = next(iter([*of_folder, *config.datasets]), alone)
    is_of_videos = section.video_directory is not None
    try:
        buckets = make_buckets(section, grid_multiple=_GRID, always_bucket=is_of_videos)
    except UsageError:
        return None
    return buckets, section.resolution


def _reads(dataset: DatasetSection, places: Set[Path]) -> bool:
    """Return whether a data set's photos or videos are in one of ``places``, by whatever path or link."""
    folders = (dataset.image_directory, dataset.video_directory)
    return any(folder is not None and without_links(folder) in places for folder in folders)


def _caption_warnings(config: Config, pairs: Iterable[FolderPair]) -> list[Problem]:
    """Name photos and videos of data sets that have no caption yet, and words that captions miss, before the work."""
    places = {without_links(pair.input) for pair in pairs}
    lacking: dict[str, None] = {}
    missing: dict[str, None] = {}
    for dataset in config.datasets:
        if not _reads(dataset, places):
            continue
        if dataset.caption is None:
            lacking |= dict.fromkeys(map(str, without_caption_file(dataset)))
        elif (blank := blanks(dataset.caption, words_for(dataset))) and without_caption_file(dataset):
            missing |= dict.fromkeys(blank)
    problems = []
    if lacking:
        what = f"{counted(len(lacking), 'item')} without a caption, and `blissmask cache` will refuse that"
        problems.append(Problem(what, tuple(lacking), HOW_TO_CAPTION))
    for name in missing:
        what = f"`caption` holds {{{name}}}, and `{name}` is blank; `blissmask cache` will refuse that"
        problems.append(Problem(what, fix=how_to_fill(name)))
    return problems


def _settings(options: MasksSection, backend: PartsBackend, classes: object) -> dict[str, object]:
    """Return what decides the pixels of a mask besides the photo."""
    return {
        "backend": backend.identity,
        "bars": bars.METHOD,
        "classes": classes,
        "tiers": tier_values(options.tiers),
        "grow": options.grow,
        "feather": options.feather,
        "min_area": options.min_area,
    }
