"""What a cache holds for one item. C channels, f, h, w latent frames, rows and columns; L caption length."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from blissmask.cachefile.file_names import TextKind, text_name
from blissmask.storage.seen import Seen, States
from blissmask.storage.short_path import ShortPath

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class SharedHeader:
    """What the headers of many latent files have in common; each is held once.

    Attributes:
        latent_shape: (C, f, h, w) of the latents.
        contents: content name (``latents``, ``mask_weights``, ``latents_image`` ...) -> (key in the file, shape).
        keys: of the metadata, without :data:`layout.UNASKED_METADATA`.
    """

    latent_shape: tuple[int, int, int, int]
    contents: Mapping[str, tuple[str, tuple[int, ...]]]
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CacheHeader:
    """The header of a latent file; its tensors are not read.

    Attributes:
        file: the latent file.
        stem: the item's stem, the part of the file name before size and architecture.
        cache_suffix: the family's short name in file names.
        shared: what other files have in common with it.
        values: of the metadata, in the order of ``shared.keys``.
        states: of the latent file and of the caption's file, before they were looked into; see ``storage.seen``.
    """

    file: ShortPath
    stem: str
    cache_suffix: str
    shared: SharedHeader
    values: tuple[str, ...]
    states: States = b""

    @property
    def path(self) -> Path:
        """Return the latent file."""
        return self.file.path

    @property
    def text_path(self) -> Path:
        """Return the caption's file; it may be missing on disk."""
        return Path(self.file.folder, text_name(self.stem, self.cache_suffix))

    @property
    def latent_shape(self) -> tuple[int, int, int, int]:
        """Return (C, f, h, w) of the latents."""
        return self.shared.latent_shape

    @property
    def contents(self) -> Mapping[str, tuple[str, tuple[int, ...]]]:
        """Return content name -> (key in the file, shape)."""
        return self.shared.contents

    @property
    def metadata(self) -> dict[str, str]:
        """Return the file's metadata, all strings, but for :data:`layout.UNASKED_METADATA`."""
        return dict(zip(self.shared.keys, self.values, strict=True))

    @property
    def seen(self) -> Seen:
        """Return what was seen of the files of this entry."""
        return Seen((self.path, self.text_path), None, self.states)

    def text_path_of(self, kind: TextKind) -> Path:
        """Return the file of another text of the item; it may be missing on disk."""
        return Path(self.file.folder, text_name(self.stem, self.cache_suffix, kind))

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
        subjects_Qfhw: float32 region shares of each of several subjects, one set of four after another, on the finest
            grid; None for data sets that show one, and for masks with other values.
        subweights_1fhw, subregions_4fhw: the mask on a grid of several sub-cells along each side of a latent cell, for
            families that weigh those apart; None for others, and for caches of other tools.
    """

    latents_Cfhw: Tensor
    weights_1fhw: Tensor | None
    regions_4fhw: Tensor | None
    conditioning: Mapping[str, Tensor]
    subweights_1fhw: Tensor | None = None
    subregions_4fhw: Tensor | None = None
    subjects_Qfhw: Tensor | None = None
