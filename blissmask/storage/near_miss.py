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
_DRIVES = Path("/mnt")
"""Where WSL has the drives of Windows."""


def near_miss(path: Path, *, folders: bool = False, same_words: bool = False) -> str:
    """Return a question that names what was meant, e.g. ``did you mean `photos`?``, or where WSL has a Windows path.

    Empty where something is there, or where nothing, or more than one thing, has nearly the same name.

    Args:
        path: what was named; a folder on the way to it may be the one that is misspelt.
        folders: whether a folder is needed.
        same_words: whether only capitals, separators and the ending of weights may differ: files and folders of models
            that differ by a digit, or by ``high`` and ``low``, are other models.
    """
    try:
        if in_wsl := _in_wsl(path):
            return in_wsl
        meant = _meant(path, _same_words if same_words else _likeness, folders=folders)
    except (OSError, ValueError):
        # Where looking is forbidden, or at a name that no file can have, there is nothing to propose.
        return ""
    return f"did you mean `{meant}`?" if meant else ""


def near_miss_and(path: Path, more: str, *, folders: bool = False, same_words: bool = False) -> str:
    """Return :func:`near_miss`, if there is any, and ``more`` after it."""
    meant = near_miss(path, folders=folders, same_words=same_words)
    if not meant:
        return more
    return f"{meant} {more}" if meant.endswith("?") else f"{meant}; {more}"


def _in_wsl(path: Path) -> str:
    """Return where WSL has a path of Windows; empty for others: a file may be called ``a:b.png``."""
    windows = None if os.name == "nt" else _OF_WINDOWS.fullmatch(str(path))
    if windows is None:
        return ""
    drive, rest = _DRIVES / windows[1].lower(), windows[2].replace("\\", "/")
    if "/" in rest:
        return f"in WSL this is `{drive}/{rest.strip('/')}`"
    if not drive.is_dir():
        return ""
    # Without quotes a shell takes each backslash for itself.
    return f"in WSL `{windows[1]}:\\` is `{drive}/`, and `/` stands for each `\\`"


def _meant(path: Path, likeness_to: Callable[[str], Callable[[str], float]], *, folders: bool) -> Path | None:
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
    alike = likeness_to(missing.name)
    scored = [(alike(other.name), other) for other in beside]
    near = [(score, other / rest) for score, other in scored if score >= _LIKE - _LEAD]
    there = sorted((score, found) for score, found in near if _fits(found, folders=folders))
    if not there or there[-1][0] < _LIKE:
        return None
    if len(there) > 1 and there[-1][0] - there[-2][0] < _LEAD:
        return None
    return there[-1][1]


def _fits(path: Path, *, folders: bool) -> bool:
    return path.is_dir() if folders else path.exists()


def _same_words(name: str) -> Callable[[str], float]:
    """Return what is 1 for names of weights that have the same letters and digits as ``name``, and else 0."""
    words = _words(name)
    return lambda other: float(_words(other) == words)


def _words(name: str) -> str:
    return _SEPARATORS.sub("", _ENDING.sub("", name.casefold()))


def _likeness(name: str) -> Callable[[str], float]:
    """Return what tells how alike another name is to ``name``, 0 to 1.

    An ending that both have makes ``a.png`` and ``b.png`` no more alike.
    """
    name = name.casefold()
    stem, dot, suffix = name.rpartition(".")
    # A folder may hold a million photos: what is counted of the second text is counted once.
    of_name, of_stem = difflib.SequenceMatcher(b=name), difflib.SequenceMatcher(b=stem)

    def alike(other: str) -> float:
        matcher, other = of_name, other.casefold()
        other_stem, _, other_suffix = other.rpartition(".")
        if dot and suffix == other_suffix:
            matcher, other = of_stem, other_stem
        matcher.set_seq1(other)
        # Bounds that cost little, the cheapest first.
        if any(bound() < _LIKE - _LEAD for bound in (matcher.real_quick_ratio, matcher.quick_ratio)):
            return 0.0
        return matcher.ratio()

    return alike
