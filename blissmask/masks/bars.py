"""Bars around a picture: letterboxes, pillarboxes, canvases, frames of one colour.

Networks take bars for people and faces, since nothing in their training looked like them. So bars are found first, kept
out of every network, and are background in every mask.

The numbers were chosen on 222 bars of 0 to 33 % of a side, black, nearly black, grey and white, with and without
writing, at JPEG qualities of 60 to 92, around 37 photos: 211 were found to 10 pixels. The rest are thin bars full of
writing, and photos that are black along the bar. Of 47 photos without added bars, the three in which some were found
have them.

H, W: rows and columns of the whole picture; 3 = RGB.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

METHOD = 1
"""Raised whenever the same picture would get other bars; part of the settings of masks."""

SAME_COLOUR = 16
"""Largest difference of a channel, 0..255, to the colour of a bar: JPEG at quality 75 rings by 12 beside an edge."""

IN_BAR = 0.98
"""A row belongs to a bar if so many of its pixels have the bar's colour; the rest is dust and watermarks."""

WRITTEN_ROW = 0.5
"""Rows with writing may interrupt a bar if so many of their pixels have its colour: captions, clocks."""

SAMPLED_COLUMNS = 1024
"""Of so many pixels of a row the share is taken, so that a photo of 48 megapixels costs no more than a small one."""

STRAIGHT_EDGE = 0.3
EDGE_ROWS = 4
"""Within ``EDGE_ROWS`` rows behind a bar, a row has another colour in so many of its pixels at least.

A plain wall behind a person ends with a head, a bar ends with an edge along the whole picture. The share is small,
since dark scenes are partly as black as their bars.
"""

SMALLEST_CONTENT = 0.2
"""A picture whose content is a smaller share of a side has no bars: it is a drawing on a plain ground, or empty."""

SMALLEST_PICTURE = 64
"""Pixels of the shorter side; in anything smaller, a thing at the border looks like a bar."""

MOST_ROUNDS = 4
"""A canvas inside a canvas is followed so far; each round looks at all four sides."""

Box = tuple[float, float, float, float]

_Grid = TypeVar("_Grid", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Content:
    """The part of a picture inside its bars, in pixels; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int
    shape_hw: tuple[int, int]

    @property
    def has_bars(self) -> bool:
        """Return whether there is a bar at any side."""
        return (self.left, self.top, self.bottom, self.right) != (0, 0, *self.shape_hw)

    def of(self, picture_HW: NDArray[_Grid]) -> NDArray[_Grid]:
        """Return the content of a picture of this shape; further axes stay."""
        return picture_HW[self.top : self.bottom, self.left : self.right]

    def within(self, content_hw: NDArray[_Grid], *, bars: float) -> NDArray[_Grid]:
        """Return the whole picture around its content, (H, W), with the value ``bars`` in the bars."""
        if not self.has_bars:
            return content_hw
        whole_HW = np.full(self.shape_hw, bars, content_hw.dtype)
        self.of(whole_HW)[...] = content_hw
        return whole_HW

    def box_in_whole(self, box_xyxy: Box) -> Box:
        """Return a box of the content (left, top, right, bottom) in pixels of the whole picture."""
        left, top, right, bottom = box_xyxy
        return left + self.left, top + self.top, right + self.left, bottom + self.top


def find_content(rgb_HW3: NDArray[np.uint8]) -> Content:
    """Return the part of a picture inside its bars; the whole picture when it has none."""
    height, width = rgb_HW3.shape[:2]
    whole = Content(0, 0, width, height, (height, width))
    if min(height, width) < SMALLEST_PICTURE:
        return whole
    left, top, right, bottom = 0, 0, width, height
    for _ in range(MOST_ROUNDS):
        before = (left, top, right, bottom)
        inside = rgb_HW3[top:bottom, left:right]
        upper, lower = _bar(inside), _bar(inside[::-1])
        top, bottom = top + upper, bottom - lower
        if bottom - top < SMALLEST_CONTENT * height:
            return whole
        across = rgb_HW3[top:bottom, left:right].swapaxes(0, 1)
        first, last = _bar(across), _bar(across[::-1])
        left, right = left + first, right - last
        if right - left < SMALLEST_CONTENT * width:
            return whole
        if (left, top, right, bottom) == before:
            break
    return Content(left, top, right, bottom, (height, width))


def _bar(rgb_HW3: NDArray[np.uint8]) -> int:
    """Return how many rows at the top are a bar."""
    sampled = rgb_HW3[:, :: max(1, rgb_HW3.shape[1] // SAMPLED_COLUMNS)]
    colour_3 = np.median(sampled[0], axis=0)
    if _share_of(sampled[:1], colour_3)[0] < IN_BAR:
        return 0
    share = _share_of(sampled, colour_3)
    rows = np.append(share < WRITTEN_ROW, True).argmax()
    for last in np.flatnonzero(share[:rows] >= IN_BAR)[::-1]:
        behind = share[last + 1 : last + 1 + EDGE_ROWS]
        if len(behind) and 1 - behind.min() >= STRAIGHT_EDGE:
            return int(last) + 1
    return 0


def _share_of(rgb_HW3: NDArray[np.uint8], colour_3: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each row the share of its pixels that have a colour, (H,)."""
    low = np.clip(colour_3 - SAME_COLOUR, 0, 255).astype(np.uint8)
    high = np.clip(colour_3 + SAME_COLOUR, 0, 255).astype(np.uint8)
    return np.asarray(((rgb_HW3 >= low) & (rgb_HW3 <= high)).all(axis=2).mean(axis=1))
