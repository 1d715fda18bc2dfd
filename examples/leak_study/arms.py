"""The arms of the study, each a `[mask_loss]` section and a kind of photos, and the training run of an arm.

Between the photos and the trained LoRA everything is blissmask's own code: tiers, averaging onto the latent grid,
weights, loss, prior term, noise levels, LoRA, optimiser and step.

H and W pixel rows and columns, h and w latent ones, C channels, L caption rows, D their width.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import denoiser
import measure
import numpy as np
import torch
import words
import world
from latents import GRID_HW, Codec
from numpy.typing import NDArray
from torch import Tensor

from blissmask.cachefile.entry import CacheEntry, CacheHeader, SharedHeader
from blissmask.config.model import Config
from blissmask.dataset.geometry import Geometry
from blissmask.dataset.pixel_mask import still_mask
from blissmask.masks.refine import grow_grey
from blissmask.masks.tiers import MAX_VALUE, TIERS, TierTable, WeightTier
from blissmask.masks.weighted_mask import tier_labels_to_grey
from blissmask.storage.short_path import ShortPath
from blissmask.tasks.train.rules import (
    lora_shape,
    noise_options,
    optimizer_options,
    prior_rule,
    rate_schedule,
    step_rule,
    weight_rule,
)
from blissmask.training.data.batch_order import BatchOrder, BucketedItem
from blissmask.training.data.items import TrainingItem, make_item
from blissmask.training.data.micro_batch import collate
from blissmask.training.experts import Learner
from blissmask.training.lora.layers.inject import inject_lora
from blissmask.training.lora.running_average import RunningAverage
from blissmask.training.optim.optimizer import build_optimizer
from blissmask.training.optim.schedule import build_scheduler
from blissmask.training.step.run_step import run_step
from blissmask.training.timesteps import training_noise

PHOTO_COUNT, BATCH_SIZE = 12, 6
PICTURES_ON_THE_WAY = 16
"""Pictures that are drawn and measured at each of ``Effort.looks``."""
SAVED_PICTURES = 8
"""Pictures of each kind that a run keeps for the figures."""
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "lora": {"network_dim": 8},
    "optimizer": {"weight_decay": 0.0},
    "timesteps": {"timestep_sampling": "sigmoid", "sigmoid_scale": 1.2},
}
"""Section -> keys, the same for all arms."""
TIER_TABLE = TierTable()


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to train.

    Attributes:
        text: name in tables.
        mask_loss: keys of ``[mask_loss]``.
        photos: kind of training photos.
        shrink: pixels by which the outline of the masks is moved inwards.
        trains: False for the untrained base model.
        ema_decay: of the running average that is measured in the place of the last weights; None measures these.
        two_subjects: whether a second person, with a trigger of its own, is learned in the same room.
    """

    text: str
    mask_loss: Mapping[str, Any] = field(default_factory=dict)
    photos: world.Photos = "plain"
    shrink: int = 0
    trains: bool = True
    ema_decay: float | None = None
    two_subjects: bool = False


def _masked(
    text: str,
    *,
    photos: world.Photos = "plain",
    shrink: int = 0,
    ema_decay: float | None = None,
    two_subjects: bool = False,
    **mask_loss: Any,
) -> Arm:
    return Arm(
        text,
        mask_loss={"use_mask_loss": True, **mask_loss},
        photos=photos,
        shrink=shrink,
        ema_decay=ema_decay,
        two_subjects=two_subjects,
    )


_FACE: Mapping[str, Any] = {"body_weight": 0.0, "hair_weight": 0.0}
_PRIOR: Mapping[str, Any] = {"prior_preservation_weight": 1.0}
_TRIGGER_FREE: Mapping[str, Any] = {"trigger_free_weight": 1.0}
ARMS: Mapping[str, Arm] = {
    "base": Arm("base model", trains=False),
    "unmasked": Arm("no mask"),
    "tiers": _masked("tiers, floor 0"),
    "tiers-floor05": _masked("tiers, floor 0.05", mask_min_weight=0.05),
    "tiers-floor10": _masked("tiers, floor 0.1", mask_min_weight=0.1),
    "binary": _masked("binary", body_weight=1.0, hair_weight=1.0),
    "face": _masked("face only", **_FACE),
    "tiers-prior": _masked("tiers + prior", prior_preservation_weight=1.0),
    "face-prior": _masked("face only + prior", prior_preservation_weight=1.0, **_FACE),
    "hair128": _masked("tiers, hair 128", hair_weight=128 / 255),
    "hair160": _masked("tiers, hair 160", hair_weight=160 / 255),
    "mixed-batch": _masked("mixed areas, mean per batch", photos="mixed"),
    "mixed-sample": _masked("mixed areas, mean per sample", photos="mixed", mask_mean="sample"),
    "gamma-latent": _masked("gamma 0.5 per cell, off grid", photos="off-grid", mask_gamma=0.5),
    "gamma-pixel": _masked("gamma 0.5 per pixel, off grid", photos="off-grid", mask_gamma=0.5, mask_transform="pixel"),
    "tiers-shrunk": _masked("tiers, mask 2 px smaller", shrink=2),
    "tiers-prior-shrunk": _masked("tiers + prior, mask 2 px smaller", shrink=2, prior_preservation_weight=1.0),
    "tiers-free": _masked("tiers + trigger-free", **_TRIGGER_FREE),
    "tiers-prior-free": _masked("tiers + prior + trigger-free", **_PRIOR, **_TRIGGER_FREE),
    "tiers-continuous": _masked("tiers + continuous prior", prior_mask="continuous", **_PRIOR),
    "tiers-prior-half": _masked("tiers + prior in half of the steps", prior_share=0.5, **_PRIOR),
    "tiers-prior-quarter": _masked("tiers + prior in a quarter of the steps", prior_share=0.25, **_PRIOR),
    # The average of about the last 50 of 200 steps.
    "tiers-prior-ema": _masked("tiers + prior, EMA 0.98", ema_decay=0.98, **_PRIOR),
    "prior-cut": _masked("tiers + prior, half cut in the middle", photos="cut", **_PRIOR),
    "prior-followed": _masked("tiers + prior, the same, cut round her", photos="followed", **_PRIOR),
    "two": _masked("two people, tiers", two_subjects=True),
    "two-prior": _masked("two people, tiers + prior", two_subjects=True, **_PRIOR),
    "two-prior-free": _masked("two people, tiers + prior + trigger-free", two_subjects=True, **_PRIOR, **_TRIGGER_FREE),
}


@dataclass(frozen=True, slots=True)
class Draw:
    """The differences between the runs of one arm: subject, room, and everything random."""

    number: int

    @property
    def subject(self) -> world.Subject:
        """Return the person to learn; draws 0 to 5 are all pairs of subject and room."""
        return world.SUBJECTS[self.number % len(world.SUBJECTS)]

    @property
    def other(self) -> world.Subject:
        """Return the second person of arms with two."""
        return world.SUBJECTS[(self.number + 1) % len(world.SUBJECTS)]

    @property
    def room(self) -> int:
        """Return the place of the photos."""
        return world.ROOMS[self.number % len(world.ROOMS)]


@dataclass(frozen=True, slots=True)
class Effort:
    """The length of a run, and the number of pictures drawn to measure it.

    Attributes:
        steps: optimiser steps.
        rate: the learning rate. It is high: strong adapters show in minutes what weak ones show in hours.
        looks: steps after which a few pictures are measured.
        pictures: number of pictures drawn at the end with the trigger and another place; half as many are drawn with
            the trigger alone and of other people.
        looks_at_others: whether people without a name are drawn, too, as many as with the trigger alone.
    """

    steps: int = 200
    rate: float = 1e-3
    looks: tuple[int, ...] = (50, 100)
    pictures: int = 48
    looks_at_others: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """The numbers of a run, as they go to its JSON file, and a few of its pictures."""

    numbers: dict[str, Any]
    samples: dict[str, Tensor]


def run_arm(name: str, draw: Draw, base: Path, codec: Codec, effort: Effort) -> Result:
    """Train one arm and measure it.

    Args:
        name: in :data:`ARMS`.
        draw: subject, room and seed.
        base: file of the base model.
        codec: the encoder that the base model was trained with.
        effort: length of the run.
    """
    arm, started = ARMS[name], time.monotonic()
    config = Config.model_validate(
        {
            **SETTINGS,
            "optimizer": {**SETTINGS["optimizer"], "learning_rate": effort.rate, "ema_decay": arm.ema_decay},
            "mask_loss": arm.mask_loss,
            "train": {"seed": draw.number, "max_train_steps": effort.steps},
        }
    )
    model = denoiser.load(base)
    base_predictions = measure.library_predictions(model, codec)
    items = _cache_photos(arm, draw, codec, config, subject=draw.subject, trigger_D=words.TRIGGER)
    order = _order(config)
    sets = [items]
    if arm.two_subjects:
        sets.append(_cache_photos(arm, draw, codec, config, subject=draw.other, trigger_D=words.OTHER_TRIGGER))
    numbers: dict[str, Any] = {
        "arm": name,
        "draw": draw.number,
        "subject": draw.number % len(world.SUBJECTS),
        "room": draw.room,
        "curve": [],
    }
    average: RunningAverage | None = None
    if arm.trains:
        learner = _learner(model, config)
        average = learner.average
        rule = step_rule(config)
        for step in range(effort.steps):
            window = [
                collate([photos[position] for position in order.indices(step)], number)
                for number, photos in enumerate(sets, start=step * len(sets))
            ]
            logged = run_step(learner, window, rule, step=step, device=torch.device("cpu"))
            if step + 1 in effort.looks:
                seen, _ = _look(model, measure.swap_prompts(PICTURES_ON_THE_WAY), draw, codec)
                numbers["curve"].append({"step": step + 1, "swap": seen})
        numbers["last_loss"] = float(logged["loss"])
    with contextlib.nullcontext() if average is None else average.in_place():
        final, samples = _final(model, arm, draw, codec, effort, base_predictions)
    numbers |= {
        "final": final,
        "background_share": _background_share(items),
        "steps": effort.steps,
        "seconds": time.monotonic() - started,
    }
    return Result(numbers=numbers, samples=samples)


def _order(config: Config) -> BatchOrder:
    return BatchOrder([BucketedItem("photos", batch_size=BATCH_SIZE)] * PHOTO_COUNT, config.train.seed)


def _final(
    model: denoiser.ToyDenoiser, arm: Arm, draw: Draw, codec: Codec, effort: Effort, base_predictions: Tensor
) -> tuple[dict[str, dict[str, float]], dict[str, Tensor]]:
    """Return the measures of a trained model, and some of its pictures, both by the kind of prompts."""
    prompts = {
        "swap": measure.swap_prompts(effort.pictures),
        "bare": measure.bare_prompts(effort.pictures // 2),
        "other": measure.other_prompts(effort.pictures // 2),
    }
    if effort.looks_at_others:
        prompts["anybody"] = measure.anybody_prompts(effort.pictures // 2)
    final, samples = {}, {}
    for kind, wanted in prompts.items():
        final[kind], rgb_B3HW = _look(model, wanted, draw, codec)
        samples[kind] = rgb_B3HW[:SAVED_PICTURES]
        if kind == "swap" and arm.two_subjects:
            final[kind]["bleeding"] = measure.mistaken(rgb_B3HW, _all_of(draw.subject, wanted), draw.other)
    if arm.two_subjects:
        wanted = measure.swap_prompts(effort.pictures, words.OTHER_TRIGGER)
        rgb_B3HW = measure.draw(model, wanted, codec)
        final["second"] = measure.look_at(rgb_B3HW, wanted, draw.other, draw.room)
        final["second"]["bleeding"] = measure.mistaken(rgb_B3HW, _all_of(draw.other, wanted), draw.subject)
        samples["second"] = rgb_B3HW[:SAVED_PICTURES]
    # What is cut away of training photos is no part of what is learned.
    kind_of_photos: world.Photos = "plain" if arm.photos in ("cut", "followed") else arm.photos
    final["held_out"] = measure.held_out_losses(model, codec, draw.subject, draw.room, kind_of_photos)
    final["held_out"]["drift"] = measure.drift(measure.library_predictions(model, codec), base_predictions)
    return final, samples


def _all_of(subject: world.Subject, prompts: measure.Prompts) -> Tensor:
    return torch.tensor(subject.face).expand(len(prompts.text_BLD), -1)


def _learner(model: denoiser.ToyDenoiser, config: Config) -> Learner:
    lora = inject_lora(model, lora_shape(config.lora), seed=config.train.seed)
    optimizer = build_optimizer(lora.named_parameters(), optimizer_options(config.optimizer))
    decay = config.optimizer.ema_decay
    return Learner(
        name="",
        denoiser=model,
        lora=lora,
        noise=training_noise(noise_options(config.timesteps, default_shift=1.0)),
        optimizer=optimizer,
        scheduler=build_scheduler(optimizer, rate_schedule(config.optimizer), steps=config.train.max_train_steps),
        average=RunningAverage(lora, decay) if decay else None,
    )


@torch.no_grad()
def _look(
    model: denoiser.ToyDenoiser, prompts: measure.Prompts, draw: Draw, codec: Codec
) -> tuple[dict[str, float], Tensor]:
    """Draw pictures and return their measures, and the pictures."""
    rgb_B3HW = measure.draw(model, prompts, codec)
    return measure.look_at(rgb_B3HW, prompts, draw.subject, draw.room), rgb_B3HW


@torch.no_grad()
def _cache_photos(
    arm: Arm, draw: Draw, codec: Codec, config: Config, *, subject: world.Subject, trigger_D: Tensor
) -> list[TrainingItem]:
    """Draw photos of a subject and make training items of them, as `blissmask cache` and `blissmask train` do."""
    generator = torch.Generator().manual_seed(draw.number)
    pictures = world.draw(world.subject_scene(subject, draw.room, PHOTO_COUNT, generator, photos=arm.photos))
    latents_BC1hw = codec.encode(pictures.rgb_B3HW)
    # A caption without a name means anybody, as a class word does.
    anybody_LD = words.captions({}, 1)[0]
    text_LD = words.with_trigger(anybody_LD[None], trigger_D)[0]
    class_text = {"t5": anybody_LD} if config.mask_loss.trigger_free_weight else None
    rule, prior = weight_rule(config.mask_loss, TIER_TABLE), prior_rule(config.mask_loss)
    items = []
    for number, latents_C1hw in enumerate(latents_BC1hw):
        grey_HW = tier_labels_to_grey(pictures.tiers_BHW[number].numpy().astype(np.uint8), TIER_TABLE)
        entry = _entry(latents_C1hw, grow_grey(grey_HW, -arm.shrink), text_LD)
        header = CacheHeader(
            file=ShortPath("", f"photo{number}.safetensors"),
            stem=f"photo{number}",
            cache_suffix="",
            shared=SharedHeader(tuple(latents_C1hw.shape), {}, ("blissmask.mask_source",)),
            values=("file",),
        )
        items.append(make_item(header, entry, rule=rule, prior=prior, class_text=class_text))
    return items


def _entry(latents_C1hw: Tensor, grey_HW: NDArray[np.uint8], text_LD: Tensor) -> CacheEntry:
    """Return the cache entry of a photo that is neither scaled nor cut."""
    size_wh = (grey_HW.shape[1], grey_HW.shape[0])
    geometry = Geometry(source_wh=size_wh, scaled_wh=size_wh, crop_xy=(0, 0), size_wh=size_wh)
    mask = still_mask(np.divide(grey_HW, MAX_VALUE, dtype=np.float32), geometry, TIER_TABLE)
    weights_1fhw, regions_Rfhw = mask.on_grid(GRID_HW)
    assert regions_Rfhw is not None, "the mask holds nothing but tier values"
    return CacheEntry(
        latents_Cfhw=latents_C1hw,
        weights_1fhw=torch.from_numpy(weights_1fhw),
        regions_4fhw=torch.from_numpy(regions_Rfhw).float(),
        conditioning={"t5": text_LD},
    )


def _background_share(items: list[TrainingItem]) -> float:
    """Return the background's share of the summed loss weight: the part of the training that the room gets."""
    background = TIERS.index(WeightTier.BACKGROUND)
    room = whole = 0.0
    for item in items:
        assert item.regions_4fhw is not None
        weights_1fhw = torch.ones_like(item.regions_4fhw[:1]) if item.weights_1fhw is None else item.weights_1fhw
        room += float((weights_1fhw * item.regions_4fhw[background]).sum())
        whole += float(weights_1fhw.sum())
    return room / whole
