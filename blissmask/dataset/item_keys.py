"""Item keys: a photo, its mask and its caption belong together when their names have the same key."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from blissmask.errors import InputError

HEIF_SUFFIXES = frozenset({".heic", ".heif", ".hif"})
"""Photos of phones and cameras, read by an extra package, which ``media/picture_file.py`` names where it is missing."""
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".avif"}) | HEIF_SUFFIXES
VIDEO_SUFFIXES = frozenset({".mp4", ".webm", ".avi", ".mkv", ".mov", ".flv", ".wmv", ".m4v", ".mpg", ".mpeg"})
UNREAD_IMAGE_SUFFIXES = frozenset(
    # `.jfif` is what Windows calls a JPEG that was saved from a browser.
    {".tif", ".tiff", ".jxl", ".gif", ".apng", ".jfif", ".jpe", ".mpo", ".jp2", ".tga", ".ppm", ".exr", ".psd"}
    | {".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2", ".pef", ".srw"}
)
UNREAD_VIDEO_SUFFIXES = frozenset(
    {".ts", ".mts", ".m2ts", ".3gp", ".3g2", ".ogv", ".vob", ".mxf", ".asf", ".divx", ".f4v", ".qt", ".gif", ".apng"}
)
"""Both are formats that are not read. Files of them are warned of: the user may expect that they are used."""
MASK_LABEL = "-masklabel"
"""OneTrainer keeps the mask of ``NAME.jpg`` beside it, as ``NAME-masklabel.png``."""
LABELS = (MASK_LABEL, "-condlabel")
"""Ends of the stems of OneTrainer's pictures that are no photos."""
_RENAME = "rename or remove one of each; names are compared without suffix, case and accent form"


def item_key(name: str) -> str:
    """Return the key of a file name: its stem, in Unicode composed form and case-folded.

    So ``Kyla.JPG`` and ``kyla.png`` are one key, and so are the two ways to write an accented letter.
    """
    return stem_key(split_name(name)[0])


def split_name(name: str) -> tuple[str, str]:
    """Return the stem and the suffix of a file name as ``Path`` splits it.

    It takes a tenth of the time of ``Path``, which is felt in data sets of tens of thousands of files.
    """
    stem, _, suffix = name.rpartition(".")
    return (stem, f".{suffix}") if stem and suffix else (name, "")


def stem_key(stem: str) -> str:
    """Return the key of a stem, as :func:`item_key` does for a file name."""
    return unicodedata.normalize("NFC", stem).casefold()


def zoom_stem(stem: str, kind: str) -> str:
    """Return the stem of a zoom's cache files: ``kyla007-face``."""
    return f"{stem}-{kind}"


def folder_key(path: Path) -> str:
    """Return the key of a folder of frames; a dot in its name does not begin a suffix."""
    return stem_key(path.name)


def refuse_collisions(paths_by_key: Mapping[str, Sequence[Path]], *, shared: str, fix: str = _RENAME) -> None:
    """Raise InputError that lists every group of files with the same key.

    Args:
        paths_by_key: the files of each key.
        shared: what files with the same key would share, e.g. "one mask".
        fix: what to do about it.
    """
    groups = [paths for paths in paths_by_key.values() if len(paths) > 1]
    if groups:
        files = "two files" if len(groups) == 1 else f"{len(groups)} groups of files"
        raise InputError(
            f"{files} would share {shared}",
            where=[path for group in groups for path in group],
            fix=fix,
        )


def group_by_key(paths: Iterable[Path]) -> dict[str, list[Path]]:
    """Return key -> the files with that key, in the order of ``paths``."""
    groups: dict[str, list[Path]] = {}
    for path in paths:
        groups.setdefault(item_key(path.name), []).append(path)
    return groups
