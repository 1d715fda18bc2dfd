"""Write cache entries whole or not at all: the one place where safetensors files are written.

C channels; f, h, w latent frames, rows, columns; L caption length.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from blissmask.cachefile.file_names import as_unicode
from blissmask.cachefile.metadata import OUR_FORMAT, OURS
from blissmask.cachefile.tensor_keys import (
    LATENTS,
    MASK_REGIONS,
    MASK_SUBCELLS,
    MASK_SUBJECTS,
    MASK_SUBREGIONS,
    MASK_WEIGHTS,
    FrameAxis,
    grid_key,
    plain_key,
)
from blissmask.errors import CacheError
from blissmask.storage.atomic import publishing
from blissmask.storage.seen import NOTHING_SEEN, Seen

_VAE_FIX = "encode in float32 (`vae_dtype`), and check that the model file is complete"


def save_tensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    *,
    fix: str = "",
    seen: Seen = NOTHING_SEEN,
) -> None:
    """Publish a safetensors file.

    Args:
        path: the file.
        tensors: key in the file -> tensor, on any device, views allowed.
        metadata: the metadata in the header; invalid Unicode, as names of files from other systems hold it, is
            escaped.
        fix: how to mend values that are not finite, for the error message.
        seen: what the plan saw of the item's files; see ``storage.atomic.publishing``.

    Raises:
        CacheError: a tensor holds NaN or infinity; nothing is written.
        MachineError, ChangedError: as ``storage.atomic.publishing``; nothing is left behind.
    """
    broken = [f"`{key}`" for key, tensor in tensors.items() if tensor.is_floating_point() and not _is_finite(tensor)]
    if broken:
        raise CacheError(f"NaN or infinite values in {', '.join(broken)}", where=[path], fix=fix)
    # Views of one batch share memory, which the format cannot hold.
    owned = {
        key: tensor.detach().to("cpu").clone(memory_format=torch.contiguous_format) for key, tensor in tensors.items()
    }
    with publishing(path, seen=seen) as temporary, temporary.open("wb") as file:
        file.writelines(_serialise(owned, metadata))


def write_latents(
    path: Path,
    contents: Mapping[str, Tensor],
    *,
    weights_1fhw: Tensor | None,
    regions_4fhw: Tensor | None,
    metadata: Mapping[str, str],
    frame_axis: FrameAxis = FrameAxis.KEPT,
    subweights_1fhw: Tensor | None = None,
    subregions_4fhw: Tensor | None = None,
    subjects_Qfhw: Tensor | None = None,
    seen: Seen = NOTHING_SEEN,
) -> None:
    """Publish the latent file of one item.

    Args:
        path: the file.
        contents: content name -> tensor: ``latents`` (C, f, h, w) and what the family adds. Tensors whose name starts
            with ``latents`` are on the latent grid.
        weights_1fhw: mask weights in [0, 1]; None leaves them out.
        regions_4fhw: shares of the tiers in each cell; None leaves them out.
        metadata: see the page of ``cachefile``, without ``blissmask.format``, which is added.
        frame_axis: how the family's latents are spelled.
        subweights_1fhw, subregions_4fhw: the same on the grid of sub-cells, for families that have them.
        subjects_Qfhw: of several subjects, the region shares of each, Q = 4 x subjects, on the finest of these grids.
        seen: what the plan saw of the item's files.

    Raises:
        CacheError, MachineError, ChangedError: see :func:`save_tensors`.
    """
    tensors = dict(_latent_tensor(content, tensor, frame_axis) for content, tensor in contents.items())
    tensors.update(mask_tensors(weights_1fhw, regions_4fhw, subweights_1fhw, subregions_4fhw, subjects_Qfhw))
    save_tensors(path, tensors, {**metadata, f"{OURS}format": OUR_FORMAT}, fix=_VAE_FIX, seen=seen)


def write_text(
    path: Path,
    contents: Mapping[str, Tensor],
    *,
    variable_length: Collection[str],
    metadata: Mapping[str, str],
    seen: Seen = NOTHING_SEEN,
) -> None:
    """Publish the text file of one media file.

    Args:
        path: the file.
        contents: content name -> tensor, e.g. ``t5`` (L, 4096).
        variable_length: contents whose first axis is the caption's own length.
        metadata: see the page of ``cachefile``, without ``blissmask.format``, which is added.
        seen: what the plan saw of the item's files.

    Raises:
        CacheError, MachineError, ChangedError: see :func:`save_tensors`.
    """
    tensors = {
        plain_key(content, tensor.dtype, variable_length=content in variable_length): tensor
        for content, tensor in contents.items()
    }
    fix = "check that the text encoder's file is complete"
    save_tensors(path, tensors, {**metadata, f"{OURS}format": OUR_FORMAT}, fix=fix, seen=seen)


def mask_tensors(
    weights_1fhw: Tensor | None,
    regions_4fhw: Tensor | None,
    subweights_1fhw: Tensor | None = None,
    subregions_4fhw: Tensor | None = None,
    subjects_Qfhw: Tensor | None = None,
) -> dict[str, Tensor]:
    """Return the mask tensors of an entry by their key in the file: weights as float32, shares as float16."""
    planes = [
        (MASK_WEIGHTS, weights_1fhw, torch.float32),
        (MASK_REGIONS, regions_4fhw, torch.float16),
        (MASK_SUBCELLS, subweights_1fhw, torch.float32),
        (MASK_SUBREGIONS, subregions_4fhw, torch.float16),
        (MASK_SUBJECTS, subjects_Qfhw, torch.float16),
    ]
    return {
        grid_key(content, tuple(plane.shape), dtype): plane.to(dtype)
        for content, plane, dtype in planes
        if plane is not None
    }


def _latent_tensor(content: str, tensor: Tensor, frame_axis: FrameAxis) -> tuple[str, Tensor]:
    """Return key and tensor as the file holds them."""
    if not content.startswith(LATENTS):
        return plain_key(content, tensor.dtype), tensor
    key = grid_key(content, tuple(tensor.shape), tensor.dtype, frame_axis)
    # Families without the axis make pictures, of one frame.
    return key, tensor if frame_axis is FrameAxis.KEPT else tensor.squeeze(1)


def _is_finite(tensor: Tensor) -> bool:
    # float8 has no isfinite of its own.
    return bool(torch.isfinite(tensor if tensor.element_size() > 1 else tensor.float()).all())


def _serialise(tensors: dict[str, Tensor], metadata: Mapping[str, str]) -> tuple[bytes, memoryview]:
    """Return the header and the data of a safetensors file; the same content gives the same bytes.

    The metadata is sorted, since the library writes it in the order of a hash map with random seeds. The library
    returns bytes here and does not write the file: it would write to a temporary name of its own, which a killed run
    leaves behind and nobody removes.
    """
    # None instead of an empty dictionary: without tensors, the library would write a header that is no JSON.
    data = save(tensors, metadata={key: as_unicode(value) for key, value in metadata.items()} or None)
    data_start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:data_start])
    if "__metadata__" in header:
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    # The format requires that the data begins at a multiple of 8.
    text = text.ljust(-(-len(text) // 8) * 8)
    return len(text).to_bytes(8, "little") + text, memoryview(data)[data_start:]
