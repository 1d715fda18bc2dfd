"""List folders: which pictures, videos and masks they hold."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from blissmask.dataset.item import MediaFile, MediaKind
from blissmask.dataset.item_keys import (
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


def list_files(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    """Return the files of ``folder`` with one of ``suffixes`` (any case), sorted by name, without hidden files.

    Raises:
        InputError: the folder is missing or cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith(".") and _is_file(entry)]
    except NotADirectoryError as error:
        raise InputError(
            "a folder is needed, and this is a file", where=[folder], fix="name the folder it lies in"
        ) from error
    except OSError as error:
        raise InputError(
            f"cannot read the folder: {error.strerror}", where=[folder], fix=f"paths start at {Path.cwd()}"
        ) from error
    return [folder / name for name in sorted(names) if split_name(name)[1].lower() in suffixes]


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a file or a link that leads nowhere.

    Reading such a link fails, so that the message names it and only its item is lost.
    """
    if not entry.is_symlink():
        return entry.is_file()
    try:
        return stat.S_ISREG(entry.stat().st_mode)
    except OSError:
        return True


def list_folders(folder: Path) -> list[Path]:
    """Return the sub-folders of ``folder``, sorted by name, without hidden ones; each may hold the frames of a clip."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def find_media(
    folder: Path, *, images: bool = True, videos: bool = False, shared: str = "one mask and one cache entry"
) -> list[MediaFile]:
    """Return the pictures, the videos, or both, of ``folder``, without the masks that OneTrainer keeps beside them.

    Args:
        folder: where to look; sub-folders are not entered.
        images, videos: which kinds to look for; at least one.
        shared: what two files with one key would share, for the error message.

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
    refuse_collisions(group_by_key(paths), shared=shared)
    return [MediaFile(item_key(path.name), path.stem, path, _kind(path)) for path in paths]


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
    what = "1 file is of a kind that is" if len(unread) == 1 else f"{len(unread)} files are of kinds that are"
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
            groups.setdefault(folder_key(path), []).append(path)
    refuse_collisions(groups, shared="one item as its masks")
    return {key: group[0] for key, group in groups.items()}


def _suffixes(*sets: frozenset[str] | None) -> frozenset[str]:
    """Join the sets of suffixes; None is a kind that is not looked for."""
    return frozenset().union(*(suffixes for suffixes in sets if suffixes is not None))


def _either(*words: str) -> str:
    """Join the words that are not empty: ``pictures or videos``."""
    return " or ".join(word for word in words if word)


def _kind(path: Path) -> MediaKind:
    return MediaKind.VIDEO if path.suffix.lower() in VIDEO_SUFFIXES else MediaKind.IMAGE
