"""Encode the prompts and pictures of previews, as captions and photos are encoded for the cache.

This happens before a denoiser is loaded, so that the encoders have the memory of the device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blissmask.dataset.geometry import cover
from blissmask.families.family import FamilyForTask
from blissmask.families.files.model_files import ModelFiles
from blissmask.families.previews.pipeline import PictureEncoder, encode_picture
from blissmask.families.previews.prompt import EncodedPrompt
from blissmask.families.vae.pixels import signed_picture
from blissmask.media.image import read_image
from blissmask.tasks.cache.cached_dataset import TEXT_DTYPE
from blissmask.tasks.train.previews.complete_prompt import PlannedPreview
from blissmask.training.device import release_memory

Pictures = Sequence[NDArray[np.uint8]]
"""rgb_HW3 each."""


def encode_prompts(
    previews: Sequence[PlannedPreview],
    family: FamilyForTask,
    files: ModelFiles,
    *,
    picture_encoder: PictureEncoder | None,
    device: torch.device,
) -> list[EncodedPrompt]:
    """Encode prompts, negative prompts and pictures; the encoders are freed afterwards.

    Args:
        previews: what to draw.
        family: encodes the text.
        files: of its encoders.
        picture_encoder: encodes first frames; None where the VAE sees enough.
        device: of the encoders. The results are in CPU memory.

    Raises:
        ModelError: an encoder cannot be loaded.
        MediaError: a picture cannot be read.
    """
    pictures = [_read_pictures(preview, whole=family.task.control_range[1] > 0) for preview in previews]
    texts, negatives = _encode_texts(previews, pictures, family=family, files=files, device=device)
    release_memory(device)
    features = _encode_first_frames(pictures, files, picture_encoder, device)
    release_memory(device)
    return [
        EncodedPrompt(
            text=texts[at],
            negative=negatives.get(at),
            pictures=pictures[at],
            features_ND=features.get(at),
            settings=preview.settings,
        )
        for at, preview in enumerate(previews)
    ]


def _read_pictures(preview: PlannedPreview, *, whole: bool) -> Pictures:
    """Return the pictures of a preview, cut to its size unless they are wanted whole."""
    pictures = [read_image(path).rgb_HW3 for path in preview.pictures]
    if whole:
        return pictures
    size_wh = preview.settings.size_wh
    return [cover((rgb_HW3.shape[1], rgb_HW3.shape[0]), size_wh).fit_rgb(rgb_HW3) for rgb_HW3 in pictures]


def _encode_texts(
    previews: Sequence[PlannedPreview],
    pictures: Sequence[Pictures],
    *,
    family: FamilyForTask,
    files: ModelFiles,
    device: torch.device,
) -> tuple[list[Mapping[str, Tensor]], dict[int, Mapping[str, Tensor]]]:
    """Return the encoded prompts, and the encoded negative prompts by position, of those that have one."""
    negatives = [
        (at, preview.negative_prompt) for at, preview in enumerate(previews) if preview.negative_prompt is not None
    ]
    captions = [preview.prompt for preview in previews] + [text for _, text in negatives]
    images = None
    if family.task.text_sees_controls:
        positions = [*range(len(previews)), *(at for at, _ in negatives)]
        images = [[signed_picture(rgb_HW3) for rgb_HW3 in pictures[at]] for at in positions]
    encoder = family.load_text_encoder(files, device=device, dtype=getattr(torch, TEXT_DTYPE))
    encoded = [text.tensors for text in encoder.encode(captions, images)]
    encoded_negatives = encoded[len(previews) :]
    by_position = {at: tensors for (at, _), tensors in zip(negatives, encoded_negatives, strict=True)}
    return encoded[: len(previews)], by_position


def _encode_first_frames(
    pictures: Sequence[Pictures], files: ModelFiles, encoder: PictureEncoder | None, device: torch.device
) -> dict[int, Tensor]:
    """Return features_ND of each preview's first frame by position; empty where the family has no such encoder."""
    if encoder is None:
        return {}
    model = encoder.part.load(files, device=device, dtype=torch.float32)
    return {at: encode_picture(encoder, model, of_preview[0]) for at, of_preview in enumerate(pictures)}
