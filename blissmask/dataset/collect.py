"""Find the items of a data set section: photos or videos with their captions, masks and controls."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from blissmask.config.sections.dataset_section import DatasetSection
from blissmask.dataset.captions.caption_file import DEFAULT_EXTENSION
from blissmask.dataset.controls import match_numbered
from blissmask.dataset.discover import find_media, list_files, list_folders, match_masks, unread_warning
from blissmask.dataset.item import CaptionFolder, DatasetItem, MediaFile, MediaKind
from blissmask.dataset.item_keys import IMAGE_SUFFIXES, VIDEO_SUFFIXES, folder_key, group_by_key, refuse_collisions
from blissmask.dataset.jsonl import read_jsonl
from blissmask.errors import InputError, Problem, UsageError
from blissmask.plurals import counted, verb
from blissmask.storage.content import without_links
from blissmask.storage.near_miss import near_miss_and
from blissmask.storage.short_path import ShortPath, shortened

_SOURCES = ("image_directory", "image_jsonl_file", "video_directory", "video_jsonl_file")
_SHARED = "one mask and one cache entry"


@dataclass(frozen=True, slots=True)
class Collected:
    """The contents of a data set.

    Attributes:
        items: in the order of their names, or of the list.
        orphan_masks: masks that belong to no item.
        warnings: one for each kind of file or key that was left out.
    """

    items: tuple[DatasetItem, ...]
    orphan_masks: tuple[Path, ...] = ()
    warnings: tuple[Problem, ...] = ()


def cache_folder(dataset: DatasetSection, number: int) -> Path:
    """Return the folder of the data set's cache: ``cache_directory``, else the folder of its photos or videos.

    Raises:
        UsageError: a listed data set names no ``cache_directory``.
    """
    folder = dataset.cache_directory or dataset.image_directory or dataset.video_directory
    if folder is None:
        raise UsageError(f"[[datasets]] {number}: a data set listed in a file needs `cache_directory`")
    return folder


def media_kind(dataset: DatasetSection, number: int) -> MediaKind:
    """Return whether the data set holds pictures or videos.

    Raises:
        UsageError: it names none of the four sources, or more than one.
    """
    named = [name for name in _SOURCES if getattr(dataset, name) is not None]
    if len(named) != 1:
        found = " and ".join(f"`{name}`" for name in named) or "none"
        choices = ", ".join(f"`{name}`" for name in _SOURCES)
        raise UsageError(f"[[datasets]] {number}: names {found}, one source is needed", fix=f"keep one of {choices}")
    return MediaKind.IMAGE if named[0].startswith("image") else MediaKind.VIDEO


def collect(dataset: DatasetSection, number: int) -> Collected:
    """Find the items of a data set.

    Every folder is listed once, so the time grows with the number of files and not with their product.

    Args:
        dataset: a completed section.
        number: its position from 1, for messages.

    Raises:
        UsageError: it names no source, or several.
        InputError: a folder or list cannot be read, is empty, or names collide.
    """
    kind = media_kind(dataset, number)
    items, warnings = _with_captions(dataset, kind)
    masks = [_masks(dataset, folder, kind) for folder in mask_folders(dataset)]
    _refuse_missing(dataset.default_mask)
    if dataset.several:
        items = tuple(_with_mask_of_each(item, masks, number) for item in items)
    else:
        items = tuple(_with_mask(item, masks, dataset.default_mask) for item in items)
    if dataset.control_directory:
        items = _with_controls(items, dataset.control_directory, kind)
    keys = {item.media.key for item in items}
    orphans = tuple(path for of_folder in masks for key, path in of_folder.items() if key not in keys)
    return Collected(items=items, orphan_masks=orphans, warnings=tuple(warnings))


def collect_captions(dataset: DatasetSection, number: int) -> tuple[DatasetItem, ...]:
    """Return the items of a data set with their captions alone, which stand before masks and controls do.

    Args and raises: as :func:`collect`.
    """
    return _with_captions(dataset, media_kind(dataset, number))[0]


def _with_captions(dataset: DatasetSection, kind: MediaKind) -> tuple[tuple[DatasetItem, ...], list[Problem]]:
    listed = dataset.image_jsonl_file or dataset.video_jsonl_file
    return _listed(listed, kind) if listed else _found(dataset, kind)


def _listed(path: Path, kind: MediaKind) -> tuple[tuple[DatasetItem, ...], list[Problem]]:
    items, warnings = read_jsonl(path, kind)
    groups: dict[str, list[Path]] = {}
    for item in items:
        groups.setdefault(item.media.key, []).append(item.media.path)
    refuse_collisions(groups, shared=_SHARED)
    return tuple(items), warnings


def _found(dataset: DatasetSection, kind: MediaKind) -> tuple[tuple[DatasetItem, ...], list[Problem]]:
    folder = dataset.image_directory or dataset.video_directory
    assert folder is not None
    media = find_media(folder, images=kind is MediaKind.IMAGE, videos=kind is MediaKind.VIDEO, shared=_SHARED)
    captions = CaptionFolder(dataset.caption_directory or folder, dataset.caption_extension or DEFAULT_EXTENSION)
    _refuse_missing_folder(dataset.caption_directory)
    items = tuple(_with_caption(file, captions, dataset.caption) for file in media)
    return items, unread_warning(folder, media, images=kind is MediaKind.IMAGE, videos=kind is MediaKind.VIDEO)


def caption_files(dataset: DatasetSection) -> list[tuple[Path, Path]]:
    """Return each photo or video of a data set's folder with its caption file, which may be missing on disk.

    Raises:
        InputError: a folder cannot be read, is empty, or names collide.
    """
    kind = MediaKind.VIDEO if dataset.image_directory is None else MediaKind.IMAGE
    items, _ = _found(dataset.model_copy(update={"caption": None}), kind)
    return [(item.media.path, item.caption_path) for item in items if item.caption_path is not None]


def without_caption_file(dataset: DatasetSection) -> list[Path]:
    """Return the photos or videos of a data set's folder that have no caption file; none where a list names them.

    Raises:
        InputError: a folder cannot be read, is empty, or names collide.
    """
    if dataset.image_directory is None and dataset.video_directory is None:
        return []
    return [media for media, caption in caption_files(dataset) if not caption.exists()]


def _with_caption(media: MediaFile, captions: CaptionFolder, default: str | None) -> DatasetItem:
    """Return an item with its caption file, or with the caption ``default`` where there is no such file."""
    if default is not None and not os.path.lexists(captions.file_of(media.stem)):
        return DatasetItem(media, caption=default, has_default_caption=True)
    return DatasetItem(media, captions)


def mask_folders(dataset: DatasetSection) -> tuple[Path, ...]:
    """Return the folders of a data set's masks: one of each subject, in order, where it shows several; none, or one."""
    folder = dataset.mask_directory
    if folder is None:
        return ()
    return tuple(folder / name for name in dataset.several) or (folder,)


def _masks(dataset: DatasetSection, folder: Path, kind: MediaKind) -> Mapping[str, Path]:
    media_folder = dataset.image_directory or dataset.video_directory
    beside = media_folder is not None and without_links(folder) == without_links(media_folder)
    return match_masks(folder, videos=kind is MediaKind.VIDEO, beside_photos=beside)


def _refuse_missing(mask: Path | None) -> None:
    if mask is not None and not mask.exists():
        raise InputError("`default_mask` does not exist", where=[mask], fix=_look_at(mask, folders=False))


def _refuse_missing_folder(captions: Path | None) -> None:
    if captions is not None and not captions.is_dir():
        raise InputError("`caption_directory` is no folder", where=[captions], fix=_look_at(captions, folders=True))


def _look_at(path: Path, *, folders: bool) -> str:
    return near_miss_and(path, f"paths start at {Path.cwd()}", folders=folders)


def _with_mask(item: DatasetItem, masks: Sequence[Mapping[str, Path]], default: Path | None) -> DatasetItem:
    """Give an item the mask of its key, else ``default``; a mask that its JSONL line names is kept."""
    if item.mask:
        return item
    found = [of_folder[item.media.key] for of_folder in masks if item.media.key in of_folder]
    return replace(item, mask=shortened(found[0] if found else default))


def _with_mask_of_each(item: DatasetItem, masks: Sequence[Mapping[str, Path]], number: int) -> DatasetItem:
    """Give an item the masks of its key in the folders of several subjects."""
    if item.mask:
        raise UsageError(
            f"[[datasets]] {number}: its list names a mask, and it shows several subjects, each with masks of its own",
            where=[item.media.path],
            fix="leave the masks out of the list, or name one `subject`",
        )
    found = tuple(shortened(of_folder.get(item.media.key)) for of_folder in masks)
    return replace(item, subject_masks=found if any(found) else ())


def _with_controls(items: tuple[DatasetItem, ...], folder: Path, kind: MediaKind) -> tuple[DatasetItem, ...]:
    """Give every item its controls; raise InputError that names all items without one."""
    matched: Mapping[str, tuple[Path, ...]]
    if kind is MediaKind.VIDEO:
        matched = {key: (path,) for key, path in _control_videos(folder).items()}
    else:
        matched = match_numbered((item.media.stem for item in items), list_files(folder, IMAGE_SUFFIXES))
    bare = [item.media.path for item in items if item.media.key not in matched]
    if bare:
        them = verb(len(bare), "it under the same name", "them under the same names")
        what = f"no control picture in {folder} for {counted(len(bare), 'item')}"
        raise InputError(what, where=bare, fix=f"add {them}")
    return tuple(replace(item, controls=tuple(map(ShortPath.of, matched[item.media.key]))) for item in items)


def _control_videos(folder: Path) -> dict[str, Path]:
    """Return key -> control: a video, or a folder of frames where there is no video of that name."""
    controls = {folder_key(path): path for path in list_folders(folder)}
    for key, paths in group_by_key(list_files(folder, VIDEO_SUFFIXES)).items():
        controls[key] = paths[0]
    return controls
