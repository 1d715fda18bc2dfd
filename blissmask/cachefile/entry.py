"""What a cache holds for one item. C channels, f, h, w latent frames, rows and columns; L caption length."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from blissmask.cachefile.layout import CLASS_ENDING
from blissmask.storage.seen import Seen, State

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class CacheHeader:
    """The header of a latent file; its tensors are not read.

    Attributes:
        path: the latent file.
        text_path: the caption's file (``STEM_SUFFIX_te.safetensors``); it may be missing on disk.
        stem: the item's stem, the part of the file name before size and architecture.
        latent_shape: (C, f, h, w) of the latents.
        contents: content name (``latents``, ``mask_weights``, ``latents_image`` ...) -> (key in the file, shape).
        metadata: the file's metadata, all strings.
        states: of the latent file and of the caption's file, before they were looked into; see ``storage.seen``.
    """

    path: Path
    text_path: Path
    stem: str
    latent_shape: tuple[int, int, int, int]
    contents: Mapping[str, tuple[str, tuple[int, ...]]]
    metadata: Mapping[str, str]
    states: tuple[State, ...] = ()

    @property
    def seen(self) -> Seen:
        """Return what was seen of the files of this entry."""
        return Seen((self.path, self.text_path), None, self.states)

    @property
    def class_text_path(self) -> Path:
        """Return the file of the caption with the class word instead of the trigger; it may be missing on disk."""
        kind = self.text_path.name.rpartition("_")[2]
        return self.text_path.with_name(self.text_path.name.removesuffix(kind) + CLASS_ENDING)

    @property
    def has_weights(self) -> bool:
        """Return whether mask weights were cached."""
        return "mask_weights" in self.contents


@dataclass(frozen=True, slots=True)
class CachedMask:
    """The mask of one item without its latents; attributes as in :class:`CacheEntry`."""

    weights_1fhw: Tensor | None
    regions_4fhw: Tensor | None


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """The tensors of one item.

    Attributes:
        latents_Cfhw: normalised latents in the dtype they were cached in.
        weights_1fhw: float32 mask weights in [0, 1] before gamma and floor; None when the item has no mask.
        regions_4fhw: float32 shares of face, body, hair and background in each latent cell (order of
            ``masks.tiers.TIERS``); None for masks with other values and for caches of other tools.
        conditioning: content name without dtype (``t5``, ``latents_image`` ...) -> tensor, text and image conditioning
            together.
        subweights_1fhw, subregions_4fhw: the mask on a grid of several sub-cells along each side of a latent cell, for
            families that weigh those apart; None for others, and for caches of other tools.
    """

    latents_Cfhw: Tensor
    weights_1fhw: Tensor | None
    regions_4fhw: Tensor | None
    conditioning: Mapping[str, Tensor]
    subweights_1fhw: Tensor | None = None
    subregions_4fhw: Tensor | None = None
