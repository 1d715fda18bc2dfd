"""The outline of a sheet is told from any skin and hair that it lies on, tinted as that is."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from blissmask.media.overlay import SUBJECT_COLOUR, TIER_COLOURS, Colour, draw_labels

SKIN = ("f6ede4", "f3e7db", "f7ead0", "eadaba", "d7bd96", "a07e56", "825c43", "604134", "3a312a", "292420")
"""The Monk Skin Tone Scale (Ellis Monk, 2022, skintone.google), from the lightest to the darkest."""
HAIR = ("ffffff", "dcd0ba", "b89778", "6a4e42", "3b302a", "090806")
"""White, blond, dark blond, brown, dark brown and black."""
COLOURS = (*TIER_COLOURS.values(), SUBJECT_COLOUR)
LEAST = 7.5
"""It is 7.6 on white hair, 7.9 on the lightest skin and 16 on black hair. WCAG 2 asks 3 of lines (1.4.11), 7 of text."""


def luminance(rgb: np.ndarray) -> float:
    """Return the relative luminance of WCAG 2."""
    parts = rgb / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def contrast(one: np.ndarray, other: np.ndarray) -> float:
    """Return the contrast of two colours, 1 to 21, as WCAG 2 defines it."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def outlined(colour: str, labels: tuple[int, int]) -> np.ndarray:
    """Return a row of pixels of one colour, as it is drawn where two labels meet in its middle."""
    photo_HW3 = np.full((9, 9, 3), list(bytes.fromhex(colour)), np.uint8)
    labels_HW = np.repeat(labels, (5, 4)).astype(np.uint8)[None].repeat(9, axis=0)
    palette: list[Colour] = list(COLOURS)
    return draw_labels(photo_HW3, labels_HW, palette)[4]


@pytest.mark.parametrize("colour", [*SKIN, *HAIR])
def test_a_white_line_has_a_dark_one_beside_it(colour: str) -> None:
    found = []
    for labels in itertools.permutations(range(len(COLOURS) + 1), 2):
        before, line, after = outlined(colour, labels)[3:6]
        assert line.tolist() == [255, 255, 255]
        found.append(min(contrast(line, before), contrast(line, after)))
    assert min(found) >= LEAST
