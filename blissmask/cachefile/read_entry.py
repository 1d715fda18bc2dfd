"""Read the tensors of an item: latents, masks and texts, as ours, musubi-tuner and blissful-tuner write them.

C channels; f, h, w latent frames, rows, columns.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from blissmask.cachefile.entry import CachedMask, CacheEntry, CacheHeader
from blissmask.cachefile.file_names import TextKind
from blissmask.cachefile.metadata import read_subjects
from blissmask.cachefile.read_file import REMAKE, opened, read_tensors, telling_of_memory
from blissmask.cachefile.tensor_keys import (
    LATENTS,
    MASK_REGIONS,
    MASK_SUBCELLS,
    MASK_SUBJECTS,
    MASK_SUBREGIONS,
    MASK_WEIGHTS,
    parse_key,
)
from blissmask.errors import CacheError
from blissmask.masks.tiers import TIERS

if TYPE_CHECKING:
    from torch import Tensor

_ROUNDING = 0.008
"""By which weights may leave 0..1: one step of bfloat16 above 1, which is 2**-7; those of float16 are smaller."""


def load_entry(header: CacheHeader) -> CacheEntry:
    """Read the tensors of one item, latents and text.

    Mask weights are read under every key that other tools use, in any float dtype, with 3 or 4 dimensions, and with a
    frame for each latent frame or one for all. They are returned as float32 of shape (1, f, h, w).

    Raises:
        ChangedError: a file was written anew since its header was read.
        CacheError: a file is missing, truncated or damaged, or the mask does not fit the latents.
        MachineError: a file does not fit into memory.
    """
    header.seen.check()
    named = {content: _with_frames(content, tensor) for content, tensor in _by_content(header.path).items()}
    latents_Cfhw = named.pop(LATENTS)
    weights = named.pop(MASK_WEIGHTS, None)
    regions = named.pop(MASK_REGIONS, None)
    subweights = named.pop(MASK_SUBCELLS, None)
    subregions = named.pop(MASK_SUBREGIONS, None)
    subjects = named.pop(MASK_SUBJECTS, None)
    named.update(_by_content(header.text_path))
    # Once more: a tensor may have been read from a file that was put in the place of the one looked at.
    header.seen.check()
    return CacheEntry(
        latents_Cfhw=latents_Cfhw,
        weights_1fhw=None if weights is None else _on_grid(weights, 1, header),
        regions_4fhw=None if regions is None else _on_grid(regions, 4, header),
        conditioning=named,
        subweights_1fhw=None if subweights is None else _on_subgrid(subweights, 1, header),
        subregions_4fhw=None if subregions is None else _on_subgrid(subregions, 4, header),
        subjects_Qfhw=None if subjects is None else _on_subgrid(subjects, _subject_planes(header), header),
    )


def load_text(header: CacheHeader, kind: TextKind) -> dict[str, Tensor]:
    """Read another text of the item than its caption as it is written.

    Raises:
        CacheError: the file is missing or damaged.
        MachineError: it does not fit into memory.
    """
    return _by_content(header.text_path_of(kind))


def load_mask(header: CacheHeader) -> CachedMask:
    """Read the mask of one item and leave its latents, which are many times larger; see :func:`load_entry`.

    Raises:
        CacheError: the file is missing, truncated or damaged, or the mask does not fit the latents.
        MachineError: the file does not fit into memory.
    """
    keys = {name: key for name, (key, _) in header.contents.items()}
    with opened(header.path, "pt") as file, telling_of_memory(header.path):
        weights = file.get_tensor(keys[MASK_WEIGHTS]) if MASK_WEIGHTS in keys else None
        regions = file.get_tensor(keys[MASK_REGIONS]) if MASK_REGIONS in keys else None
    return CachedMask(
        weights_1fhw=None if weights is None else _on_grid(weights, 1, header),
        regions_4fhw=None if regions is None else _on_grid(regions, 4, header),
    )


def _by_content(path: Path) -> dict[str, Tensor]:
    return {parse_key(key).content: tensor for key, tensor in read_tensors(path).items()}


def _with_frames(content: str, tensor: Tensor) -> Tensor:
    """Return a latent tensor, of the item or of a control picture, with its frame axis; see :class:`FrameAxis`."""
    return tensor.unsqueeze(1) if content.startswith(LATENTS) and tensor.ndim == 3 else tensor


def _subject_planes(header: CacheHeader) -> int:
    return len(TIERS) * len(read_subjects(header.metadata))


def _on_subgrid(tensor: Tensor, planes: int, header: CacheHeader) -> Tensor:
    """Bring a mask tensor of sub-cells to float32 (planes, f, n * h, n * w), for any whole n."""
    return _on_grid(tensor, planes, header, subcells=max(1, tensor.shape[-1] // header.latent_shape[-1]))


def _on_grid(tensor: Tensor, planes: int, header: CacheHeader, *, subcells: int = 1) -> Tensor:
    """Bring a mask tensor to float32 (planes, f, h, w); raise CacheError when it cannot belong to the latents."""
    frames, rows, columns = header.latent_shape[1:]
    rows, columns = rows * subcells, columns * subcells
    fits = tensor.is_floating_point() and tensor.ndim in (3, 4) and tuple(tensor.shape[-2:]) == (rows, columns)
    if fits and tensor.numel():
        _refuse_no_shares(tensor, header)
    if fits and tensor.numel() == planes * frames * rows * columns:
        return tensor.reshape(planes, frames, rows, columns).float()
    if fits and tensor.numel() == planes * rows * columns:
        return tensor.reshape(planes, 1, rows, columns).expand(planes, frames, rows, columns).float().contiguous()
    raise CacheError(
        f"the mask {list(tensor.shape)} does not fit the latents {list(header.latent_shape)}",
        where=[header.path],
        fix=REMAKE,
    )


def _refuse_no_shares(tensor: Tensor, header: CacheHeader) -> None:
    """Raise CacheError for weights and shares that do not lie in 0..1, such as grey values of another tool."""
    least, most = (float(value) for value in tensor.float().aminmax())
    # NaN and infinity are told of where the whole entry is read.
    if math.isfinite(most - least) and (least < -_ROUNDING or most > 1 + _ROUNDING):
        what = f"the mask holds {least:g} to {most:g}, and weights lie between 0 and 1"
        raise CacheError(what, where=[header.path], fix=REMAKE)
