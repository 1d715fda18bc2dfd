"""Measure what a LoRA learned.

All right answers in the toy world are known, so no network has to judge another. B pictures, C channels, H and W pixel
rows and columns, N templates, P pixels that are always background.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import denoiser
import torch
import words
import world
from denoiser import ToyDenoiser
from latents import STRIDE, Codec
from torch import Tensor
from torch.nn import functional as F

from blissmask.families.protocol import Batch
from blissmask.masks.tiers import TIERS, WeightTier
from blissmask.training.weighting.loss import error_map, region_masses, region_sums

NEAR = 0.4
"""Colours that differ by less than this in every channel, in [-1, 1], count as the same."""
HALO_PIXELS = 2
"""Width of the ring around the person in which the halo is measured."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """Captions to draw, and the places and coats that they ask for.

    Attributes:
        text_BLD: captions.
        places, coats: numbers that the captions ask for, (B,); None when they ask for none.
        seed: seed of the noise.
        faces_B7: faces that the captions ask for; None for the subject's, or nobody's.
    """

    text_BLD: Tensor
    places: Tensor | None
    coats: Tensor | None
    seed: int
    faces_B7: Tensor | None = None


def swap_prompts(count: int, trigger_D: Tensor = words.TRIGGER) -> Prompts:
    """Return captions of a trigger in another place and another coat: library places and coats in turn."""
    places, coats = torch.arange(count) % world.LIBRARY_PLACES, torch.arange(count) // 3 % world.LIBRARY_COATS
    text_BLD = words.with_trigger(words.captions({words.PLACE: places, words.COAT: coats}, count), trigger_D)
    return Prompts(text_BLD, places, coats, seed=11)


def bare_prompts(count: int) -> Prompts:
    """Return captions of the trigger alone."""
    return Prompts(words.with_trigger(words.captions({}, count)), None, None, seed=12)


def other_prompts(count: int) -> Prompts:
    """Return captions of library people in library places, without the trigger."""
    generator = torch.Generator().manual_seed(4242)
    scene, people = world.draw_library(count, generator, anonymous=0.0)
    row_numbers = {words.WHO: people, words.COAT: scene.coats, words.HAIR: scene.hair, words.PLACE: scene.places}
    return Prompts(words.captions(row_numbers, count), scene.places, scene.coats, seed=13, faces_B7=scene.faces)


def anybody_prompts(count: int) -> Prompts:
    """Return captions of nobody in particular, in library places and coats: a person without a name."""
    places, coats = torch.arange(count) % world.LIBRARY_PLACES, torch.arange(count) // 3 % world.LIBRARY_COATS
    return Prompts(words.captions({words.PLACE: places, words.COAT: coats}, count), places, coats, seed=14)


def draw(model: ToyDenoiser, prompts: Prompts, codec: Codec) -> Tensor:
    """Return rgb_B3HW drawn by ``model``."""
    return codec.decode(denoiser.sample(model, prompts.text_BLD, channels=codec.channels, seed=prompts.seed))


def look_at(rgb_B3HW: Tensor, prompts: Prompts, subject: world.Subject, room: int) -> dict[str, float]:
    """Measure pictures.

    Returns:
        ``copied``: share of the pixels that are always background in a colour of the training room.
        ``flooded``: share of these pixels in the subject's hair or coat colour.
        ``halo``: share of a ring of 2 pixels around the person that was found in a colour of the training room.
        ``asked_place``, ``asked_coat``: share of the pictures whose nearest place and coat are the ones asked for.
        ``clothes_leak``: share of the pictures whose nearest coat is the subject's.
        ``place_error``: distance to the nearest of all places (root mean square, in [-1, 1]); large when the background
        is no place at all.
        ``face_error``: distance to the subject's face at the position where it fits best.
        ``face_right``: share of the pictures whose nearest of all 1224 faces is the subject's.
        ``hair``: share of the pictures whose nearest hair colour is the subject's.
        ``taken_over``: share of the pictures that the subject's face fits better than the face that was asked for.
    """
    certain_HW, coat_HW = world.never_person(), world.always_coat()
    faces = _find_face(rgb_B3HW, subject)
    result = {
        "copied": _colour_share(rgb_B3HW, certain_HW.expand(len(rgb_B3HW), -1, -1), world.ROOM_COLOURS[room]),
        "flooded": _colour_share(
            rgb_B3HW,
            certain_HW.expand(len(rgb_B3HW), -1, -1),
            torch.stack([world.HAIR[subject.hair], world.COAT[subject.coat]]),
        ),
        "halo": _colour_share(rgb_B3HW, _ring(faces.shift, subject), world.ROOM_COLOURS[room]),
        "face_error": float(faces.error.mean()),
        "face_right": float(faces.right.float().mean()),
    }
    kinds, templates_NP = _place_templates()
    distances_BN = torch.cdist(rgb_B3HW[:, :, certain_HW].flatten(1), templates_NP)
    result["place_error"] = float(distances_BN.amin(1).mean()) / templates_NP.shape[1] ** 0.5
    coats_B = _nearest_colour(rgb_B3HW, coat_HW.expand(len(rgb_B3HW), -1, -1), world.COAT)
    result["clothes_leak"] = _share(coats_B == subject.coat)
    hair_B = _nearest_colour(rgb_B3HW, _short_hair(faces.shift), world.HAIR)
    result["hair"] = _share(hair_B == subject.hair)
    if prompts.places is not None:
        result["asked_place"] = _share(kinds[distances_BN.argmin(1)] == prompts.places)
    if prompts.coats is not None:
        result["asked_coat"] = _share(coats_B == prompts.coats)
    if prompts.faces_B7 is not None:
        result["taken_over"] = mistaken(rgb_B3HW, prompts.faces_B7, subject)
    return result


def mistaken(rgb_B3HW: Tensor, asked_B7: Tensor, by: world.Subject) -> float:
    """Return the share of the pictures that the face of ``by`` fits better than the face that was asked for."""
    closest_BN = _face_distances(rgb_B3HW).amin(1)
    asked_B1 = torch.tensor([[_number_of(face.tolist())] for face in asked_B7])
    return _share(closest_BN[:, _number_of(by.face)] < closest_BN.gather(1, asked_B1)[:, 0])


@torch.no_grad()
def held_out_losses(
    model: ToyDenoiser, codec: Codec, subject: world.Subject, room: int, photos: world.Photos, count: int = 32
) -> dict[str, float]:
    """Return the unweighted mean error of each tier, e.g. ``loss_face``, on photos of the subject that are new."""
    generator = torch.Generator().manual_seed(999)
    pictures = world.draw(world.subject_scene(subject, room, count, generator, photos=photos))
    latents_BC1hw = codec.encode(pictures.rgb_B3HW)
    predicted, target = _predict_at_all_levels(
        model, latents_BC1hw, words.with_trigger(words.captions({}, count)), generator
    )
    planes_BRHW = F.one_hot(pictures.tiers_BHW, len(TIERS)).movedim(-1, 1).float()
    shares_BR1hw = F.avg_pool2d(planes_BRHW, STRIDE)[:, :, None]
    losses_R = region_sums(error_map(predicted, target), shares_BR1hw) / region_masses(shares_BR1hw, codec.channels)
    return {f"loss_{tier.value}": float(loss) for tier, loss in zip(TIERS, losses_R, strict=True)}


@torch.no_grad()
def library_predictions(model: ToyDenoiser, codec: Codec, count: int = 64) -> Tensor:
    """Return the model's predictions for noisy library pictures, captioned without the trigger.

    The pictures are the same for every model.
    """
    generator = torch.Generator().manual_seed(888)
    scene, people = world.draw_library(count, generator, anonymous=0.0)
    text_BLD = words.library_captions(scene, people, generator, dropped=0.0, unknown=0.0)
    return _predict_at_all_levels(model, codec.encode(world.draw(scene).rgb_B3HW), text_BLD, generator)[0]


def drift(predicted_BC1hw: Tensor, base_BC1hw: Tensor) -> float:
    """Return the mean squared difference to the base model's predictions; 0 when the model forgot nothing."""
    return float((predicted_BC1hw - base_BC1hw).square().mean())


def _predict_at_all_levels(
    model: ToyDenoiser, latents_BC1hw: Tensor, text_BLD: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    count = len(latents_BC1hw)
    levels_B = (torch.arange(count) + 0.5) / count
    noise_BC1hw = torch.randn(latents_BC1hw.shape, generator=generator)
    level = levels_B.reshape(-1, 1, 1, 1, 1)
    noisy_BC1hw = (1 - level) * latents_BC1hw + level * noise_BC1hw
    return model.predict(Batch(noisy_BC1hw, levels_B, {"t5": text_BLD})), noise_BC1hw - latents_BC1hw


@dataclass(frozen=True, slots=True)
class _Faces:
    """The subject's face in each picture, all (B,).

    Attributes:
        shift: position where the face fits best, as a row of ``world.ALL_SHIFTS``.
        error: distance to the face there.
        right: whether no other face at any position fits better.
    """

    shift: Tensor
    error: Tensor
    right: Tensor


def _find_face(rgb_B3HW: Tensor, subject: world.Subject) -> _Faces:
    distances_BSN = _face_distances(rgb_B3HW)
    own = _number_of(subject.face)
    error_B, shift_B = distances_BSN[:, :, own].min(1)
    return _Faces(shift_B, error_B, distances_BSN.flatten(1).argmin(1) % distances_BSN.shape[2] == own)


def _face_distances(rgb_B3HW: Tensor) -> Tensor:
    """Return the distance of each of the N faces at each of the S positions of ``world.ALL_SHIFTS``, (B, S, N)."""
    _, templates_NP, face_88 = _face_templates()
    patches = [
        rgb_B3HW[:, :, 8 + down : 16 + down, 12 + right : 20 + right][:, :, face_88].flatten(1)
        for right, down in world.ALL_SHIFTS
    ]
    patches_BSP = torch.stack(patches, 1)
    return torch.cdist(patches_BSP, templates_NP.expand(len(rgb_B3HW), -1, -1)) / math.sqrt(templates_NP.shape[1])


def _number_of(face: Sequence[int]) -> int:
    """Return the row of a face in :func:`_face_templates`; its hair is not part of it, nor the colour of no mark."""
    skin, eye, distance, mouth, place, mark, _ = face
    wanted = torch.tensor((skin, eye, distance, mouth, place, mark if place else 0))
    return int((_face_templates()[0][:, : world.STYLE] == wanted).all(1).nonzero()[0])


@functools.cache
def _face_templates() -> tuple[Tensor, Tensor, Tensor]:
    """Return all possible faces: fields (N, 7), their pixels (N, P), and the face's outline in its 8x8 square."""
    skins, eyes, distances, mouths, places, _, _ = world.FACE_FIELDS
    marks = [(0, 0)]
    marks += itertools.product(range(1, places), range(len(world.MARK)))
    long_hair = 1
    codes = []
    for skin, eye, distance, mouth in itertools.product(range(skins), range(eyes), range(distances), range(mouths)):
        codes += [(skin, eye, distance, mouth, place, mark, long_hair) for place, mark in marks]
    codes_N7 = torch.tensor(codes)
    zeros = torch.zeros(len(codes_N7), dtype=torch.long)
    scene = world.Scene(
        faces=codes_N7,
        hair=zeros,
        coats=zeros,
        places=zeros,
        phases=zeros,
        light=zeros.float(),
        right=zeros,
        down=zeros,
        counter=zeros + world.SIDE,
    )
    face_88 = world.outline(zeros[:1], zeros[:1], zeros[:1])[WeightTier.FACE][0, 8:16, 12:20]
    squares_N388 = world.draw(scene).rgb_B3HW[:, :, 8:16, 12:20]
    return codes_N7, squares_N388[:, :, face_88].flatten(1), face_88


@functools.cache
def _place_templates() -> tuple[Tensor, Tensor]:
    """Return every place at every phase: its number (N,), and its pixels that are always background (N, P)."""
    places = [*range(world.LIBRARY_PLACES), *world.ROOMS]
    variants = list(itertools.product(places, world.PHASES))
    numbers = torch.tensor([place for place, _ in variants])
    phases = torch.tensor([phase for _, phase in variants])
    rgb_N3HW = world.draw_places(numbers, phases, torch.zeros(len(numbers))) * 2 - 1
    return numbers, rgb_N3HW[:, :, world.never_person()].flatten(1)


def _ring(shifts_B: Tensor, subject: world.Subject) -> Tensor:
    """Return the pixels (B, H, W) of a ring around the subject at the given positions."""
    right, down = torch.tensor(world.ALL_SHIFTS)[shifts_B].unbind(1)
    regions = world.outline(right, down, torch.full_like(right, subject.face[world.STYLE]))
    person_BHW = torch.stack(list(regions.values())).any(0)
    grown_BHW = F.max_pool2d(person_BHW.float()[:, None], 2 * HALO_PIXELS + 1, 1, HALO_PIXELS)[:, 0] > 0
    return grown_BHW & ~person_BHW


def _short_hair(shifts_B: Tensor) -> Tensor:
    """Return the hair pixels (B, H, W) that both styles have, at the given positions."""
    right, down = torch.tensor(world.ALL_SHIFTS)[shifts_B].unbind(1)
    return world.outline(right, down, torch.zeros_like(right))[WeightTier.HAIR]


def _nearest_colour(rgb_B3HW: Tensor, where_BHW: Tensor, palette_N3: Tensor) -> Tensor:
    weight_B1HW = where_BHW[:, None].float()
    mean_B3 = (rgb_B3HW * weight_B1HW).sum((2, 3)) / weight_B1HW.sum((2, 3))
    return torch.cdist(mean_B3, palette_N3 * 2 - 1).argmin(1)


def _colour_share(rgb_B3HW: Tensor, where_BHW: Tensor, palette_N3: Tensor) -> float:
    """Return the share of the pixels ``where_BHW`` in one of the colours, as the mean over the pictures."""
    near = [(rgb_B3HW - (colour * 2 - 1).reshape(1, 3, 1, 1)).abs().amax(1) < NEAR for colour in palette_N3]
    shown_BHW = torch.stack(near).any(0) & where_BHW
    return float((shown_BHW.sum((1, 2)) / where_BHW.sum((1, 2))).mean())


def _share(hits_B: Tensor) -> float:
    return float(hits_B.float().mean())
