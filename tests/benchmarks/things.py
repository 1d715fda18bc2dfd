"""Things with known outlines, put beside, behind, in front of, between and apart from the people of a photo.

Things near people are what mask networks take for clothes: smooth, saturated, well lit. Everything here follows from a seed, so
that two runs draw the same scenes.

H, W: rows and columns of the scene; 3 = RGB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle, islice, product

import cv2
import numpy as np
from numpy.typing import NDArray

Outline = Callable[[np.random.Generator], NDArray[np.float64]]
"""Draws a polygon (N, 2) in a square of side 1 around (0, 0)."""

PLACES = ("beside", "behind", "in front", "between", "apart")
SURFACES = ("plain", "stripes", "checks", "grain")
SHADING = (0.75, 1.15)
"""Brightness of a thing from its dark to its lit side; a room with a window has about as much."""

EDGE_BLUR = 0.8
"""Sigma in pixels by which a thing's edge is softened, as lenses and JPEG do."""

GRAIN = 4.0
"""Standard deviation of the noise on a thing, 0..255; cameras indoors have about as much."""


@dataclass(frozen=True)
class Scene:
    """One composed photo.

    Attributes:
        name: kind, place and surface of its thing.
        rgb_HW3: uint8.
        thing_HW: bool, where the thing is seen.
        person_HW: bool, where people are seen.
    """

    name: str
    rgb_HW3: NDArray[np.uint8]
    thing_HW: NDArray[np.bool_]
    person_HW: NDArray[np.bool_]


def slab(chance: np.random.Generator) -> NDArray[np.float64]:
    """Return a rounded rectangle: a tablet, a phone, a tray."""
    half = np.array([0.5, chance.uniform(0.28, 0.45)])
    turns = np.linspace(0, 2 * np.pi, 80, endpoint=False)
    # A superellipse of degree 6 is a rectangle with round corners.
    corner = np.stack([np.cos(turns), np.sin(turns)], axis=1)
    return np.sign(corner) * np.abs(corner) ** (2 / 6) * half


def canopy(chance: np.random.Generator) -> NDArray[np.float64]:
    """Return the top of an umbrella: half an ellipse with a scalloped rim."""
    over = np.linspace(np.pi, 2 * np.pi, 40)
    top = np.stack([0.5 * np.cos(over), 0.1 + 0.45 * np.sin(over)], axis=1)
    along = np.linspace(0.5, -0.5, 40)
    ribs = chance.integers(4, 8)
    rim = np.stack([along, 0.1 - 0.06 * np.abs(np.sin((along + 0.5) * np.pi * ribs))], axis=1)
    return np.concatenate([top, rim])


def cloth(chance: np.random.Generator) -> NDArray[np.float64]:
    """Return a hanging cloth: a tablecloth, a flag, a towel, with waves on two sides."""
    along = np.linspace(-0.5, 0.5, 40)
    wave = chance.uniform(0.03, 0.07) * np.sin(along * np.pi * 2 * chance.uniform(1.5, 4) + chance.uniform(0, 6))
    top = np.stack([along, wave - 0.35], axis=1)
    return np.concatenate([top, (np.stack([along, 0.45 - wave], axis=1))[::-1]])


def panel(chance: np.random.Generator) -> NDArray[np.float64]:
    """Return a rectangle in perspective: a monitor, a poster, the back of a chair."""
    lean = chance.uniform(-0.08, 0.08)
    return np.array([[-0.5, -0.35 - lean], [0.5, -0.35 + lean], [0.5, 0.35 - lean], [-0.5, 0.35 + lean]])


def bar(chance: np.random.Generator) -> NDArray[np.float64]:
    """Return something long and thin: a post, a rail, a rolled mat."""
    thick = chance.uniform(0.05, 0.1)
    return np.array([[-0.5, -thick], [0.5, -thick], [0.5, thick], [-0.5, thick]])


def bag(chance: np.random.Generator) -> NDArray[np.float64]:
    """Return a bag: a trapezium with a handle."""
    wide, narrow = 0.5, chance.uniform(0.3, 0.42)
    arch = np.linspace(np.pi, 2 * np.pi, 20)
    handle = np.stack([0.5 * narrow * np.cos(arch), -0.2 + 0.3 * np.sin(arch)], axis=1)
    body = np.array([[narrow, -0.2], [wide, 0.45], [-wide, 0.45], [-narrow, -0.2]])
    return np.concatenate([handle, body])


KINDS: dict[str, Outline] = {"slab": slab, "canopy": canopy, "cloth": cloth, "panel": panel, "bar": bar, "bag": bag}


def scenes(people: list[tuple[NDArray[np.uint8], NDArray[np.bool_]]], *, count: int, seed: int) -> Iterator[Scene]:
    """Yield ``count`` scenes; kinds and places take turns, colours, sizes and surfaces are drawn.

    Args:
        people: photos (RGB) and where their people are.
        count: how many.
        seed: of everything that is drawn.
    """
    chance = np.random.default_rng(seed)
    # In steps that share no factor with the number of pairs, so that few scenes show every kind and place.
    pairs = list(product(KINDS, PLACES))
    order = [pairs[(7 * number) % len(pairs)] for number in range(len(pairs))]
    for (kind, place), (rgb_HW3, person_HW) in zip(islice(cycle(order), count), cycle(people), strict=False):
        if place == "between":
            rgb_HW3, person_HW = _side_by_side(rgb_HW3, person_HW)
        yield _compose(kind, place, rgb_HW3, person_HW, chance)


def _side_by_side(
    rgb_HW3: NDArray[np.uint8], person_HW: NDArray[np.bool_]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return the photo beside its mirror image, as two people in a row."""
    return (
        np.concatenate([rgb_HW3, rgb_HW3[:, ::-1]], axis=1),
        np.concatenate([person_HW, person_HW[:, ::-1]], axis=1),
    )


def _compose(
    kind: str, place: str, rgb_HW3: NDArray[np.uint8], person_HW: NDArray[np.bool_], chance: np.random.Generator
) -> Scene:
    height, width = person_HW.shape
    side = chance.uniform(0.3, 0.5) * min(height, width)
    centre = _centre(place, person_HW, side, chance)
    turn = chance.uniform(-0.6, 0.6)
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    polygon = KINDS[kind](chance) @ turned.T * side + centre
    cover = np.zeros((height, width), np.uint8)
    cv2.fillPoly(cover, [polygon.round().astype(np.int32)], 255)
    surface = str(chance.choice(SURFACES))
    paint = _surface(surface, (height, width), side, chance)
    share = cv2.GaussianBlur(cover, (0, 0), EDGE_BLUR).astype(np.float32)[..., None] / 255
    thing_HW = cover > 0
    if place in ("behind", "apart"):
        share = share * (1 - cv2.GaussianBlur(person_HW.astype(np.float32), (0, 0), EDGE_BLUR))[..., None]
        thing_HW = thing_HW & ~person_HW
    rgb = rgb_HW3 * (1 - share) + paint * share
    seen_person = person_HW & ~thing_HW
    name = f"{kind} {place}, {surface}"
    return Scene(name, np.clip(rgb, 0, 255).astype(np.uint8), thing_HW, seen_person)


def _centre(place: str, person_HW: NDArray[np.bool_], side: float, chance: np.random.Generator) -> NDArray[np.float64]:
    """Return where the middle of the thing lies, (x, y)."""
    height, width = person_HW.shape
    rows, columns = np.nonzero(person_HW)
    left, right, top, bottom = columns.min(), columns.max(), rows.min(), rows.max()
    low = chance.uniform(0.45, 0.9)
    y = top + low * (bottom - top)
    if place == "in front":
        return np.array([columns.mean(), top + chance.uniform(0.75, 0.95) * (bottom - top)])
    if place == "between":
        return np.array([width / 2, y])
    if place == "apart":
        # The corner of the photo that is farthest from people.
        corners = np.array(
            [[x, y] for x in (0.6 * side, width - 0.6 * side) for y in (0.5 * side, height - 0.5 * side)]
        )
        away = cv2.distanceTransform((~person_HW).astype(np.uint8), cv2.DIST_L2, 5)
        return corners[int(np.argmax([away[int(y), int(x)] for x, y in corners]))]
    x = left if left > width - right else right
    outwards = -1 if x == left else 1
    distance = 0.1 if place == "behind" else 0.45
    return np.array([x + outwards * distance * side, y])


def _surface(kind: str, size_hw: tuple[int, int], side: float, chance: np.random.Generator) -> NDArray[np.float32]:
    """Return a painted surface as large as the scene, float32 (H, W, 3), 0..255."""
    height, width = size_hw
    hue, dark = chance.uniform(0, 180), chance.random() < 0.3
    first = _colour(hue, chance, dark=dark)
    second = _colour(hue + chance.uniform(20, 90), chance, dark=dark)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    along, across = (np.sin(2 * np.pi * places / (side / chance.uniform(3, 8))) for places in (rows, columns))
    patterns = {"stripes": along > 0, "checks": (along > 0) ^ (across > 0)}
    second_here = patterns.get(kind, np.zeros(size_hw, bool))
    paint = np.where(second_here[..., None], second, first).astype(np.float32)
    lit = np.linspace(*SHADING, width, dtype=np.float32)[None, :, None]
    noise = chance.normal(0, GRAIN * (4 if kind == "grain" else 1), (height, width, 1))
    return (paint * lit + noise).astype(np.float32)


def _colour(hue: float, chance: np.random.Generator, *, dark: bool) -> NDArray[np.float32]:
    value = chance.uniform(20, 70) if dark else chance.uniform(120, 235)
    pixel = np.array([[[hue % 180, chance.uniform(90, 240), value]]], np.uint8)
    return cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0].astype(np.float32)
