"""Find the same picture twice: a perceptual hash, which survives another size, format or quality.

h, w: rows and columns of the small picture; 3 = RGB.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class _Limits:
    """How far two likenesses of one picture are apart at most.

    Attributes:
        bits: of the hash.
        colour: mean difference of the 16 colours, in grey levels, once the brighter picture is as dark as the other. It
            tells smooth pictures apart, whose hashes may agree. Below a mean of :data:`_MIDDLE` it is less in
            proportion, since colours of the dark lie close together.
    """

    bits: int
    colour: float


_COPY = _Limits(7, 12.0)
"""Measured on 12 photos: copies at a quarter of the size, as JPEG of quality 40, at half the size and quality 20, or 5
percent brighter differ in at most 6 bits and 9.3 grey levels, any two of the photos in at least 46 bits. Of 118 photos
of many data sets 112 are known 20 % brighter, and 118 darker; the nearest two that are of different people, in one
studio, differ in 10 bits."""
_MIRRORED = _Limits(12, 4.0)
"""Bits of a mirror image are partly guessed (:meth:`Likeness.mirrored`), its colours are not. Of the same 118 photos 98
are known in a mirror image of half the size and quality 60; two different ones, or a symmetrical one and itself, differ
in at least 17 bits."""
_MIDDLE = 128
"""The grey level in the middle. Above it limits stay as they are: a share of bright colours would let other hues by."""
_ROUNDING = 1.5
"""Difference in grey levels that limits of colour allow at least. JPEG of quality 40 changes four nearly black label
maps among the 118 pictures, whose mean is 1 to 2, by up to 1.25; the darkest photo has a mean of 23."""
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

    def is_alike(self, other: Likeness, *, limits: _Limits = _COPY) -> bool:
        """Return whether both are of one picture."""
        ours, theirs = int.from_bytes(self.bits, "big"), int.from_bytes(other.bits, "big")
        if (ours ^ theirs).bit_count() > limits.bits:
            return False
        pair = [np.frombuffer(colours, np.uint8).astype(np.float32) for colours in (self.colours, other.colours)]
        darker, brighter = sorted(pair, key=lambda colours: float(colours.sum()))
        # Sums of 0 are of two black pictures.
        gain = darker.sum() / max(1.0, brighter.sum())
        limit = max(_ROUNDING, limits.colour * min(1.0, float(darker.mean()) / _MIDDLE))
        return float(np.abs(brighter * gain - darker).mean()) <= limit

    def mirrored(self) -> Likeness:
        """Return the likeness of the picture's mirror image, as nearly as it follows from this one.

        Bits of the column that the hash leaves out are taken from the next one; where neighbours are equal, as in a
        white background, bits are wrong.
        """
        rightwards, downwards = np.unpackbits(np.frombuffer(self.bits, np.uint8)).reshape(2, _SIDE, _SIDE)
        inner = downwards[:, :0:-1]
        turned = np.stack([1 - rightwards[:, ::-1], np.hstack([inner[:, :1], inner])])
        colours = np.frombuffer(self.colours, np.uint8).reshape(_COLOUR_SIDE, _COLOUR_SIDE, 3)
        return Likeness(np.packbits(turned).tobytes() + colours[:, ::-1].tobytes())


def likeness_of(rgb_hw3: NDArray[np.uint8]) -> Likeness | None:
    """Return what a picture looks like; None for pictures without anything to tell them by."""
    grey_hw = cv2.cvtColor(rgb_hw3, cv2.COLOR_RGB2GRAY)
    grid = cv2.resize(grey_hw, (_SIDE + 1, _SIDE + 1), interpolation=cv2.INTER_AREA).astype(np.int16)
    if float(grid.std()) < _FLAT:
        return None
    rightwards, downwards = grid[:-1, 1:] > grid[:-1, :-1], grid[1:, :-1] > grid[:-1, :-1]
    colours = cv2.resize(rgb_hw3, (_COLOUR_SIDE, _COLOUR_SIDE), interpolation=cv2.INTER_AREA)
    return Likeness(np.packbits(np.stack([rightwards, downwards])).tobytes() + colours.tobytes())


@dataclass(frozen=True, slots=True)
class Copy:
    """A picture that is there twice.

    Attributes:
        original: position of the first picture that looks the same.
        is_mirrored: whether it looks so in its mirror image.
    """

    original: int
    is_mirrored: bool = False


def find_copies(likenesses: Sequence[Likeness | None]) -> dict[int, Copy]:
    """Return position -> the first picture before it that looks the same, as it is or else mirrored.

    Only pictures that agree in a piece of their hash are compared, so the time grows with the number of pictures, and
    not with its square.
    """
    copies: dict[int, Copy] = {}
    seen = _Seen(likenesses)
    for position, likeness in enumerate(likenesses):
        if likeness is None:
            continue
        original, is_mirrored = seen.first_like(likeness, _COPY), False
        if original is None:
            original, is_mirrored = seen.first_like(likeness.mirrored(), _MIRRORED), True
        if original is None:
            # Copies are compared with their original alone.
            seen.add(position, likeness)
        else:
            copies[position] = Copy(original, is_mirrored)
    return copies


class _Seen:
    """The different pictures so far, by the pieces of their hashes."""

    def __init__(self, likenesses: Sequence[Likeness | None]) -> None:
        self._likenesses = likenesses
        self._with: dict[tuple[int, bytes], list[int]] = {}

    def add(self, position: int, likeness: Likeness) -> None:
        for piece in _pieces(likeness):
            self._with.setdefault(piece, []).append(position)

    def first_like(self, likeness: Likeness, limits: _Limits) -> int | None:
        for position in sorted({before for piece in _pieces(likeness) for before in self._with.get(piece, ())}):
            original = self._likenesses[position]
            if original is not None and likeness.is_alike(original, limits=limits):
                return position
        return None


def _pieces(likeness: Likeness) -> Iterable[tuple[int, bytes]]:
    size = len(likeness.bits) // _BANDS
    return ((number, likeness.bits[number * size : (number + 1) * size]) for number in range(_BANDS))
