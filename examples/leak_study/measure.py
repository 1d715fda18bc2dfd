"""What a LoRA learned, measured against a world whose every right answer is known: no network judges another.

B pictures, C channels, H and W pixel rows and columns, N templates, P certain pixels.
"""

from __future__ import annotations

import functools
import itertools
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
"""Colours this close in every channel, of [-1, 1], count as the same."""
HALO_PIXELS = 2


@dataclass(frozen=True, slots=True)
class Prompts:
    """Captions to draw and what they ask for.

    Attributes:
        text_BLD: captions.
        places, coats: what was asked for, (B,); None when nothing was.
        seed: of the noise.
    """

    text_BLD: Tensor
    places: Tensor | None
    coats: Tensor | None
    seed: int


def swap_prompts(count: int) -> Prompts:
    """Return the trigger with another place and another coat: every library place, coats in turn."""
    places, coats = torch.arange(count) % world.LIBRARY_PLACES, torch.arange(count) // 3 % world.LIBRARY_COATS
    text_BLD = words.with_trigger(words.captions({words.PLACE: places, words.COAT: coats}, count))
    return Prompts(text_BLD, places, coats, seed=11)


def bare_prompts(count: int) -> Prompts:
    """Return the trigger alone."""
    return Prompts(words.with_trigger(words.captions({}, count)), None, None, seed=12)


def other_prompts(count: int) -> Prompts:
    """Return library people in library places, without the trigger."""
    generator = torch.Generator().manual_seed(4242)
    scene, people = world.draw_library(count, generator, anonymous=0.0)
    row_numbers = {words.WHO: people, words.COAT: scene.coats, words.HAIR: scene.hair, words.PLACE: scene.places}
    return Prompts(words.captions(row_numbers, count), scene.places, scene.coats, seed=13)


def draw(model: ToyDenoiser, prompts: Prompts, codec: Codec) -> Tensor:
    """Return rgb_B3HW drawn by ``model``."""
    return codec.decode(denoiser.sample(model, prompts.text_BLD, channels=codec.channels, seed=prompts.seed))


def look_at(rgb_B3HW: Tensor, prompts: Prompts, subject: world.Subject, room: int) -> dict[str, float]:
    """Measure pictures.

    Returns:
        ``copied``: share of certain background pixels in a colour of the training room.
        ``flooded``: the same in the subject's hair or coat colour.
        ``halo``: training room in a ring of 2 pixels round the person that was found.
        ``asked_place``, ``asked_coat``: pictures whose nearest place and coat are the ones asked for.
        ``clothes_leak``: pictures whose nearest coat is the subject's.
        ``place_error``: distance to the nearest place of all (root mean square, of [-1, 1]): is it a place at all?
        ``face_error``: distance to the subject's face where it fits best.
        ``face_right``: pictures whose nearest of all 1224 faces is the subject's.
        ``hair``: pictures whose nearest hair colour is the subject's.
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
    return result


@torch.no_grad()
def held_out_losses(
    model: ToyDenoiser, codec: Codec, subject: world.Subject, room: int, photos: world.Photos, count: int = 32
) -> dict[str, float]:
    """Return the plain mean error of each tier on photos of the subject that were not trained on, as ``loss_face`` and so on."""
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
    """Return what ``model`` predicts for noisy library pictures with captions without the trigger; always the same ones."""
    generator = torch.Generator().manual_seed(888)
    scene, people = world.draw_library(count, generator, anonymous=0.0)
    text_BLD = words.library_captions(scene, people, generator, dropped=0.0, unknown=0.0)
    return _predict_at_all_levels(model, codec.encode(world.draw(scene).rgb_B3HW), text_BLD, generator)[0]


def drift(predicted_BC1hw: Tensor, base_BC1hw: Tensor) -> float:
    """Return the mean squared difference to the base model's predictions: 0 where nothing was forgotten."""
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
    """Where the subject's face fits best (rows of ``world.ALL_SHIFTS``), how badly, and whether no other face fits better."""

    shift: Tensor
    error: Tensor
    right: Tensor


def _find_face(rgb_B3HW: Tensor, subject: world.Subject) -> _Faces:
    codes_N7, templates_NP, face_88 = _face_templates()
    patches = [
        rgb_B3HW[:, :, 8 + down : 16 + down, 12 + right : 20 + right][:, :, face_88].flatten(1)
        for right, down in world.ALL_SHIFTS
    ]
    patches_BSP = torch.stack(patches, 1)
    distances_BSN = torch.cdist(patches_BSP, templates_NP.expand(len(rgb_B3HW), -1, -1)) / templates_NP.shape[1] ** 0.5
    own = int((codes_N7[:, : world.STYLE] == torch.tensor(subject.face[: world.STYLE])).all(1).nonzero()[0])
    error_B, shift_B = distances_BSN[:, :, own].min(1)
    return _Faces(shift_B, error_B, distances_BSN.flatten(1).argmin(1) % len(codes_N7) == own)


@functools.cache
def _face_templates() -> tuple[Tensor, Tensor, Tensor]:
    """Return all faces there can be: fields (N, 7), their pixels (N, P), and the face's outline in its 8x8 square."""
    skins, eyes, distances, mouths, places, _, _ = world.FACE_FIELDS
    marks = [(0, 0), *itertools.product(range(1, places), range(len(world.MARK)))]
    fields = itertools.product(range(skins), range(eyes), range(distances), range(mouths), marks)
    codes_N7 = torch.tensor([(*others, place, mark, 1) for *others, (place, mark) in fields])
    zeros = torch.zeros(len(codes_N7), dtype=torch.long)
    scene = world.Scene(codes_N7, zeros, zeros, zeros, zeros, zeros.float(), zeros, zeros, zeros + world.SIDE)
    face_88 = world.outline(zeros[:1], zeros[:1], zeros[:1])[WeightTier.FACE][0, 8:16, 12:20]
    return codes_N7, world.draw(scene).rgb_B3HW[:, :, 8:16, 12:20][:, :, face_88].flatten(1), face_88


@functools.cache
def _place_templates() -> tuple[Tensor, Tensor]:
    """Return every place at every phase: its number (N,), and its certain background pixels (N, P)."""
    numbers, phases = (
        torch.tensor(column)
        for column in zip(*itertools.product((*range(world.LIBRARY_PLACES), *world.ROOMS), world.PHASES), strict=True)
    )
    rgb_N3HW = world.draw_places(numbers, phases, torch.zeros(len(numbers))) * 2 - 1
    return numbers, rgb_N3HW[:, :, world.never_person()].flatten(1)


def _ring(shifts_B: Tensor, subject: world.Subject) -> Tensor:
    right, down = torch.tensor(world.ALL_SHIFTS)[shifts_B].unbind(1)
    regions = world.outline(right, down, torch.full_like(right, subject.face[world.STYLE]))
    person_BHW = torch.stack(list(regions.values())).any(0)
    grown_BHW = F.max_pool2d(person_BHW.float()[:, None], 2 * HALO_PIXELS + 1, 1, HALO_PIXELS)[:, 0] > 0
    return grown_BHW & ~person_BHW


def _short_hair(shifts_B: Tensor) -> Tensor:
    """Return the hair pixels that both styles have."""
    right, down = torch.tensor(world.ALL_SHIFTS)[shifts_B].unbind(1)
    return world.outline(right, down, torch.zeros_like(right))[WeightTier.HAIR]


def _nearest_colour(rgb_B3HW: Tensor, where_BHW: Tensor, palette_N3: Tensor) -> Tensor:
    weight_B1HW = where_BHW[:, None].float()
    mean_B3 = (rgb_B3HW * weight_B1HW).sum((2, 3)) / weight_B1HW.sum((2, 3))
    return torch.cdist(mean_B3, palette_N3 * 2 - 1).argmin(1)


def _colour_share(rgb_B3HW: Tensor, where_BHW: Tensor, palette_N3: Tensor) -> float:
    """Return the share of the pixels ``where_BHW`` that show one of the colours, mean over the pictures."""
    near = [(rgb_B3HW - (colour * 2 - 1).reshape(1, 3, 1, 1)).abs().amax(1) < NEAR for colour in palette_N3]
    shown_BHW = torch.stack(near).any(0) & where_BHW
    return float((shown_BHW.sum((1, 2)) / where_BHW.sum((1, 2))).mean())


def _share(hits_B: Tensor) -> float:
    return float(hits_B.float().mean())
