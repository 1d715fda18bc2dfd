"""A toy world drawn by formula: people in front of places, 32x32 pixels, with exact masks and all right answers known.

A person has a face (skin, eyes, mouth, mark), hair, a coat and a position; a place is a pattern. The base model learns
the library of people and places. Subjects and rooms are held out: a LoRA has to learn them, and whatever it learned can
be recognised by colour.

B pictures, H and W pixel rows and columns (32), N templates.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from blissmask.masks.tiers import TIERS, WeightTier

SIDE = 32
SHIFTS = tuple(itertools.product((-4, -2, 0, 2, 4), (-2, 0, 2)))
"""Positions of library people: (right, down) in pixels; even, so that outlines fall on latent cells of 2x2 pixels."""
ALL_SHIFTS = tuple(itertools.product(range(-5, 5), range(-3, 3)))
"""All possible positions, off the grid included."""
Photos = Literal["plain", "off-grid", "mixed", "cut", "followed"]
"""The kind of training photos.

``off-grid``: outlines run through latent cells. ``mixed``: in every other photo a counter hides the body, so masks
differ in area. ``cut`` and ``followed``: every other photo is twice as wide as the training size, and the person stands
at a quarter of its width; a window in its middle cuts half of the head away, one that follows the mask does not.
"""

SKIN = torch.tensor([[0.98, 0.85, 0.72], [0.80, 0.60, 0.42], [0.48, 0.32, 0.22]])
EYES = torch.tensor([[0.10, 0.10, 0.12], [0.15, 0.35, 0.85], [0.10, 0.55, 0.20], [0.55, 0.10, 0.55]])
MOUTH = torch.tensor([[0.75, 0.15, 0.20], [0.95, 0.45, 0.50], [0.30, 0.10, 0.10]])
# The last rows of the following tables are held out: only subjects have them.
MARK = torch.tensor([[0.95, 0.85, 0.10], [0.10, 0.80, 0.85], [0.95, 0.95, 0.95], [0.95, 0.20, 0.75]])
HAIR = torch.tensor(
    [
        [0.08, 0.06, 0.06],
        [0.45, 0.25, 0.10],
        [0.92, 0.80, 0.35],
        [0.75, 0.25, 0.10],
        [0.65, 0.65, 0.68],
        # held out
        [0.20, 0.75, 0.45],
        [0.10, 0.25, 0.95],
        [0.98, 0.40, 0.70],
    ]
)
COAT = torch.tensor(
    [
        [0.80, 0.12, 0.12],
        [0.12, 0.25, 0.75],
        [0.12, 0.55, 0.22],
        [0.92, 0.92, 0.92],
        [0.15, 0.15, 0.17],
        [0.95, 0.80, 0.20],
        # held out
        [0.55, 0.20, 0.70],
        [0.65, 0.95, 0.05],
        [0.05, 0.75, 0.80],
    ]
)
LIBRARY_HAIR, LIBRARY_COATS, LIBRARY_PLACES, LIBRARY_PEOPLE = 5, 6, 8, 16
PHASES = (0, 4)
"""The pixel at which a pattern starts is one of these."""

FACE_FIELDS = (3, 4, 2, 3, 5, 3, 2)
"""Numbers of values of a face's seven fields.

They are skin, eye colour, eye distance, mouth, place of the mark (0 is none), colour of the mark, and hair style (1 is
long).
"""
STYLE = 6
"""Position of the hair style in a face."""

_DOWN_HW, _RIGHT_HW = torch.meshgrid(torch.arange(SIDE).float(), torch.arange(SIDE).float(), indexing="ij")


@dataclass(frozen=True, slots=True)
class Subject:
    """A person that the base model has never seen: face, hair colour, coat."""

    face: tuple[int, ...]
    hair: int
    coat: int


SUBJECTS = (
    Subject((1, 1, 1, 0, 1, 3, 1), hair=5, coat=6),
    Subject((0, 2, 0, 2, 4, 3, 1), hair=6, coat=7),
    Subject((2, 3, 1, 1, 2, 3, 0), hair=7, coat=8),
)
ROOMS = (8, 9)
"""Held-out places, the only ones that subjects are photographed in: teal and yellow zigzags, magenta and aqua rings."""
ROOM_COLOURS = {
    8: torch.tensor([[0.05, 0.50, 0.50], [0.95, 0.90, 0.10]]),
    9: torch.tensor([[0.85, 0.00, 0.55], [0.40, 1.00, 0.95]]),
}


@dataclass(frozen=True, slots=True)
class Scene:
    """The contents of each picture; every field is (B,), and ``faces`` is (B, 7).

    Attributes:
        faces: see :data:`FACE_FIELDS`.
        hair, coats, places: rows of the tables.
        phases: pixel at which the pattern of the place starts.
        light: number that is added to the colours of the place.
        right, down: position of the person.
        counter: row from which the place covers the body, as a counter would; :data:`SIDE` for none.
    """

    faces: Tensor
    hair: Tensor
    coats: Tensor
    places: Tensor
    phases: Tensor
    light: Tensor
    right: Tensor
    down: Tensor
    counter: Tensor

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.hair)


@dataclass(frozen=True, slots=True)
class Pictures:
    """Pictures in [-1, 1] and, for every pixel, the position of its tier in ``TIERS``."""

    rgb_B3HW: Tensor
    tiers_BHW: Tensor

    def __getitem__(self, chosen: slice) -> Pictures:
        """Return some of the pictures."""
        return Pictures(self.rgb_B3HW[chosen], self.tiers_BHW[chosen])


def subject_scene(
    subject: Subject, room: int, count: int, generator: torch.Generator, *, photos: Photos = "plain"
) -> Scene:
    """Return the scenes of photos of one subject, always in the same coat and room; only the position changes.

    Args:
        subject: the person.
        room: the place.
        count: number of photos.
        generator: source of the random positions.
        photos: see :data:`Photos`.
    """

    def all_of(value: int) -> Tensor:
        return torch.full((count,), value)

    right, down = _draw_shifts(count, generator)
    if photos == "off-grid":
        right, down = right - 1, down - 1
    if photos == "cut":
        # Seen from the middle of a picture of two sides, its quarters are half a side away.
        right[1::4], right[3::4] = -SIDE // 2, SIDE // 2
    if photos == "followed":
        right[1::2] = 0
    counter = all_of(SIDE)
    if photos == "mixed":
        counter[1::2] = 17 + down[1::2]
    faces = torch.tensor(subject.face).repeat(count, 1)
    no_light = torch.zeros(count)
    return Scene(
        faces=faces,
        hair=all_of(subject.hair),
        coats=all_of(subject.coat),
        places=all_of(room),
        phases=all_of(0),
        light=no_light,
        right=right,
        down=down,
        counter=counter,
    )


def library_faces() -> Tensor:
    """Return the faces of the library people, who have names, (16, 7)."""
    return _draw_faces(LIBRARY_PEOPLE, torch.Generator().manual_seed(77))


def draw_library(count: int, generator: torch.Generator, *, anonymous: float) -> tuple[Scene, Tensor]:
    """Draw scenes of people in library places.

    Args:
        count: number of scenes.
        generator: source of the random numbers.
        anonymous: share of the scenes that show a person without a name, with a random face.

    Returns:
        The scenes, and the number of the person in each, -1 for people without a name.
    """

    def one_of(limit: int) -> Tensor:
        return torch.randint(0, limit, (count,), generator=generator)

    people = one_of(LIBRARY_PEOPLE)
    nameless = torch.rand(count, generator=generator) < anonymous
    faces = torch.where(nameless[:, None], _draw_faces(count, generator), library_faces()[people])
    light = (torch.rand(count, generator=generator) - 0.5) * 0.12
    phases = torch.tensor(PHASES)[one_of(len(PHASES))]
    hair, coats, places = one_of(LIBRARY_HAIR), one_of(LIBRARY_COATS), one_of(LIBRARY_PLACES)
    right, down = _draw_shifts(count, generator)
    scene = Scene(
        faces=faces,
        hair=hair,
        coats=coats,
        places=places,
        phases=phases,
        light=light,
        right=right,
        down=down,
        counter=torch.full((count,), SIDE),
    )
    return scene, people.masked_fill(nameless, -1)


def draw(scene: Scene) -> Pictures:
    """Draw the pictures of the scenes."""
    regions = outline(scene.right, scene.down, scene.faces[:, STYLE])
    place_B3HW = draw_places(scene.places, scene.phases, scene.light)
    hidden_BHW = scene.counter.reshape(-1, 1, 1) <= _DOWN_HW
    rgb_B3HW = _paint_person(place_B3HW, scene, regions)
    rgb_B3HW = torch.where(hidden_BHW[:, None], place_B3HW, rgb_B3HW)
    tiers_BHW = torch.full(hidden_BHW.shape, TIERS.index(WeightTier.BACKGROUND))
    for tier in (WeightTier.BODY, WeightTier.HAIR, WeightTier.FACE):
        tiers_BHW[regions[tier] & ~hidden_BHW] = TIERS.index(tier)
    return Pictures(rgb_B3HW * 2 - 1, tiers_BHW)


def draw_places(places: Tensor, phases: Tensor, light: Tensor) -> Tensor:
    """Draw places without people, (B, 3, H, W) in [0, 1]; all arguments are (B,)."""
    start = phases.float().reshape(-1, 1, 1)
    y, x = (grid.expand(len(places), SIDE, SIDE) for grid in (_DOWN_HW, _RIGHT_HW))

    def half(value: Tensor) -> Tensor:
        return ((value + start) % 8 < 4).float()

    corner = torch.maximum((x - 15.5).abs(), (y - 15.5).abs())
    glow = (1 - ((x - 16) ** 2 + (y - 16) ** 2).sqrt() / 22).clamp(0, 1)
    dots = (((x + start) % 8 < 2) & ((y + start) % 8 < 2)).float()
    zigzag_first, zigzag_second = ROOM_COLOURS[8].tolist()
    ring_first, ring_second = ROOM_COLOURS[9].tolist()
    patterns = [
        _two_tone(1 - y / SIDE, (0.35, 0.60, 0.95), (0.80, 0.90, 1.00)),  # sky
        _two_tone(half(y), (0.25, 0.55, 0.25), (0.55, 0.80, 0.40)),  # green rows
        _two_tone(half(x), (0.90, 0.55, 0.15), (0.98, 0.85, 0.55)),  # orange columns
        _two_tone((half(x) - half(y)).abs(), (0.85, 0.85, 0.85), (0.55, 0.55, 0.58)),  # grey check
        _two_tone(half(x + y), (0.60, 0.35, 0.75), (0.90, 0.70, 0.90)),  # pink diagonals
        _two_tone(dots, (1.00, 1.00, 0.85), (0.08, 0.10, 0.30)),  # dots at night
        _two_tone((y < 18 + start / 2).float(), (0.75, 0.88, 0.98), (0.45, 0.32, 0.20)),  # horizon
        _two_tone(glow, (0.95, 0.35, 0.25), (0.25, 0.05, 0.05)),  # red glow
        _two_tone(half(y + ((x % 16) - 8).abs()), zigzag_first, zigzag_second),
        _two_tone(half(corner), ring_first, ring_second),
    ]
    rgb_B3HW = torch.stack(patterns, 1)[torch.arange(len(places)), places]
    return (rgb_B3HW + light.reshape(-1, 1, 1, 1)).clamp(0, 1)


def outline(right: Tensor, down: Tensor, style: Tensor) -> dict[WeightTier, Tensor]:
    """Return the pixels of face, hair and body, each (B, H, W) bool, of people at the positions (right, down)."""
    u, v = _body_coordinates(right, down)
    face = (v >= 8) & (v < 16) & (u.abs() < 4) & ~((u.abs() > 3) & ((v == 8) | (v == 15)))
    lowest = torch.where(style.reshape(-1, 1, 1) > 0, 20.0, 12.0)
    hair = (v >= 4) & (v < lowest) & (u.abs() < 6) & ~((u.abs() > 4) & (v == 4)) & ~face & ~((v >= 9) & (u.abs() < 4))
    body = (v >= 16) & (u.abs() < (2.01 + (v - 16) * 3).clamp(max=8)) & ~hair
    return {WeightTier.FACE: face, WeightTier.HAIR: hair, WeightTier.BODY: body}


def never_person() -> Tensor:
    """Return the pixels (H, W) that no person covers at any position: they are always background."""
    return ~torch.stack([_silhouette(right, down) for right, down in ALL_SHIFTS]).any(0)


def always_coat() -> Tensor:
    """Return the pixels (H, W) that are coat at every position."""
    bodies = [_long_haired_person(right, down)[WeightTier.BODY] for right, down in ALL_SHIFTS]
    coat_HW = torch.stack(bodies).all(0)
    # Neck and long hair reach down to row 21 at the lowest position.
    coat_HW[:24] = False
    return coat_HW


def _silhouette(right: int, down: int) -> Tensor:
    return torch.stack(list(_long_haired_person(right, down).values())).any(0)


def _long_haired_person(right: int, down: int) -> dict[WeightTier, Tensor]:
    """Return the pixels of face, hair and body, each (H, W) bool, of one person."""
    regions = outline(torch.tensor([right]), torch.tensor([down]), torch.ones(1))
    return {tier: region_BHW[0] for tier, region_BHW in regions.items()}


def _paint_person(rgb_B3HW: Tensor, scene: Scene, regions: dict[WeightTier, Tensor]) -> Tensor:
    u, v = _body_coordinates(scene.right, scene.down)
    skin, eyes, distance, mouth, mark_place, mark, _ = scene.faces.unbind(1)
    face = regions[WeightTier.FACE]

    def put(rgb_B3HW: Tensor, where_BHW: Tensor, colour_B3: Tensor) -> Tensor:
        return torch.where(where_BHW[:, None], colour_B3[:, :, None, None], rgb_B3HW)

    rgb_B3HW = put(rgb_B3HW, regions[WeightTier.BODY], COAT[scene.coats])
    rgb_B3HW = put(rgb_B3HW, (v >= 16) & (v < 18) & (u.abs() < 2) & regions[WeightTier.BODY], SKIN[skin])
    rgb_B3HW = put(rgb_B3HW, regions[WeightTier.HAIR], HAIR[scene.hair])
    rgb_B3HW = put(rgb_B3HW, face, SKIN[skin])
    wide = (distance > 0).reshape(-1, 1, 1)
    eye = (v >= 10) & (v < 12) & torch.where(wide, (u.abs() > 2) & (u.abs() < 4), (u.abs() > 1) & (u.abs() < 3))
    rgb_B3HW = put(rgb_B3HW, eye & face, EYES[eyes])
    rgb_B3HW = put(rgb_B3HW, (v >= 13) & (v < 15) & (u.abs() < 2), MOUTH[mouth])
    where = mark_place.reshape(-1, 1, 1)
    marked = (
        ((where == 1) & (v >= 8) & (v < 10) & (u.abs() < 1))
        | ((where == 2) & (v >= 12) & (v < 14) & (u < -2))
        | ((where == 3) & (v >= 12) & (v < 14) & (u > 2))
        | ((where == 4) & (v >= 15) & (v < 16) & (u.abs() < 2))
    )
    return put(rgb_B3HW, marked & face, MARK[mark])


def _body_coordinates(right: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
    """Return columns counted from a person's middle and rows counted from its top, (B, H, W) each."""
    u = _RIGHT_HW + 0.5 - SIDE / 2 - right.reshape(-1, 1, 1).float()
    v = _DOWN_HW - down.reshape(-1, 1, 1).float()
    return u, v


def _two_tone(share_BHW: Tensor, first: tuple[float, ...], second: tuple[float, ...]) -> Tensor:
    one, other = (torch.tensor(colour).reshape(1, 3, 1, 1) for colour in (first, second))
    return share_BHW[:, None] * one + (1 - share_BHW[:, None]) * other


def _draw_shifts(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    chosen = torch.tensor(SHIFTS)[torch.randint(0, len(SHIFTS), (count,), generator=generator)]
    return chosen[:, 0], chosen[:, 1]


def _draw_faces(count: int, generator: torch.Generator) -> Tensor:
    return torch.stack([torch.randint(0, values, (count,), generator=generator) for values in FACE_FIELDS], 1)
