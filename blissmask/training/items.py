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
from blissmask.training.loss import EMPTY_MASS, weight_masses
from blissmask.training.weights import WeightRule


@dataclass(frozen=True, slots=True)
class TrainingItem:
    """What the loop needs of one item.

    Attributes:
        name: the item's stem, for messages.
        latents_Cfhw: in the dtype they were cached in.
        weights_1fhw: loss weights, float32; None when the item has no mask or the mask loss is off: every cell counts 1.
        outside_1fhw: 1.0 in cells the prior term holds to the base model, else 0.0; None when there are none.
        regions_4fhw: share of each cell that is face, body, hair, background; None when unknown.
        conditioning: text and image conditioning by content name.
        mass: channels times summed loss weights.
    """

    name: str
    latents_Cfhw: Tensor
    weights_1fhw: Tensor | None
    outside_1fhw: Tensor | None
    regions_4fhw: Tensor | None
    conditioning: Mapping[str, Tensor]
    mass: float

    @property
    def empty(self) -> bool:
        """Say whether every loss weight is 0."""
        return self.mass <= EMPTY_MASS

    @property
    def byte_count(self) -> int:
        """Return the memory its tensors take."""
        tensors = [self.latents_Cfhw, self.weights_1fhw, self.outside_1fhw, self.regions_4fhw, *self.conditioning.values()]
        return sum(tensor.nbytes for tensor in tensors if tensor is not None)


def make_item(
    header: CacheHeader, entry: CacheEntry, *, rule: WeightRule | None, prior_threshold: float | None, latent_scale: float = 1.0
) -> TrainingItem:
    """Check an entry and shape its weights.

    Args:
        header: names the entry in messages.
        entry: its tensors.
        rule: how weights are shaped; None when the mask loss is off.
        latent_scale: what the family's cached latents are multiplied by for training; see ``LatentSpec.train_scale``.
        prior_threshold: mask weight (before gamma and floor) below which a cell is outside; None without the prior term.

    Raises:
        CacheError: latents, weights or conditioning hold NaN or infinity.
    """
    _refuse_non_finite(header, entry)
    latents = entry.latents_Cfhw if latent_scale == 1 else entry.latents_Cfhw.float() * latent_scale
    if shows_no_regions(header):
        entry = dataclasses.replace(entry, regions_4fhw=None)
    if rule is None or entry.weights_1fhw is None:
        mass = float(latents.numel())
        return TrainingItem(header.stem, latents, None, None, entry.regions_4fhw, entry.conditioning, mass)
    weights_1fhw = rule.loss_weights(entry)
    # By the mask as it was cached: what only weighs less in training, such as hair, is not outside.
    outside = None if prior_threshold is None else (entry.weights_1fhw < prior_threshold).float()
    mass = float(weight_masses(weights_1fhw.unsqueeze(0), latents.shape[0]))
    return TrainingItem(
        header.stem,
        latents,
        weights_1fhw,
        outside if outside is not None and bool(outside.any()) else None,
        entry.regions_4fhw,
        entry.conditioning,
        mass,
    )


def shows_no_regions(header: CacheHeader) -> bool:
    """Say whether the entry's mask is full weight because the item had none: 255 everywhere does not mean that everything is a face."""
    return header.metadata.get(f"{OURS}mask_source") == "full"


def _refuse_non_finite(header: CacheHeader, entry: CacheEntry) -> None:
    own = {"latents": entry.latents_Cfhw, "mask_weights": entry.weights_1fhw, "mask_regions": entry.regions_4fhw}
    tensors = {**own, **entry.conditioning}
    for name, tensor in tensors.items():
        if tensor is None or not tensor.is_floating_point():
            continue
        # The sum is finite exactly when all values are (or it overflows, which the second look settles), and takes one pass.
        if not torch.isfinite(tensor.float().sum()) and not torch.isfinite(tensor.float()).all():
            text = name not in header.contents and name not in own
            raise CacheError(
                f"`{name}` of this cache entry holds NaN or infinity",
                where=[header.text_path if text else header.path],
                fix="delete the file and run `blissmask cache` again; if it comes back, try `--vae-dtype float32`",
            )
