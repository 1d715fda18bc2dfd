"""What Wan's image-to-video tasks show the denoiser: the first frame as channels, and the pictures of one-frame items.

Sources: the Wan repositories (image-to-video), musubi-tuner's cache format (one-frame). Shapes: B items, C channels, F
latent frames, H and W rows and columns; N patches plus one and D their width, 257 and 1280 in the full CLIP (ViT-H/14).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from blissmask.errors import UsageError
from blissmask.families.protocol import Item, OneFrame, PixelEncoder

# One mask channel per pixel frame of a latent frame.
_MASK_CHANNELS = 4
# Source: the Wan 2.1 repository; the numbers are OpenAI CLIP's.
_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def encode_first_frame(item: Item, vae: PixelEncoder, clip: Any | None = None) -> dict[str, Tensor]:
    """Add ``latents_image`` (B, 20, F, H, W) to the latents and, for Wan 2.1, ``clip`` (B, N, D).

    ``latents_image``: four channels that are 1 on the first latent frame, 16 of the latents of the first frame followed
    by mid-grey. ``clip``: features of the first frame. One-frame items: see :func:`_encode_one_frame`.

    Args:
        item: the pixels.
        vae: encodes them.
        clip: ``CLIPVisionModel``; None for models that see no CLIP features (Wan 2.2).
    """
    if item.one_frame is not None:
        return _encode_one_frame(item, item.one_frame, vae, clip)
    if item.controls:
        fix = "remove the control pictures, or use `--one-frame`"
        raise UsageError("image-to-video takes its picture from the video's first frame", fix=fix)
    pixels_BCFHW = item.pixels_BCFHW
    shown_BCFHW = torch.zeros_like(pixels_BCFHW)
    shown_BCFHW[:, :, :1] = pixels_BCFHW[:, :, :1]
    latents_BCFHW = vae.encode(pixels_BCFHW)
    # A single frame is its own condition; encoding it twice would double the cost.
    condition_BCFHW = latents_BCFHW if pixels_BCFHW.shape[2] == 1 else vae.encode(shown_BCFHW)
    is_shown = torch.zeros(latents_BCFHW.shape[2], dtype=torch.bool)
    is_shown[0] = True
    contents = {"latents": latents_BCFHW, "latents_image": _with_mask(condition_BCFHW, is_shown)}
    if clip is not None:
        contents["clip"] = clip_features(clip, pixels_BCFHW[:, :, 0])
    return contents


def clip_features(model: Any, pictures_B3HW: Tensor) -> Tensor:
    """Return features_BND of pictures in [-1, 1], float32: what the last but one block leaves.

    The whole picture is squeezed to the model's square. Source: the Wan 2.1 repository.
    """
    size = model.config.image_size
    weight = next(model.parameters())
    small_B3HW = F.interpolate(pictures_B3HW.float(), size=(size, size), mode="bicubic", align_corners=False)
    small_B3HW = small_B3HW * 0.5 + 0.5
    mean, std = (small_B3HW.new_tensor(values).view(1, 3, 1, 1) for values in (_CLIP_MEAN, _CLIP_STD))
    normalised_B3HW = ((small_B3HW - mean) / std).to(weight.device, weight.dtype)
    return model(normalised_B3HW, output_hidden_states=True).hidden_states[-2].float()  # type: ignore[no-any-return]


def _encode_one_frame(item: Item, one_frame: OneFrame, vae: PixelEncoder, clip: Any | None) -> dict[str, Tensor]:
    """Encode a target picture among control pictures, each a latent frame of its own, in the order of their indices.

    ``latents_image``: mask 1 and the control's latents in control slots, mask 0 and the latents of mid-grey in the
    target's. ``clip`` (B, controls, N, D), ``f_indices`` (B, F) int32.
    """
    target_BC1HW, controls = item.pixels_BCFHW, item.controls
    if len(controls) != len(one_frame.clean_indices) or not controls:
        raise UsageError(
            f"{len(controls)} control pictures for {len(one_frame.clean_indices)} control indices",
            fix="give as many control pictures as `fp_1f_clean_indices` has numbers",
        )
    indices = one_frame.frame_indices
    if len(set(indices)) != len(indices):
        raise UsageError("a control picture and another share a time index", where=[f"indices {list(indices)}"])
    shown = {index: vae.encode(control) for index, control in zip(one_frame.clean_indices, controls, strict=True)}
    grey = vae.encode(torch.zeros_like(target_BC1HW[:1])).expand(len(target_BC1HW), -1, -1, -1, -1)
    target = vae.encode(target_BC1HW)
    is_shown = torch.tensor([index in shown for index in indices])
    contents = {
        "latents": torch.cat([shown.get(index, target) for index in indices], dim=2),
        "latents_image": _with_mask(torch.cat([shown.get(index, grey) for index in indices], dim=2), is_shown),
        "f_indices": torch.tensor(indices, dtype=torch.int32).expand(len(target_BC1HW), -1).contiguous(),
    }
    if clip is not None:
        contents["clip"] = torch.stack([clip_features(clip, control[:, :, 0]) for control in controls], dim=1)
    return contents


def _with_mask(condition_BCFHW: Tensor, is_shown_F: Tensor) -> Tensor:
    """Put four channels before the condition that are 1 on the frames the model is shown."""
    batch, _, frames, height, width = condition_BCFHW.shape
    mask = is_shown_F.to(condition_BCFHW).view(1, 1, frames, 1, 1)
    return torch.cat([mask.expand(batch, _MASK_CHANNELS, frames, height, width), condition_BCFHW], dim=1)
