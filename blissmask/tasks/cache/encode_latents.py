"""Encode photos and clips, and refresh masks.

Workers decode, the main thread runs the VAE, and a background thread writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blissmask.cachefile import fingerprint
from blissmask.cachefile.metadata import LOOK, OUR_FORMAT, OURS, latent_metadata, mean_weight_text
from blissmask.cachefile.read_file import read_metadata, read_tensors
from blissmask.cachefile.read_headers import read_header
from blissmask.cachefile.redo import FILE_CHANGED, Redo
from blissmask.cachefile.tensor_keys import LATENTS, MASK_CONTENTS, parse_key
from blissmask.cachefile.write import mask_tensors, save_tensors, write_latents
from blissmask.dataset.pixel_mask import PixelMask
from blissmask.errors import BlissmaskError, MachineError
from blissmask.families.vae.latent_encoder import LatentEncoder
from blissmask.families.vae.pixels import to_signed
from blissmask.masks.latent import one_frame_weights
from blissmask.tasks.cache.cached_dataset import Model, refuse_other_model
from blissmask.tasks.cache.planned_entries import LatentEntry
from blissmask.tasks.cache.reading.entry_pixels import MaskReading, Pixels, read_mask, read_pixels
from blissmask.tasks.cache.reading.video_frames import Job, SharedVideo, with_shared_videos
from blissmask.tasks.cache.remarks.look_at_photos import with_look
from blissmask.tasks.cache.report import CacheRun
from blissmask.tasks.run.plan import RunContext
from blissmask.tasks.run.workers import Background, reading, work_through
from blissmask.training.device import find_device

_COLOURS = f"{OURS}colours"
_CLIP_JOBS = 3
"""Clips prepared at the same time. Each takes a few hundred MB, its mask alone two hundred; the encoder is slower."""


def encode_latents(entries: Sequence[LatentEntry], model: Model, context: RunContext, run: CacheRun) -> None:
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
        jobs = with_shared_videos(entries)
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
                refuse_other_model(model.vae, model.family.latent_identity(model.files))
            try:
                contents = _encode(entry, pixels, encoder, device)
            except MachineError:
                raise
            except BlissmaskError as error:
                run.failed(entry, error)
                continue
            background.submit(_finish, entry, pixels, contents, run)


def refresh_masks(entries: Sequence[LatentEntry], context: RunContext, run: CacheRun) -> None:
    """Rewrite mask tensors and metadata of ``entries``, latents untouched; no model is needed.

    Raises:
        MachineError, StoppedError: as ``work_through``.
    """
    if not entries:
        return
    context = _for_clips(entries, context)
    jobs = with_shared_videos(entries)
    for job, outcome in work_through(
        jobs, _refresh, context, phase="Refreshing masks", total=len(entries), name=lambda job: job.entry.key
    ):
        if isinstance(outcome, BlissmaskError):
            run.failed(job.entry, outcome)
        else:
            mean_weight, doubt = outcome
            run.wrote(job.entry, mean_weight, doubt)


def _for_clips(entries: Sequence[LatentEntry], context: RunContext) -> RunContext:
    """Return ``context`` with fewer threads where there are clips, which would fill the memory."""
    if any(entry.is_moving for entry in entries):
        return replace(context, jobs=min(context.jobs, _CLIP_JOBS))
    return context


def _encode(entry: LatentEntry, pixels: Pixels, encoder: LatentEncoder, device: torch.device) -> dict[str, Tensor]:
    """Return content -> tensor without the batch axis, on the device."""
    with _out_of_memory_named(entry):
        controls = [_signed_pixels(control_FHW3, device) for control_FHW3 in pixels.controls]
        contents = encoder.encode_item(
            _signed_pixels(pixels.rgb_FHW3, device), controls=controls, one_frame=entry.dataset.one_frame
        )
    return {name: tensor[0] for name, tensor in contents.items()}


def _signed_pixels(rgb_FHW3: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Return float32 pixels_1CFHW in [-1, 1]; bytes travel to the device, a quarter of what floats would be."""
    pixels_3FHW = torch.from_numpy(rgb_FHW3).to(device).permute(3, 0, 1, 2)
    return to_signed(pixels_3FHW).unsqueeze(0).contiguous()


def _prepare(job: Job) -> tuple[Pixels, bool]:
    """Read an entry's pixels; say whether its file holds the latents of these very pixels.

    So it is when a photo was saved anew, or its alpha channel alone changed.
    """
    entry = job.entry
    with reading(entry.seen):
        pixels = read_pixels(entry, job.video)
    return pixels, entry.reason == FILE_CHANGED and read_metadata(entry.path).get(_COLOURS) == pixels.colours


def _finish(entry: LatentEntry, pixels: Pixels, contents: dict[str, Tensor] | None, run: CacheRun) -> None:
    """Write an entry, with the latents that its file holds already where ``contents`` is None."""
    try:
        if contents is None:
            _replace_mask(entry, pixels.reading, pixels.media_print)
        else:
            planes = _mask_planes(entry, pixels.reading.mask, tuple(contents[LATENTS].shape))
            metadata = _metadata(
                with_look(entry), pixels.reading, media_print=pixels.media_print, colours=pixels.colours
            )
            write_latents(
                entry.path,
                contents,
                metadata=metadata,
                frame_axis=entry.latent.frame_axis,
                seen=entry.seen,
                **planes,
            )
    except MachineError:
        raise
    except BlissmaskError as error:
        run.failed(entry, error)
        return
    run.wrote(entry, pixels.reading.mean_weight, pixels.reading.doubt)


def _refresh(job: Job) -> tuple[float | None, str]:
    """Rewrite an entry's mask, or only its labels; return mean weight and doubt about the mask."""
    with reading(job.entry.seen):
        return _rewrite(job.entry, job.video)


def _rewrite(entry: LatentEntry, video: SharedVideo | None) -> tuple[float | None, str]:
    media_print = video.media_print if video else fingerprint.take(entry.item.pixel_paths)
    if entry.redo is Redo.LABELS:
        mask_print = video.mask_print if video else fingerprint.take(entry.mask_files)
        colours = read_metadata(entry.path).get(_COLOURS, "")
        reading = MaskReading(None, fingerprint=mask_print)
        metadata = _metadata(entry, reading, media_print=media_print, colours=colours)
        weight = {} if entry.mean_weight is None else {f"{OURS}mean_weight": mean_weight_text(entry.mean_weight)}
        metadata |= {**weight, f"{OURS}format": OUR_FORMAT}
        save_tensors(entry.path, read_tensors(entry.path), metadata, seen=entry.seen)
        return entry.mean_weight, ""
    reading = read_mask(entry, video)
    _replace_mask(entry, reading, media_print)
    return reading.mean_weight, reading.doubt


def _replace_mask(entry: LatentEntry, reading: MaskReading, media_print: str) -> None:
    """Rewrite the mask tensors and the metadata of an entry; everything else is kept bit by bit."""
    tensors = read_tensors(entry.path)
    latent_shape = read_header(entry.path, entry.dataset.family.cache_suffix).latent_shape
    kept = {key: tensor for key, tensor in tensors.items() if parse_key(key).content not in MASK_CONTENTS}
    colours = read_metadata(entry.path).get(_COLOURS, "")
    metadata = _metadata(entry, reading, media_print=media_print, colours=colours)
    planes = mask_tensors(**_mask_planes(entry, reading.mask, latent_shape))
    metadata[f"{OURS}format"] = OUR_FORMAT
    save_tensors(entry.path, {**kept, **planes}, metadata, seen=entry.seen)


def _mask_planes(entry: LatentEntry, mask: PixelMask | None, latent_shape: tuple[int, ...]) -> dict[str, Tensor | None]:
    """Return what an entry holds of its mask, as arguments of ``mask_tensors``.

    Args:
        entry: whose mask.
        mask: None when the data set has no masks.
        latent_shape: (C, f, h, w).
    """
    if mask is None:
        return {"weights_1fhw": None, "regions_4fhw": None}
    frames, rows, columns = latent_shape[1:]
    weights, regions = _on_grid(entry, mask, frames, (rows, columns))
    planes = {"weights_1fhw": weights, "regions_4fhw": regions}
    count = entry.latent.subcells
    subjects_Qfhw = mask.subjects_on_grid((rows * count, columns * count))
    if subjects_Qfhw is not None:
        planes["subjects_Qfhw"] = _shares_of_frames(entry, subjects_Qfhw, frames)
    if count > 1:
        subweights, subregions = _on_grid(entry, mask, frames, (rows * count, columns * count))
        planes |= {"subweights_1fhw": subweights, "subregions_4fhw": subregions}
    return planes


def _on_grid(
    entry: LatentEntry, mask: PixelMask, frames: int, grid_hw: tuple[int, int]
) -> tuple[Tensor, Tensor | None]:
    """Return weights (1, f, h, w) and shares (4, f, h, w) on a grid; a still mask holds for every latent frame."""
    weights_1fhw, shares_Rfhw = mask.on_grid(grid_hw)
    shares = None if shares_Rfhw is None else _shares_of_frames(entry, shares_Rfhw, frames)
    if entry.dataset.one_frame is None:
        return torch.from_numpy(weights_1fhw).expand(-1, frames, -1, -1), shares
    indices, target = entry.dataset.one_frame.frame_indices, entry.dataset.one_frame.target_index
    return torch.from_numpy(one_frame_weights(weights_1fhw[0], indices, target)).unsqueeze(0), shares


def _shares_of_frames(entry: LatentEntry, shares_Rfhw: NDArray[np.float16], frames: int) -> Tensor:
    """Return region shares, of one mask or of several subjects, for each latent frame of an entry."""
    if entry.dataset.one_frame is None:
        return torch.from_numpy(shares_Rfhw).expand(-1, frames, -1, -1)
    indices, target = entry.dataset.one_frame.frame_indices, entry.dataset.one_frame.target_index
    # Control frames weigh 1 whatever the tiers weigh, so they belong to none of them.
    slots = np.zeros((len(shares_Rfhw), len(indices), *shares_Rfhw.shape[2:]), dtype=np.float16)
    slots[:, indices.index(target)] = shares_Rfhw[:, 0]
    return torch.from_numpy(slots)


def _metadata(entry: LatentEntry, reading: MaskReading, *, media_print: str, colours: str) -> dict[str, str]:
    metadata = latent_metadata(entry.dataset.family.metadata_name, entry.latent_name)
    metadata |= {
        **entry.wanted.metadata,
        f"{OURS}media_print": media_print,
        f"{OURS}mask_print": reading.fingerprint,
        _COLOURS: colours,
    }
    if entry.look is not None:
        metadata[LOOK] = str(entry.look)
    if reading.mean_weight is not None:
        metadata[f"{OURS}mean_weight"] = mean_weight_text(reading.mean_weight)
    return metadata


@contextmanager
def _out_of_memory_named(entry: LatentEntry) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        width, height = entry.geometry.size_wh
        fix = "use a smaller `resolution` or fewer `target_frames`, `--vae-dtype bfloat16`, or `--device cpu`"
        raise MachineError(
            f"the device has not enough memory to encode {width}x{height}", where=[entry.key], fix=fix
        ) from error
