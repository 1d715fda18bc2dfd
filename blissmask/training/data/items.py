"""One cache entry, checked and made ready for training. C channels, f latent frames, h and w latent rows and columns."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from blissmask.cachefile.entry import CacheEntry, CacheHeader
from blissmask.cachefile.layout import OURS
from blissmask.errors import CacheError
from blissmask.training.weighting.loss import EMPTY_MASS, weight_masses
from blissmask.training.weighting.rule import WeightRule


@dataclass(frozen=True, slots=True)
class TrainingItem:
    """What the loop needs of one item.

    Attributes:
        name: the item's stem, for messages.
        latents_Cfhw: in the dtype they were cached in.
        weights_1fhw: loss weights, float32; None when the item has no mask or the mask loss is off: every cell counts
            1.
        outside_1fhw: 1.0 in cells the prior term holds to the base model, else 0.0; None when there are none.
        regions_4fhw: share of each cell that is face, body, hair, background; None when unknown.
        conditioning: text and image conditioning by content name.
        mass: channels times summed loss weights.
        shown_frames: first latent frames that the denoiser is shown and does not predict. Weights, outside and regions
            are without them: f is there the number of the others.
    """

    name: str
    latents_Cfhw: Tensor
    weights_1fhw: Tensor | None
    outside_1fhw: Tensor | None
    regions_4fhw: Tensor | None
    conditioning: Mapping[str, Tensor]
    mass: float
    shown_frames: int = 0

    @property
    def predicted(self) -> Tensor:
        """Return the latents that the denoiser predicts, (C, f, h, w)."""
        return self.latents_Cfhw[:, self.shown_frames :]

    @property
    def empty(self) -> bool:
        """Say whether every loss weight is 0."""
        return self.mass <= EMPTY_MASS

    @property
    def byte_count(self) -> int:
        """Return the memory its tensors take."""
        tensors = [
            self.latents_Cfhw,
            self.weights_1fhw,
            self.outside_1fhw,
            self.regions_4fhw,
            *self.conditioning.values(),
        ]
        return sum(tensor.nbytes for tensor in tensors if tensor is not None)

    def copied(self) -> TrainingItem:
        """Return it with tensors in memory of their own; those of a cache file are views that keep the whole file mapped."""
        return dataclasses.replace(
            self,
            latents_Cfhw=self.latents_Cfhw.clone(),
            weights_1fhw=_copied(self.weights_1fhw),
            outside_1fhw=_copied(self.outside_1fhw),
            regions_4fhw=_copied(self.regions_4fhw),
            conditioning={name: tensor.clone() for name, tensor in self.conditioning.items()},
        )


def make_item(
    header: CacheHeader,
    entry: CacheEntry,
    *,
    rule: WeightRule | None,
    prior_threshold: float | None,
    latent_scale: float = 1.0,
    shown_frames: int = 0,
) -> TrainingItem:
    """Check an entry and shape its weights.

    Args:
        header: names the entry in messages.
        entry: its tensors.
        rule: how weights are shaped; None when the mask loss is off.
        latent_scale: what the family's cached latents are multiplied by for training; see ``LatentSpec.train_scale``.
        prior_threshold: mask weight (before gamma and floor) below which a cell is outside; None without the prior
            term.
        shown_frames: see ``Architecture.shown_frames``; an item of no more frames than that predicts all of them.

    Raises:
        CacheError: latents, weights or conditioning hold NaN or infinity.
    """
    _refuse_non_finite(header, entry)
    latents = entry.latents_Cfhw if latent_scale == 1 else entry.latents_Cfhw.float() * latent_scale
    shown = shown_frames if latents.shape[1] > shown_frames else 0
    regions = None if entry.regions_4fhw is None or shows_no_regions(header) else entry.regions_4fhw
    weights = outside = None
    if rule is not None and entry.weights_1fhw is not None:
        weights = rule.loss_weights(dataclasses.replace(entry, regions_4fhw=regions))[:, shown:]
        # By the mask as it was cached: what only weighs less in training, such as hair, is not outside.
        outside = None if prior_threshold is None else (entry.weights_1fhw[:, shown:] < prior_threshold).float()
    return TrainingItem(
        header.stem,
        latents,
        weights,
        outside if outside is not None and bool(outside.any()) else None,
        None if regions is None else regions[:, shown:],
        entry.conditioning,
        float(latents[:, shown:].numel() if weights is None else weight_masses(weights.unsqueeze(0), latents.shape[0])),
        shown,
    )


def shows_no_regions(header: CacheHeader) -> bool:
    """Say whether the entry's mask is full weight because the item had none: 255 everywhere does not mean that everything is a face."""
    return header.metadata.get(f"{OURS}mask_source") == "full"


def _copied(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.clone()


def _refuse_non_finite(header: CacheHeader, entry: CacheEntry) -> None:
    own = {"latents": entry.latents_Cfhw, "mask_weights": entry.weights_1fhw, "mask_regions": entry.regions_4fhw}
    tensors = {**own, **entry.conditioning}
    for name, tensor in tensors.items():
        if tensor is None or not tensor.is_floating_point():
            continue
        # The sum is finite exactly when all values are (or it overflows, which the second look settles), and takes one
        # pass.
        if not torch.isfinite(tensor.float().sum()) and not torch.isfinite(tensor.float()).all():
            text = name not in header.contents and name not in own
            raise CacheError(
                f"`{name}` of this cache entry holds NaN or infinity",
                where=[header.text_path if text else header.path],
                fix="delete the file and run `blissmask cache` again; if it comes back, try `--vae-dtype float32`",
            )
