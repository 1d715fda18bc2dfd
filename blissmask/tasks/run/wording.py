"""How tasks write numbers and sizes, how they name items, and how they say that two pictures differ in shape.

Sizes are (width, height).
"""

from __future__ import annotations

from collections.abc import Sequence

from blissmask.dataset.item import DatasetItem
from blissmask.errors import Problem
from blissmask.masks.resize import ASPECT_TOLERANCE, aspect_difference, same_framing
from blissmask.plurals import counted, verb

_PLAIN = (1e-3, 1e3)
"""Numbers between these are written without a power of ten."""


def number_text(value: float | None) -> str:
    """Return a measured number, such as a loss, with three digits that count; nothing for none."""
    if value is None:
        return ""
    if value == 0 or _PLAIN[0] <= abs(value) < _PLAIN[1]:
        return f"{value:#.3g}".rstrip(".")
    return f"{value:.3g}"


def pixels_text(size_wh: tuple[int, int]) -> str:
    """Return the size of a picture as people write it: ``1024x1536``."""
    return f"{size_wh[0]}x{size_wh[1]}"


def bytes_text(byte_count: float) -> str:
    """Return a number of bytes as people write it: ``2.1 GiB``."""
    for unit in ("B", "KiB", "MiB"):
        if byte_count < 1024:
            return f"{byte_count:.0f} {unit}" if unit == "B" else f"{byte_count:.1f} {unit}"
        byte_count /= 1024
    return f"{byte_count:.1f} GiB"


def hours_text(seconds: float) -> str:
    """Return a forecast of time, which is not known to the second: ``26 min`` or ``3.4 h``; ``9 s`` of a trial."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def absent_notice(subjects: Sequence[str], places: Sequence[str]) -> Problem:
    """Return what is to be known of masks that are empty because they show none of the subjects asked for.

    Args:
        subjects: names of [[subjects]], one at least.
        places: of the masks, one at least.
    """
    names = " and ".join(f"`{name}`" for name in subjects)
    what = f"{names} {verb(len(subjects), 'is', 'are')} not in {counted(len(places), 'item')}: the mask is empty"
    return Problem(what, tuple(places), "nothing to do where that is so: they are left out of training for the subject")


def framing_problem(first: str, first_wh: tuple[int, int], second: str, second_wh: tuple[int, int]) -> str:
    """Return the message about two pictures of different shapes, with both sizes; empty when they fit.

    Args:
        first, second: what they are called, e.g. ``image`` and ``mask``.
        first_wh, second_wh: their sizes.
    """
    if same_framing(first_wh, second_wh):
        return ""
    difference = aspect_difference(first_wh, second_wh)
    sizes = f"{first} {pixels_text(first_wh)}, {second} {pixels_text(second_wh)}"
    return f"aspect ratio differs by {difference:.1%} (limit {ASPECT_TOLERANCE:.0%}): {sizes}"


def about(items: Sequence[DatasetItem], what: str, fix: str) -> Problem:
    """Return a problem of some items (at least one), each named once; their number replaces the braces in ``what``."""
    paths = list(dict.fromkeys(str(item.media.path) for item in items))
    return Problem(what.format(counted(len(paths), "item")), tuple(paths), fix)
