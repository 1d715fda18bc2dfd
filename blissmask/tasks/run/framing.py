"""Whether two pictures can show the same framing, and how to say that they cannot. Sizes are (width, height)."""

from __future__ import annotations

from blissmask.masks.resize import ASPECT_TOLERANCE, aspect_difference, same_framing


def size_text(size_wh: tuple[int, int]) -> str:
    """Return a size as people write it: ``1024x1536``."""
    return f"{size_wh[0]}x{size_wh[1]}"


def framing_problem(first: str, first_wh: tuple[int, int], second: str, second_wh: tuple[int, int]) -> str:
    """Say that two pictures differ in shape, with both sizes; empty when they fit.

    Args:
        first, second: what they are called, e.g. ``image`` and ``mask``.
        first_wh, second_wh: their sizes.
    """
    if same_framing(first_wh, second_wh):
        return ""
    difference = aspect_difference(first_wh, second_wh)
    sizes = f"{first} {size_text(first_wh)}, {second} {size_text(second_wh)}"
    return f"aspect ratio differs by {difference:.1%} (limit {ASPECT_TOLERANCE:.0%}): {sizes}"
