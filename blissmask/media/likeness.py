"""Find the same picture twice: a perceptual hash, which survives another size, format or quality.

h, w: rows and columns of the small picture; 3 = RGB.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

_SIDE = 8
"""The hash compares neighbours in a grid of 8 x 8, to the right and below: 128 bits."""
_HASH_BYTES = 2 * _SIDE * _SIDE // 8
_COLOUR_SIDE = 4
"""Beside the hash, the colours of 4 x 4 fields are compared."""
_BANDS = 8
"""Pieces of the hash. Two hashes that differ in fewer bits than there are pieces agree in one piece at least."""

MOST_BITS = 7
"""Hashes that differ in more bits are of two pictures.

Measured on 12 photos: copies at a quarter of the size, as JPEG of quality 40, at half the size and quality 20, or 5
percent brighter differ in at most 6 bits, any two of the photos in at least 46.
"""
MOST_COLOUR = 12.0
"""Mean difference of the 16 colours, in grey levels; tells smooth pictures apart, whose hashes may agree.

The same copies differ by at most 9.3.
"""
_FLAT = 4.0
"""Standard deviation in grey levels below which a picture has no likeness: its hash would be noise."""

_TEXT = re.compile(r"[0-9a-f]{128}")


class Likeness(bytes):
    """What a picture looks like: :attr:`bits` and :attr:`colours`, as bytes, since plans hold them for every photo."""

    __slots__ = ()

    @property
    def bits(self) -> bytes:
        """Return 16 bytes: which neighbours are brighter."""
        return bytes(self[:_HASH_BYTES])

    @property
    def colours(self) -> bytes:
        """Return 48 bytes: the mean colours of 4 x 4 parts."""
        return bytes(self[_HASH_BYTES:])

    def __str__(self) -> str:
        """Return the content in hexadecimal."""
        return self.hex()

    @classmethod
    def parse(cls, text: str) -> Likeness | None:
        """Return the likeness in ``text``, or None when it is not such a text."""
        match = _TEXT.fullmatch(text)
        return cls(bytes.fromhex(text)) if match else None

    def is_alike(self, other: Likeness) -> bool:
        """Return whether both are of one picture."""
        ours, theirs = int.from_bytes(self.bits, "big"), int.from_bytes(other.bits, "big")
        if (ours ^ theirs).bit_count() > MOST_BITS:
            return False
        first, second = (np.frombuffer(colours, np.uint8).astype(np.int16) for colours in (self.colours, other.colours))
        return float(np.abs(first - second).mean()) <= MOST_COLOUR


def likeness_of(rgb_hw3: NDArray[np.uint8]) -> Likeness | None:
    """Return what a picture looks like; None for pictures without anything to tell them by."""
    grey_hw = cv2.cvtColor(rgb_hw3, cv2.COLOR_RGB2GRAY)
    grid = cv2.resize(grey_hw, (_SIDE + 1, _SIDE + 1), interpolation=cv2.INTER_AREA).astype(np.int16)
    if float(grid.std()) < _FLAT:
        return None
    rightwards, downwards = grid[:-1, 1:] > grid[:-1, :-1], grid[1:, :-1] > grid[:-1, :-1]
    colours = cv2.resize(rgb_hw3, (_COLOUR_SIDE, _COLOUR_SIDE), interpolation=cv2.INTER_AREA)
    return Likeness(np.packbits(np.stack([rightwards, downwards])).tobytes() + colours.tobytes())


def find_copies(likenesses: Sequence[Likeness | None]) -> dict[int, int]:
    """Return position -> position of the first picture before it that looks the same.

    Only pictures that agree in a piece of their hash are compared, so the time grows with the number of pictures, and
    not with its square.
    """
    copies: dict[int, int] = {}
    first_with: dict[tuple[int, bytes], list[int]] = {}
    for position, likeness in enumerate(likenesses):
        if likeness is None:
            continue
        pieces = list(_pieces(likeness))
        candidates = sorted({before for piece in pieces for before in first_with.get(piece, ())})
        for before in candidates:
            original = likenesses[before]
            if original is not None and likeness.is_alike(original):
                copies[position] = before
                break
        else:
            # Copies are compared with their original alone.
            for piece in pieces:
                first_with.setdefault(piece, []).append(position)
    return copies


def _pieces(likeness: Likeness) -> Iterable[tuple[int, bytes]]:
    size = len(likeness.bits) // _BANDS
    return ((number, likeness.bits[number * size : (number + 1) * size]) for number in range(_BANDS))
