"""Encode items of Wan's image-to-video tasks: the first frame as condition, and the pictures of one-frame items.

Sources: the Wan repositories (image-to-video), musubi-tuner's cache format (one-frame).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from blissmask.errors import UsageError
from blissmask.families.protocol import OneFrame
from blissmask.families.wan.clip import clip_features
from blissmask.families.wan.latents import WanLatentEncoder

# One mask channel per pixel frame of a latent frame.
_MASK_CHANNELS = 4


class WanImageToVideoEncoder:
    """Adds to ``latents`` what an image-to-video denoiser is shown: ``latents_image`` and, for Wan 2.1, ``clip``.

    Args:
        latents: encodes pixels.
        clip: ``CLIPVisionModel``, or None for models without one (Wan 2.2).
        identity: names the weights of both by content.
    """

    def __init__(self, latents: WanLatentEncoder, clip: Any | None, *, identity: str) -> None:
        self.identity = identity
        self._latents = latents
        self._clip = clip

    def encode(self, pixels_BCFHW: Tensor) -> Tensor:
        """Return latents_BCFHW of the pixels alone."""
        return self._latents.encode(pixels_BCFHW)

    @torch.inference_mode()
    def encode_item(
        self, pixels_BCFHW: Tensor, *, controls: Sequence[Tensor] = (), one_frame: OneFrame | None = None
    ) -> dict[str, Tensor]:
        """Return the contents of a cache entry; see :class:`blissmask.families.protocol.LatentEncoder`.

        ``latents_image`` (B, 20, F, H, W): four channels that are 1 on the first latent frame, 16 of the latents of the
        first frame followed by mid-grey. ``clip`` (B, 257, 1280): features of the first frame. One-frame items: see
        :meth:`_one_frame`.
        """
        if one_frame is not None:
            return self._one_frame(pixels_BCFHW, controls, one_frame)
        if controls:
            fix = "remove the control pictures, or use `--one-frame`"
            raise UsageError("image-to-video takes its picture from the video's first frame", fix=fix)
        shown_BCFHW = torch.zeros_like(pixels_BCFHW)
        shown_BCFHW[:, :, :1] = pixels_BCFHW[:, :, :1]
        latents_BCFHW = self.encode(pixels_BCFHW)
        # A single frame is its own condition; encoding it twice would double the cost.
        condition_BCFHW = latents_BCFHW if pixels_BCFHW.shape[2] == 1 else self.encode(shown_BCFHW)
        shown_frames = torch.zeros(latents_BCFHW.shape[2], dtype=torch.bool)
        shown_frames[0] = True
        contents = {"latents": latents_BCFHW, "latents_image": _with_mask(condition_BCFHW, shown_frames)}
        if self._clip is not None:
            contents["clip"] = clip_features(self._clip, pixels_BCFHW[:, :, 0])
        return contents

    def _one_frame(self, target_BC1HW: Tensor, controls: Sequence[Tensor], one_frame: OneFrame) -> dict[str, Tensor]:
        """Encode a target picture among control pictures, each a latent frame of its own, in the order of their time indices.

        ``latents_image``: mask 1 and the control's latents in control slots, mask 0 and the latents of mid-grey in the
        target's. ``clip`` (B, controls, 257, 1280), ``f_indices`` (B, F) int32.
        """
        if len(controls) != len(one_frame.clean_indices) or not controls:
            raise UsageError(
                f"{len(controls)} control pictures for {len(one_frame.clean_indices)} control indices",
                fix="give as many control pictures as `fp_1f_clean_indices` has numbers",
            )
        indices = one_frame.frame_indices
        if len(set(indices)) != len(indices):
            raise UsageError("a control picture and another share a time index", where=[f"indices {list(indices)}"])
        encoded = {
            index: self.encode(control) for index, control in zip(one_frame.clean_indices, controls, strict=True)
        }
        grey = self.encode(torch.zeros_like(target_BC1HW[:1])).expand(len(target_BC1HW), -1, -1, -1, -1)
        target = self.encode(target_BC1HW)
        is_control = torch.tensor([index in encoded for index in indices])
        contents = {
            "latents": torch.cat([encoded.get(index, target) for index in indices], dim=2),
            "latents_image": _with_mask(torch.cat([encoded.get(index, grey) for index in indices], dim=2), is_control),
            "f_indices": torch.tensor(indices, dtype=torch.int32).expand(len(target_BC1HW), -1).contiguous(),
        }
        if self._clip is not None:
            contents["clip"] = torch.stack([clip_features(self._clip, control[:, :, 0]) for control in controls], dim=1)
        return contents


def _with_mask(condition_BCFHW: Tensor, shown_F: Tensor) -> Tensor:
    """Put four channels before the condition that are 1 on the frames the model is shown."""
    batch, _, frames, height, width = condition_BCFHW.shape
    mask = shown_F.to(condition_BCFHW).view(1, 1, frames, 1, 1).expand(batch, _MASK_CHANNELS, frames, height, width)
    return torch.cat([mask, condition_BCFHW], dim=1)
