"""Encode photos and clips, refresh masks: decoding in workers, the VAE on the main thread, writing in the background."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blissmask.cachefile import fingerprint
from blissmask.cachefile.layout import LATENTS, MASK_REGIONS, MASK_WEIGHTS, OUR_FORMAT, OURS, latent_metadata, parse_key
from blissmask.cachefile.read import read_metadata, read_tensors
from blissmask.cachefile.redo import FILE_CHANGED, Redo
from blissmask.cachefile.write import mask_tensors, save_tensors, write_latents
from blissmask.dataset.pixel_mask import PixelMask
from blissmask.errors import BlissmaskError, MachineError
from blissmask.families.latent_encoder import LatentEncoder
from blissmask.families.pixels import to_signed
from blissmask.masks.latent import one_frame_weights
from blissmask.tasks.cache.cached_dataset import Model
from blissmask.tasks.cache.outcome import CacheRun
from blissmask.tasks.cache.planned_entries import Entry
from blissmask.tasks.cache.reading.entry_pixels import Pixels, read_mask, read_pixels
from blissmask.tasks.cache.reading.video_frames import Job, with_footage
from blissmask.tasks.run.plan import RunContext
from blissmask.tasks.run.workers import Background, work_through
from blissmask.training.device import find_device

_COLOURS = f"{OURS}colours"
_CLIP_JOBS = 3
"""Clips prepared at the same time: each is a few hundred MB, its mask alone two hundred, and the encoder is slower than any of them."""


def encode_latents(entries: Sequence[Entry], model: Model, context: RunContext, run: CacheRun) -> None:
    """Encode ``entries`` and write their files; the encoder is loaded when the first one is ready.

    Raises:
        ModelError: the encoder cannot be loaded.
        MachineError, StoppedError: as ``work_through``; entries that are finished are kept.
    """
    if not entries:
        return
    context = _for_clips(entries, context)
    encoder: LatentEncoder | None = None
    device = find_device(model.device)
    with Background() as background:
        jobs = with_footage(entries)
        for job, outcome in work_through(
            jobs, _prepare, context, phase="Encoding", total=len(entries), name=lambda job: job.entry.key
        ):
            entry = job.entry
            if isinstance(outcome, BlissmaskError):
                run.failed(entry, outcome)
                continue
            pixels, is_encoded = outcome
            if is_encoded:
                background.submit(_finish, entry, pixels, None, run)
                continue
            if encoder is None:
                encoder = model.family.load_latent_encoder(
                    model.files, device=device, dtype=getattr(torch, model.vae_dtype)
                )
            try:
                contents = _encode(entry, pixels, encoder, device)
            except MachineError:
                raise
            except BlissmaskError as error:
                run.failed(entry, error)
                continue
            background.submit(_finish, entry, pixels, contents, run)


def refresh_masks(entries: Sequence[Entry], context: RunContext, run: CacheRun) -> None:
    """Rewrite mask tensors and metadata of ``entries``, latents untouched; no model is needed.

    Raises:
        MachineError, StoppedError: as ``work_through``.
    """
    if not entries:
        return
    context = _for_clips(entries, context)
    jobs = with_footage(entries)
    for job, outcome in work_through(
        jobs, _refresh, context, phase="Refreshing masks", total=len(entries), name=lambda job: job.entry.key
    ):
        if isinstance(outcome, BlissmaskError):
            run.failed(job.entry, outcome)
        else:
            mean_weight, doubt = outcome
            run.wrote(job.entry, mean_weight, doubt)


def _for_clips(entries: Sequence[Entry], context: RunContext) -> RunContext:
    """Return the context to work on ``entries`` in: with fewer threads where there are clips, or they would fill the memory."""
    return (
        replace(context, jobs=min(context.jobs, _CLIP_JOBS)) if any(entry.is_moving for entry in entries) else context
    )


def _encode(entry: Entry, pixels: Pixels, encoder: LatentEncoder, device: torch.device) -> dict[str, Tensor]:
    """Return content -> tensor without the batch axis, on the device."""
    with _out_of_memory_named(entry):
        controls = [_pixels_1CFHW(control_FHW3, device) for control_FHW3 in pixels.controls]
        contents = encoder.encode_item(
            _pixels_1CFHW(pixels.rgb_FHW3, device), controls=controls, one_frame=entry.recipe.one_frame
        )
    return {name: tensor[0] for name, tensor in contents.items()}


def _pixels_1CFHW(rgb_FHW3: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Return float32 pixels_1CFHW in [-1, 1]; bytes travel to the device, a quarter of what floats would be."""
    pixels_3FHW = torch.from_numpy(rgb_FHW3).to(device).permute(3, 0, 1, 2)
    return to_signed(pixels_3FHW).unsqueeze(0).contiguous()


def _prepare(job: Job) -> tuple[Pixels, bool]:
    """Read an entry's pixels; say whether its file holds the latents of these very pixels.

    So it is when a photo was saved anew, or its alpha channel alone changed.
    """
    entry, pixels = job.entry, read_pixels(job.entry, job.footage)
    return pixels, entry.reason == FILE_CHANGED and read_metadata(entry.path).get(_COLOURS) == pixels.colours


def _finish(entry: Entry, pixels: Pixels, contents: dict[str, Tensor] | None, run: CacheRun) -> None:
    """Write an entry, with the latents that its file holds already where ``contents`` is None."""
    try:
        if contents is None:
            _replace_mask(entry, pixels.mask, pixels.media_print, pixels.mask_print)
        else:
            weights, regions = _on_grid(entry, pixels.mask, tuple(contents[LATENTS].shape))
            metadata = _metadata(entry, pixels.mask, pixels.media_print, pixels.mask_print, pixels.colours)
            write_latents(entry.path, contents, weights_1fhw=weights, regions_4fhw=regions, metadata=metadata)
    except MachineError:
        raise
    except BlissmaskError as error:
        run.failed(entry, error)
        return
    run.wrote(entry, pixels.mask.mean_weight if pixels.mask else None, pixels.doubt)


def _refresh(job: Job) -> tuple[float | None, str]:
    """Rewrite an entry's mask, or only its labels; return mean weight and doubt about the mask."""
    entry, footage = job.entry, job.footage
    media_print = footage.media_print if footage else fingerprint.take(entry.item.pixel_paths)
    if entry.redo is Redo.LABELS:
        mask_print = footage.mask_print if footage else fingerprint.take([entry.mask_path] if entry.mask_path else [])
        metadata = _metadata(entry, None, media_print, mask_print, read_metadata(entry.path).get(_COLOURS, ""))
        weight = {} if entry.mean_weight is None else {f"{OURS}mean_weight": f"{entry.mean_weight:.6f}"}
        save_tensors(entry.path, read_tensors(entry.path), {**metadata, **weight, f"{OURS}format": OUR_FORMAT})
        return entry.mean_weight, ""
    mask, doubt, mask_print = read_mask(entry, footage)
    _replace_mask(entry, mask, media_print, mask_print)
    return (mask.mean_weight if mask else None), doubt


def _replace_mask(entry: Entry, mask: PixelMask | None, media_print: str, mask_print: str) -> None:
    """Rewrite the mask tensors and the metadata of an entry; everything else is kept bit by bit."""
    tensors = read_tensors(entry.path)
    latent_shape = next(tuple(tensor.shape) for key, tensor in tensors.items() if parse_key(key).content == LATENTS)
    kept = {
        key: tensor for key, tensor in tensors.items() if parse_key(key).content not in (MASK_WEIGHTS, MASK_REGIONS)
    }
    metadata = _metadata(entry, mask, media_print, mask_print, read_metadata(entry.path).get(_COLOURS, ""))
    save_tensors(
        entry.path,
        {**kept, **mask_tensors(*_on_grid(entry, mask, latent_shape))},
        {**metadata, f"{OURS}format": OUR_FORMAT},
    )


def _on_grid(
    entry: Entry, mask: PixelMask | None, latent_shape: tuple[int, ...]
) -> tuple[Tensor | None, Tensor | None]:
    """Return weights (1, f, h, w) and shares (4, f, h, w) in the latents' own shape; a still mask holds for every latent frame."""
    if mask is None:
        return None, None
    weights_1fhw, shares_Rfhw = mask.on_grid((latent_shape[-2], latent_shape[-1]))
    if entry.recipe.one_frame is None:
        frames = latent_shape[-3]
        shares = None if shares_Rfhw is None else torch.from_numpy(shares_Rfhw).expand(-1, frames, -1, -1)
        return torch.from_numpy(weights_1fhw).expand(-1, frames, -1, -1), shares
    indices, target = entry.recipe.one_frame.frame_indices, entry.recipe.one_frame.target_index
    weights = torch.from_numpy(one_frame_weights(weights_1fhw[0], indices, target)).unsqueeze(0)
    if shares_Rfhw is None:
        return weights, None
    # Control frames weigh 1 whatever the tiers weigh, so they belong to none of them.
    slots = np.zeros((len(shares_Rfhw), len(indices), *shares_Rfhw.shape[2:]), dtype=np.float16)
    slots[:, indices.index(target)] = shares_Rfhw[:, 0]
    return weights, torch.from_numpy(slots)


def _metadata(entry: Entry, mask: PixelMask | None, media_print: str, mask_print: str, colours: str) -> dict[str, str]:
    metadata = latent_metadata(entry.recipe.model.family.metadata_name, entry.latent_name)
    metadata |= {
        **entry.wanted.metadata,
        f"{OURS}media_print": media_print,
        f"{OURS}mask_print": mask_print,
        _COLOURS: colours,
    }
    if mask is not None:
        metadata[f"{OURS}mean_weight"] = f"{mask.mean_weight:.6f}"
    return metadata


@contextmanager
def _out_of_memory_named(entry: Entry) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        width, height = entry.geometry.size_wh
        fix = "use a smaller `resolution` or fewer `target_frames`, `--vae-dtype bfloat16`, or `--device cpu`"
        raise MachineError(
            f"the device has not enough memory to encode {width}x{height}", where=[entry.key], fix=fix
        ) from error
