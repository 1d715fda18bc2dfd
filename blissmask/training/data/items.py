"""One cache entry, checked and made ready for training.

C channels, f latent frames, h and w latent rows and columns.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from blissmask.cachefile.entry import CacheEntry, CacheHeader
from blissmask.cachefile.metadata import OURS, read_subjects
from blissmask.errors import CacheError, Hint
from blissmask.families.protocol import LatentSpec
from blissmask.masks.tiers import TIERS
from blissmask.training.data.caption_draw import OtherTexts
from blissmask.training.weighting.loss import EMPTY_MASS, channels_of_a_weight, weight_masses
from blissmask.training.weighting.prior import PriorRule
from blissmask.training.weighting.rule import WeightRule


@dataclass(frozen=True, slots=True)
class TrainingItem:
    """One item as training needs it.

    Attributes:
        name: the item's stem, for messages.
        latents_Cfhw: in the dtype they were cached in.
        weights_1fhw: loss weights, float32, of each latent cell, or of its n x n sub-cells, (1, f, n * h, n * w).
            Outside and regions lie on the same grid. None when the item has no mask or the mask loss is off; every cell
            then counts 1.
        outside_1fhw: how much the prior term holds each cell to the base model, 0..1; None when it holds none.
        regions_4fhw: share of each cell that is face, body, hair, background; None when unknown.
        conditioning: text and image conditioning by content name.
        prior_only: whether the item is held to the base model everywhere, and teaches nothing; its mass is 0.
        class_text: the text conditioning of the caption with the class word instead of the trigger; None where there is
            no such caption, or it is not asked for.
        others: what it may be shown with instead of its caption; None where it is always shown with that.
        mass: channels times summed loss weights.
        subjects: whom its data set shows, by name; none where subjects have no names.
        subjects_Qfhw: of several, the region shares of each, Q = 4 x subjects, one set after another; 0 everywhere for
            one whom the item does not show. None of one, whose shares are ``regions_4fhw``, and when unknown.
        shown_frames: how many latent frames at the beginning the denoiser is shown and does not predict. Weights,
            outside and regions have no values for them; their f counts the other frames.
    """

    name: str
    latents_Cfhw: Tensor
    weights_1fhw: Tensor | None
    outside_1fhw: Tensor | None
    regions_4fhw: Tensor | None
    conditioning: Mapping[str, Tensor]
    mass: float
    shown_frames: int = 0
    class_text: Mapping[str, Tensor] | None = None
    prior_only: bool = False
    others: OtherTexts | None = None
    subjects: tuple[str, ...] = ()
    subjects_Qfhw: Tensor | None = None

    def regions_of(self, subject: str) -> Tensor | None:
        """Return the region shares of one of several subjects, (4, f, h, w); None where the item does not show it."""
        if self.subjects == (subject,):
            return self.regions_4fhw
        if subject not in self.subjects or self.subjects_Qfhw is None:
            return None
        own_4fhw = self.subjects_Qfhw.narrow(0, len(TIERS) * self.subjects.index(subject), len(TIERS))
        return own_4fhw if bool(own_4fhw.any()) else None

    def as_shown(self, *, seed: int, micro_batch: int, place: int) -> TrainingItem:
        """Return the item with the text that is drawn for it; see :meth:`OtherTexts.drawn`."""
        drawn = None if self.others is None else self.others.drawn(seed, micro_batch, place)
        if drawn is None:
            return self
        # Without a caption there is no trigger, so the prior holds to what the base model draws without one.
        return dataclasses.replace(self, conditioning={**self.conditioning, **drawn.text}, class_text=drawn.class_text)

    @property
    def predicted(self) -> Tensor:
        """Return the latents that the denoiser predicts, (C, f, h, w)."""
        return self.latents_Cfhw[:, self.shown_frames :]

    @property
    def subcells(self) -> int:
        """Return how many sub-cells along a side of a latent cell have a weight of their own."""
        plane = self.regions_4fhw if self.weights_1fhw is None else self.weights_1fhw
        return 1 if plane is None else plane.shape[-1] // self.latents_Cfhw.shape[-1]

    @property
    def empty(self) -> bool:
        """Whether every loss weight is 0."""
        return self.mass <= EMPTY_MASS

    @property
    def byte_count(self) -> int:
        """Return the bytes of memory that its tensors take."""
        tensors = [
            self.latents_Cfhw,
            self.weights_1fhw,
            self.outside_1fhw,
            self.regions_4fhw,
            self.subjects_Qfhw,
            *self.conditioning.values(),
            *(self.class_text or {}).values(),
            *(() if self.others is None else self.others.tensors),
        ]
        return sum(tensor.nbytes for tensor in tensors if tensor is not None)

    def copied(self) -> TrainingItem:
        """Return the item with tensors in memory of their own.

        Tensors of a cache file are views, which keep the whole file mapped.
        """
        return dataclasses.replace(
            self,
            latents_Cfhw=self.latents_Cfhw.clone(),
            weights_1fhw=_copied(self.weights_1fhw),
            outside_1fhw=_copied(self.outside_1fhw),
            regions_4fhw=_copied(self.regions_4fhw),
            subjects_Qfhw=_copied(self.subjects_Qfhw),
            conditioning={name: tensor.clone() for name, tensor in self.conditioning.items()},
            class_text=None
            if self.class_text is None
            else {name: tensor.clone() for name, tensor in self.class_text.items()},
            others=None if self.others is None else self.others.copied(),
        )


def make_item(
    header: CacheHeader,
    entry: CacheEntry,
    *,
    rule: WeightRule | None,
    prior: PriorRule | None,
    latent: LatentSpec | None = None,
    shown_frames: int = 0,
    class_text: Mapping[str, Tensor] | None = None,
    prior_only: bool = False,
    others: OtherTexts | None = None,
    subjects: tuple[str, ...] = (),
) -> TrainingItem:
    """Check an entry and shape its weights.

    Args:
        header: names the entry in messages.
        entry: its tensors.
        rule: how weights are shaped; None when the mask loss is off.
        prior: says which cells are outside; None without the prior term.
        latent: the family's, which brings cached latents to the spread of noise; None trains on them as they are.
        shown_frames: the family's; an item with no more frames than that predicts all of them.
        class_text, prior_only, others: as in :class:`TrainingItem`.
        subjects: as in :class:`TrainingItem`.

    Raises:
        CacheError: latents, weights or conditioning hold NaN or infinity.
    """
    _refuse_non_finite(header, entry)
    entry = _on_finest_grid(entry)
    latents_Cfhw = entry.latents_Cfhw if latent is None else latent.normalised(entry.latents_Cfhw)
    # A picture has one frame. In a family that shows the first frame of clips, nothing of a picture would be left.
    shown = shown_frames if latents_Cfhw.shape[1] > shown_frames else 0
    if prior_only:
        return TrainingItem(
            name=header.stem,
            latents_Cfhw=latents_Cfhw,
            weights_1fhw=None,
            outside_1fhw=torch.ones(1, *latents_Cfhw[:, shown:].shape[1:]),
            regions_4fhw=None,
            conditioning=entry.conditioning,
            mass=0.0,
            shown_frames=shown,
            prior_only=True,
            others=others,
        )
    if shows_no_regions(header):
        entry = dataclasses.replace(entry, regions_4fhw=None, subjects_Qfhw=None)
    mass = float(latents_Cfhw[:, shown:].numel())
    weights_1fhw = None
    if rule is not None and entry.weights_1fhw is not None:
        weights_1fhw = rule.loss_weights(entry)[:, shown:]
        mass = float(weight_masses(weights_1fhw.unsqueeze(0), channels_of_a_weight(weights_1fhw, latents_Cfhw)))
    subjects_Qfhw = _of_subjects(header, entry, subjects)
    return TrainingItem(
        name=header.stem,
        latents_Cfhw=latents_Cfhw,
        weights_1fhw=weights_1fhw,
        outside_1fhw=_outside(entry, weights_1fhw, prior),
        regions_4fhw=None if entry.regions_4fhw is None else entry.regions_4fhw[:, shown:],
        conditioning=entry.conditioning,
        mass=mass,
        shown_frames=shown,
        class_text=class_text,
        others=others,
        subjects=subjects,
        subjects_Qfhw=None if subjects_Qfhw is None else subjects_Qfhw[:, shown:],
    )


def _of_subjects(header: CacheHeader, entry: CacheEntry, subjects: tuple[str, ...]) -> Tensor | None:
    """Return the region shares of several subjects in the order of ``subjects``; None where they are not told apart.

    The data set may have named them in another order when it was cached.
    """
    if len(subjects) < 2 or entry.subjects_Qfhw is None:
        return None
    cached = read_subjects(header.metadata)
    places = {name: slice(number * len(TIERS), (number + 1) * len(TIERS)) for number, name in enumerate(cached)}
    nothing = torch.zeros_like(entry.subjects_Qfhw[: len(TIERS)])
    return torch.cat([entry.subjects_Qfhw[places[name]] if name in places else nothing for name in subjects])


def _on_finest_grid(entry: CacheEntry) -> CacheEntry:
    """Return the entry with the mask of its sub-cells in place of that of its latent cells, where it has one."""
    if entry.subweights_1fhw is None:
        return entry
    return dataclasses.replace(
        entry,
        weights_1fhw=entry.subweights_1fhw,
        regions_4fhw=entry.subregions_4fhw,
        subweights_1fhw=None,
        subregions_4fhw=None,
    )


def _outside(entry: CacheEntry, weights_1fhw: Tensor | None, prior: PriorRule | None) -> Tensor | None:
    """Return how much the prior term holds each cell, (1, f, h, w); None when it holds none."""
    if prior is None or entry.weights_1fhw is None or weights_1fhw is None:
        return None
    frames = weights_1fhw.shape[1]
    outside_1fhw = prior.outside(entry.weights_1fhw[:, -frames:], weights_1fhw)
    return outside_1fhw if bool(outside_1fhw.any()) else None


def shows_no_regions(header: CacheHeader) -> bool:
    """Return whether the entry's mask is full weight because the item had no mask.

    Such a mask is 255 everywhere, which does not mean that everything is a face.
    """
    return header.metadata.get(f"{OURS}mask_source") == "full"


def _copied(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.clone()


def _refuse_non_finite(header: CacheHeader, entry: CacheEntry) -> None:
    own = {
        "latents": entry.latents_Cfhw,
        "mask_weights": entry.weights_1fhw,
        "mask_regions": entry.regions_4fhw,
        "mask_subcells": entry.subweights_1fhw,
        "mask_subregions": entry.subregions_4fhw,
        "mask_subjects": entry.subjects_Qfhw,
    }
    tensors = {**own, **entry.conditioning}
    for name, tensor in tensors.items():
        if tensor is None or not tensor.is_floating_point():
            continue
        # A finite sum means that all values are finite, and takes one pass. A sum may also overflow; then each value is
        # looked at.
        if not torch.isfinite(tensor.float().sum()) and not torch.isfinite(tensor.float()).all():
            is_text = name not in header.contents and name not in own
            raise CacheError(
                f"`{name}` of this cache entry holds NaN or infinity",
                where=[header.text_path if is_text else header.path],
                fix=Hint(
                    "delete the file and run `{command}` again; if it comes back, try `--vae-dtype float32`", "cache"
                ),
            )
