"""Encode the pixels of an item into everything that its cache entry holds besides text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from blissmask.errors import UsageError
from blissmask.families.protocol import Item, OneFrame, PixelEncoder

if TYPE_CHECKING:
    from torch import Tensor


class LatentEncoder:
    """Encodes pixels with the encoders of a task.

    Args:
        vae: encodes pixels.
        others: further models that look at pixels.
        encode_item: ``encode_item(item, vae, *others)`` returns the contents of an item.
        identity: names the weights by content (hash of the files or folders), for fingerprints.
    """

    def __init__(
        self,
        vae: PixelEncoder,
        others: Sequence[Any],
        encode_item: Callable[..., dict[str, Tensor]],
        *,
        identity: str,
    ) -> None:
        self.identity = identity
        self._vae = vae
        self._others = others
        self._encode_item = encode_item

    def encode(self, pixels_BCFHW: Tensor) -> Tensor:
        """Return latents_BCFHW of the pixels alone, as :meth:`PixelEncoder.encode`."""
        return self._vae.encode(pixels_BCFHW)

    def encode_item(
        self, pixels_BCFHW: Tensor, *, controls: Sequence[Tensor] = (), one_frame: OneFrame | None = None
    ) -> dict[str, Tensor]:
        """Encode everything that the cache of an item holds besides text; the cache task never knows the family.

        Args:
            pixels_BCFHW: the target, as for :meth:`encode`.
            controls: control pictures, each (B, 3, 1, h, w) in [-1, 1]; edit models take any size that is a multiple of
                ``grid_multiple``, one-frame items the target's own.
            one_frame: the time indices of a one-frame item; None for any other.

        Returns:
            Content name -> tensor with leading B: ``latents``, and those of ``Task.contents`` that are no text. A
            content that starts with ``latents`` ends in (C, F, H, W); the cache file adds FxHxW of that tensor (not of
            ``latents``) and the dtype to the name.

        Raises:
            UsageError: controls are missing, too many, or of a size or number that the family does not take.
        """
        import torch

        with torch.inference_mode():
            return self._encode_item(Item(pixels_BCFHW, tuple(controls), one_frame), self._vae, *self._others)


def latents_alone(item: Item, vae: PixelEncoder) -> dict[str, Tensor]:
    """Return ``{"latents": ...}``: for tasks that show the denoiser nothing beside the noise and the text."""
    if item.controls or item.one_frame:
        fix = "remove the control pictures, or name the task that uses them with `--task`"
        raise UsageError("this task takes no control pictures", fix=fix)
    return {"latents": vae.encode(item.pixels_BCFHW)}


def latents_with_controls(item: Item, vae: PixelEncoder) -> dict[str, Tensor]:
    """Add ``latents_control_0`` and on (B, C, 1, h, w), each of its own size, to the latents: for edit models."""
    if not item.controls:
        raise UsageError(
            "an edit model needs a control picture for every target", fix="give the data set a `control_directory`"
        )
    if item.one_frame is not None:
        raise UsageError("this task has no one-frame training", fix="remove `--one-frame`")
    controls = {f"latents_control_{number}": vae.encode(control) for number, control in enumerate(item.controls)}
    return {"latents": vae.encode(item.pixels_BCFHW), **controls}
