"""List folders: which pictures, videos and masks they hold."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from blissmask.dataset.item import MediaFile, MediaKind
from blissmask.dataset.item_keys import (
    HEIF_SUFFIXES,
    IMAGE_SUFFIXES,
    LABELS,
    MASK_LABEL,
    UNREAD_IMAGE_SUFFIXES,
    UNREAD_VIDEO_SUFFIXES,
    VIDEO_SUFFIXES,
    folder_key,
    group_by_key,
    item_key,
    refuse_collisions,
    split_name,
)
from blissmask.errors import InputError, Problem
from blissmask.media.png import Note, read_note
from blissmask.plurals import counted, verb
from blissmask.storage.near_miss import near_miss_and
from blissmask.storage.ordinary import what_is


def list_files(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    """Return the files of ``folder`` with one of ``suffixes`` (any case), sorted by name, without hidden ones.

    What is neither a file nor a folder is among them, so that reading it says what it is.

    Raises:
        InputError: the folder is missing or cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith(".") and _is_no_folder(entry)]
    except OSError as error:
        kind = what_is(folder)
        if kind not in ("", "a folder"):
            fix = "name the folder it lies in" if kind == "a file" else "name a folder"
            raise InputError(f"a folder is needed, and this is {kind}", where=[folder], fix=fix) from error
        fix = near_miss_and(folder, f"paths start at {Path.cwd()}", folders=True)
        raise InputError(f"cannot read the folder: {error.strerror}", where=[folder], fix=fix) from error
    return [folder / name for name in sorted(names) if split_name(name)[1].lower() in suffixes]


def _is_no_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry may be read as a file: it is one, a link that leads nowhere, a pipe or a device.

    Reading one of these fails, so that the message names it and only its item is lost.
    """
    try:
        return not entry.is_dir()
    except OSError:
        # A link that leads in a circle.
        return True


def list_folders(folder: Path) -> list[Path]:
    """Return the sub-folders of ``folder``, sorted by name, without hidden ones; each may hold the frames of a clip."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def find_media(
    folder: Path,
    *,
    images: bool = True,
    videos: bool = False,
    shared: str = "one mask and one cache entry",
    live_photos: bool = False,
) -> list[MediaFile]:
    """Return the pictures, the videos, or both, of ``folder``, without the masks that OneTrainer keeps beside them.

    A HEIC photo that also lies there as a JPEG or another picture is left out: phones export both.

    Args:
        folder: where to look; sub-folders are not entered.
        images, videos: which kinds to look for; at least one.
        shared: what two files with one key would share, for the error message.
        live_photos: whether a picture and a video may have one key, as the two parts of a phone's Live Photo have.

    Raises:
        InputError: the folder cannot be read, holds nothing of the kind, or two files have one key.
    """
    suffixes = _suffixes(IMAGE_SUFFIXES if images else None, VIDEO_SUFFIXES if videos else None)
    paths = [path for path in list_files(folder, suffixes) if not item_key(path.name).endswith(LABELS)]
    if not paths:
        kinds = _either("pictures" if images else "", "videos" if videos else "")
        fix = f"these are read: {' '.join(sorted(suffixes))}"
        for inner in list_folders(folder):
            if list_files(inner, suffixes):
                fix = f"sub-folders are not entered; there are some in `{inner}`"
                break
        raise InputError(f"no {kinds} in the folder", where=[folder], fix=fix)
    groups = {key: _without_heif_twins(group) for key, group in group_by_key(paths).items()}
    _refuse_twins(groups, shared=shared, live_photos=live_photos)
    kept = {path for group in groups.values() for path in group}
    return [MediaFile.of(path, _kind(path)) for path in paths if path in kept]


def _without_heif_twins(paths: Sequence[Path]) -> list[Path]:
    pictures = [path for path in paths if _kind(path) is MediaKind.IMAGE]
    if all(path.suffix.lower() in HEIF_SUFFIXES for path in pictures):
        return list(paths)
    return [path for path in paths if path.suffix.lower() not in HEIF_SUFFIXES]


def _refuse_twins(groups: Mapping[str, Sequence[Path]], *, shared: str, live_photos: bool) -> None:
    """Raise InputError for files of one key, except the two parts of Live Photos where they are wanted."""
    twins, live = {}, {}
    for key, group in groups.items():
        pictures = sum(_kind(path) is MediaKind.IMAGE for path in group)
        if len(group) == 2 and pictures == 1:
            live[key] = group
        else:
            twins[key] = group
    refuse_collisions(twins, shared=shared)
    if not live_photos:
        fix = "Live Photos have both; take one kind with `--media photos` or `--media videos`"
        refuse_collisions(live, shared=shared, fix=fix)


def unread_warning(
    folder: Path, media: Iterable[MediaFile], *, images: bool = True, videos: bool = False
) -> list[Problem]:
    """Warn of pictures and videos in ``folder`` whose format is not read, such as the HEIC files of phones.

    Args:
        folder: where ``media`` were found.
        media: the files that are read; a file that also exists in a format that is read is not warned of.
        images, videos: which kinds to look for.

    Returns:
        One warning that names all such files, or none.

    Raises:
        InputError: the folder cannot be read.
    """
    suffixes = _suffixes(UNREAD_IMAGE_SUFFIXES if images else None, UNREAD_VIDEO_SUFFIXES if videos else None)
    keys = {file.key for file in media}
    unread = [path for path in list_files(folder, suffixes) if item_key(path.name) not in keys]
    if not unread:
        return []
    what = f"{counted(len(unread), 'file')} {verb(len(unread), 'is of a kind that is', 'are of kinds that are')}"
    kinds = _either("JPEG or PNG" if images else "", "MP4" if videos else "")
    return [
        Problem(f"{what} not read, and left out", tuple(map(str, unread)), f"convert to {kinds} what should be taken")
    ]


def holds_mask_labels(folder: Path) -> bool:
    """Return whether ``folder`` holds masks named as OneTrainer names them.

    Raises:
        InputError: the folder cannot be read.
    """
    return any(item_key(path.name).endswith(MASK_LABEL) for path in list_files(folder, IMAGE_SUFFIXES))


def match_masks(folder: Path, *, videos: bool = False, beside_photos: bool = False) -> dict[str, Path]:
    """Return key -> mask file of ``folder``.

    ``NAME-masklabel.png``, as OneTrainer writes it, is the mask of ``NAME``.

    Args:
        folder: where the masks are.
        videos: whether mask videos and folders of frame masks count too.
        beside_photos: whether the photos are in the same folder; then only files named as OneTrainer names them are
            masks.

    Raises:
        InputError: the folder cannot be read, or two masks have one key.
    """
    suffixes = _suffixes(IMAGE_SUFFIXES, VIDEO_SUFFIXES if videos else None)
    groups: dict[str, list[Path]] = {}
    for key, paths in group_by_key(list_files(folder, suffixes)).items():
        if key.endswith(MASK_LABEL) or not beside_photos:
            groups.setdefault(key.removesuffix(MASK_LABEL), []).extend(paths)
    if videos:
        for path in list_folders(folder):
            key = folder_key(path)
            groups[key] = [*_of_clips(groups.get(key, [])), path]
    refuse_collisions(groups, shared="one item as its masks")
    return {key: group[0] for key, group in groups.items()}


def match_live_photos(folder: Path) -> dict[str, Path]:
    """Return key -> mask file of the photos in ``folder`` whose Live Photo has a folder of frame masks there as well.

    :func:`match_masks` returns the folders of these keys.

    Raises:
        InputError: the folder cannot be read.
    """
    clips = {folder_key(path) for path in list_folders(folder)}
    groups = group_by_key(list_files(folder, IMAGE_SUFFIXES))
    photos = {key: [path for path in paths if _is_of_photo(path)] for key, paths in groups.items() if key in clips}
    return {key: paths[0] for key, paths in photos.items() if paths}


def media_of_mask(note: Note | None) -> str:
    """Return the name of the photo or video that a mask of ours was made from in the end; empty where none is known."""
    if note is None:
        return ""
    inputs = note.content.get("inputs")
    first = inputs[0] if isinstance(inputs, list) and inputs else None
    name = note.content.get("media") or (first.get("name") if isinstance(first, dict) else None)
    return name if isinstance(name, str) else ""


def _of_clips(masks: Sequence[Path]) -> list[Path]:
    """Return the masks that may be of a clip, without those that are known to be of the photo beside it."""
    return [path for path in masks if not _is_of_photo(path)]


def _is_of_photo(mask: Path) -> bool:
    name = media_of_mask(read_note(mask) if mask.is_file() else None)
    return split_name(name)[1].lower() in IMAGE_SUFFIXES


def _suffixes(*sets: frozenset[str] | None) -> frozenset[str]:
    """Join the sets of suffixes; None is a kind that is not looked for."""
    return frozenset().union(*(suffixes for suffixes in sets if suffixes is not None))


def _either(*words: str) -> str:
    """Join the words that are not empty: ``pictures or videos``."""
    return " or ".join(word for word in words if word)


def _kind(path: Path) -> MediaKind:
    return MediaKind.VIDEO if path.suffix.lower() in VIDEO_SUFFIXES else MediaKind.IMAGE
