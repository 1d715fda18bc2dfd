"""Turn planned previews into shots: prompts and pictures encoded, as captions and photos are for the cache, before a denoiser is loaded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from blissmask.dataset.geometry import cover
from blissmask.families.files.model_files import model_files
from blissmask.families.previews import Shot, encode_picture, to_signed
from blissmask.media.image import read_image
from blissmask.tasks.cache.cached_dataset import TEXT_DTYPE
from blissmask.tasks.train.plan import TrainPlan
from blissmask.tasks.train.previews.plan import PlannedShot
from blissmask.training.device import release_memory


def encode_shots(plan: TrainPlan, planned: Sequence[PlannedShot], device: torch.device) -> list[Shot]:
    """Encode prompts and what not to draw with the family's own encoders; they are let go afterwards.

    Args:
        plan: names the family and its files.
        planned: what to draw.
        device: of the encoders; what comes of them is in CPU memory.

    Raises:
        ModelError: an encoder cannot be loaded.
        MediaError: a picture cannot be read.
    """
    assert plan.family is not None
    assert plan.previews is not None
    files, dtype = model_files(plan.config.model), getattr(torch, TEXT_DTYPE)
    sees_pictures = plan.family.task.text_sees_controls
    pictures = [_read_pictures(shot, whole=sees_pictures) for shot in planned]
    asked = [(shot.prompt, at) for at, shot in enumerate(planned)]
    asked += [(shot.negative, at) for at, shot in enumerate(planned) if shot.negative is not None]
    encoder = plan.family.load_text_encoder(files, device=device, dtype=dtype)
    images = [[to_signed(rgb_HW3) for rgb_HW3 in pictures[at]] for _, at in asked] if sees_pictures else None
    texts = [encoded.tensors for encoded in encoder.encode([text for text, _ in asked], images)]
    negatives = dict(zip((at for _, at in asked[len(planned) :]), texts[len(planned) :], strict=True))
    del encoder
    features = _look_at(plan, pictures, device)
    release_memory(device)
    return [
        Shot(
            text=texts[at],
            negative=negatives.get(at),
            size_wh=shot.size_wh,
            frames=shot.frames,
            steps=shot.steps,
            cfg_scale=shot.cfg_scale,
            guidance=shot.guidance,
            shift=shot.shift,
            seed=shot.seed,
            pictures=pictures[at],
            features_ND=features[at],
        )
        for at, shot in enumerate(planned)
    ]


def _read_pictures(shot: PlannedShot, *, whole: bool) -> list[NDArray[np.uint8]]:
    """Return the pictures of a shot, cut to its size unless they are wanted whole."""
    pictures = [read_image(path).rgb_HW3 for path in shot.pictures]
    return pictures if whole else [cover((rgb.shape[1], rgb.shape[0]), shot.size_wh).fit_rgb(rgb) for rgb in pictures]


def _look_at(
    plan: TrainPlan, pictures: Sequence[Sequence[NDArray[np.uint8]]], device: torch.device
) -> list[torch.Tensor | None]:
    """Return the features of each shot's first frame, where the family looks at them."""
    assert plan.previews is not None
    encoder = plan.previews.drawing.picture_encoder
    if encoder is None:
        return [None] * len(pictures)
    release_memory(device)
    model = encoder.part.load(model_files(plan.config.model), device=device, dtype=torch.float32)
    return [encode_picture(encoder, model, shown[0]) for shown in pictures]
