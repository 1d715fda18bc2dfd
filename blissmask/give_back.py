"""Giving memory that a large photo needed back to the system, where a library would keep it for later."""

from __future__ import annotations

import contextlib
import ctypes
import functools

_LARGE_PHOTO = 12_000_000
"""Pixels of a photo that takes as much memory, 3 bytes each, as the planes of the working copy that it is parsed by."""


def give_back(pixels: int) -> None:
    """Give memory that was freed back to the system, where the C library keeps it for later: glibc, on Linux.

    Each thread keeps what it freed below a piece in use: with a photo of 48 megapixels 60 to 100 MB, which no other
    thread may use.

    Args:
        pixels: of the photo at hand. Nothing is given back after a small one, for which it would be asked for again
            at once: that took a tenth of the time of a photo of 512 px.
    """
    trim = _trim()
    if trim is not None and is_large(pixels):
        trim(0)


def is_large(pixels: int) -> bool:
    """Return whether a photo of so many pixels takes so much memory that what others no longer need is given back."""
    return pixels >= _LARGE_PHOTO


def can_give_back() -> bool:
    """Return whether the C library of this system gives freed memory back when it is asked to."""
    return _trim() is not None


@functools.cache
def _trim() -> ctypes._NamedFuncPointer | None:
    with contextlib.suppress(OSError, AttributeError, TypeError):
        return ctypes.CDLL(None).malloc_trim
    return None
