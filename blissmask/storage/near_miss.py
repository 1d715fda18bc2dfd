"""What somebody meant who named a file or a folder that is not there: what lies beside it and is called nearly so."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable
from pathlib import Path

_OF_WINDOWS = re.compile(r"([A-Za-z]):(.+)")
"""A path of Windows, on another system: in WSL, its drives are folders."""
_LIKE = 0.7
"""How alike two names are at least, as ``difflib`` counts: ``fotos`` and ``photos`` are 0.73, ``masks`` and ``photos``
0.18."""
_LEAD = 0.1
"""By how much a name is more alike than the next one: ``photos`` for ``photo`` beside ``photo_old`` is 0.19 ahead, and
of numbered files none is ahead."""
_ENDING = re.compile(r"\.(safetensors|sft|ckpt|pth?|bin)$")
"""Endings of files of weights; what follows another dot may be a version, as in ``wan_2.1``."""
_SEPARATORS = re.compile(r"[\W_]+")


def near_miss(path: Path, *, folders: bool = False, same_words: bool = False) -> str:
    """Return a question that names what was meant, e.g. ``did you mean `photos`?``, or where WSL has a Windows path.

    Empty where something is there, or where nothing, or more than one thing, has nearly the same name.

    Args:
        path: what was named; a folder on the way to it may be the one that is misspelt.
        folders: whether a folder is needed.
        same_words: whether only capitals, separators and the ending of weights may differ: files of models that
            differ by a digit or by ``high`` and ``low`` are other models.
    """
    if os.name != "nt" and (windows := _OF_WINDOWS.fullmatch(str(path))):
        drive, rest = windows[1].lower(), windows[2].replace("\\", "/").strip("/")
        if "/" in rest:
            return f"in WSL this is `/mnt/{drive}/{rest}`"
        # Without quotes a shell takes each backslash for itself.
        return f"in WSL `{windows[1]}:\\` is `/mnt/{drive}/`, and `/` stands for each `\\`"
    try:
        meant = _meant(path, _same_words if same_words else _likeness, folders=folders)
    except (OSError, ValueError):
        # Where looking is forbidden, or at a name that no file can have, there is nothing to propose.
        return ""
    return f"did you mean `{meant}`?" if meant else ""


def near_miss_and(path: Path, more: str, *, folders: bool = False) -> str:
    """Return :func:`near_miss`, if there is any, and ``more`` after it."""
    meant = near_miss(path, folders=folders)
    if not meant:
        return more
    return f"{meant} {more}" if meant.endswith("?") else f"{meant}; {more}"


def _meant(path: Path, alike: Callable[[str, str], float], *, folders: bool) -> Path | None:
    if path.exists() or path.is_symlink():
        return None
    missing = path
    while not missing.parent.exists():
        if missing == missing.parent:
            return None
        missing = missing.parent
    rest = path.relative_to(missing)
    hidden = missing.name.startswith(".")
    beside = [other for other in missing.parent.iterdir() if other.name.startswith(".") == hidden]
    scored = [(alike(missing.name, other.name), other) for other in beside]
    near = [(score, other / rest) for score, other in scored if score >= _LIKE - _LEAD]
    there = sorted((score, found) for score, found in near if _fits(found, folders=folders))
    if not there or there[-1][0] < _LIKE:
        return None
    if len(there) > 1 and there[-1][0] - there[-2][0] < _LEAD:
        return None
    return there[-1][1]


def _fits(path: Path, *, folders: bool) -> bool:
    return path.is_dir() if folders else path.exists()


def _same_words(name: str, other: str) -> float:
    """Return 1 where two names of weights have the same letters and digits, and else 0."""
    return float(_words(name) == _words(other))


def _words(name: str) -> str:
    return _SEPARATORS.sub("", _ENDING.sub("", name.casefold()))


def _likeness(name: str, other: str) -> float:
    """Return how alike two names are, 0 to 1; an ending that both have makes ``a.png`` and ``b.png`` no more alike."""
    name, other = name.casefold(), other.casefold()
    stem, dot, suffix = name.rpartition(".")
    other_stem, _, other_suffix = other.rpartition(".")
    if dot and suffix == other_suffix:
        name, other = stem, other_stem
    matcher = difflib.SequenceMatcher(a=name, b=other)
    # Bounds that cost little: a folder may hold a million photos.
    if min(matcher.real_quick_ratio(), matcher.quick_ratio()) < _LIKE - _LEAD:
        return 0.0
    return matcher.ratio()
