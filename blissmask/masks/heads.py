"""Heads in a tier map: which of them the frame cuts. Values in, values out.

Shapes: H and W rows and columns, h and w those that are looked at; N connected parts.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from blissmask.masks.tiers import TIERS, WeightTier

_LONGEST = 1024
"""Rows or columns that are looked at; a head that counts has many pixels at this size."""
_FACE = TIERS.index(WeightTier.FACE)
_HEAD_TIERS = [TIERS.index(tier) for tier in (WeightTier.FACE, WeightTier.HAIR)]

SMALL_HEAD = 0.05
"""A part with less than this share of the pixels of all heads is a strand of hair or somebody far away; by eye."""

CUT = 0.25
"""A head is cut where it lies along the frame for this share of its side, the root of its pixels.

Looked at on 55 photos: five have heads that touch the frame; all of these are cut and lie along it for 0.38 to 1.2.
The limit leaves room for a strand of hair.
"""


def cut_heads(tiers_HW: NDArray[np.uint8]) -> int:
    """Return how many heads the frame cuts.

    A head is a connected part of face and hair. On the last row a face alone counts: long hair runs out of the picture
    there without anything of the head being missing. Pictures with black bars are given without them.

    Args:
        tiers_HW: positions in ``TIERS``.
    """
    step = max(1, max(tiers_HW.shape) // _LONGEST)
    tiers_hw = tiers_HW[::step, ::step]
    head_hw = np.isin(tiers_hw, _HEAD_TIERS)
    frame_hw = np.ones_like(head_hw)
    frame_hw[1:-1, 1:-1] = False
    frame_hw[-1] = tiers_hw[-1] == _FACE
    if not (head_hw & frame_hw).any():
        return 0
    count, parts_hw, stats_N5, _ = cv2.connectedComponentsWithStats(head_hw.view(np.uint8), connectivity=8)
    # OpenCV's first entry counts what is in no part.
    areas_N = stats_N5[1:, cv2.CC_STAT_AREA]
    along_N = np.bincount(parts_hw[frame_hw], minlength=count)[1:]
    is_head_N = areas_N >= SMALL_HEAD * areas_N.sum()
    return int(np.count_nonzero(is_head_N & (along_N >= CUT * np.sqrt(areas_N))))
