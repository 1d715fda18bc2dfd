"""Qwen-Image-Edit: edit one or more control pictures by instruction (2511, 2509 and the first)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from blissmask.errors import UsageError
from blissmask.families import tiny
from blissmask.families.files.model_files import ModelFiles
from blissmask.families.files.part import Component
from blissmask.families.protocol import LatentEncoder, OneFrame
from blissmask.families.qwen import family
from blissmask.families.qwen.templates import EDIT, EDIT_PLUS, ChatTemplate
from blissmask.families.tasks import checked_task

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from blissmask.families.previews import Drawing
    from blissmask.families.qwen.denoiser import QwenDenoiser
    from blissmask.families.qwen.text import QwenTextEncoder
    from blissmask.families.wan.latents import WanLatentEncoder

# Template of each version, and whether its control pictures get timestep 0.
_VERSIONS: dict[str, tuple[ChatTemplate, bool]] = {
    "edit-2511": (EDIT_PLUS, True),
    "edit-2509": (EDIT_PLUS, False),
    "edit": (EDIT, False),
}
_MAX_CONTROLS = 8


class EditLatentEncoder:
    """Adds ``latents_control_0`` and on (B, 16, 1, h, w), each of its own size.

    Args:
        latents: encodes pixels.
    """

    def __init__(self, latents: WanLatentEncoder) -> None:
        self.identity = latents.identity
        self._latents = latents

    def encode(self, pixels_BCFHW: Tensor) -> Tensor:
        """Return latents_BCFHW of the target alone."""
        return self._latents.encode(pixels_BCFHW)

    def encode_item(
        self, pixels_BCFHW: Tensor, *, controls: Sequence[Tensor] = (), one_frame: OneFrame | None = None
    ) -> dict[str, Tensor]:
        """Return the target's and the controls' latents; see :class:`blissmask.families.protocol.LatentEncoder`."""
        if not controls:
            raise UsageError(
                "an edit model needs a control picture for every target", fix="give the data set a `control_directory`"
            )
        if one_frame is not None:
            raise UsageError("`qwen-image-edit` has no one-frame training", fix="remove `--one-frame`")
        encoded = {f"latents_control_{number}": self.encode(control) for number, control in enumerate(controls)}
        return {"latents": self.encode(pixels_BCFHW), **encoded}


@dataclass(frozen=True, kw_only=True)
class QwenImageEditFamily(family.QwenFamily):
    """See :class:`blissmask.families.protocol.Architecture` for the attributes."""

    def load_latent_encoder(
        self, files: ModelFiles, *, device: torch.device, dtype: torch.dtype, task: str = ""
    ) -> LatentEncoder:
        """Load the VAE's encoder. Raises ModelError."""
        checked_task(self, task)
        return EditLatentEncoder(family.load_latents(files, device=device, dtype=dtype))

    def load_text_encoder(
        self, files: ModelFiles, *, device: torch.device, dtype: torch.dtype, task: str = ""
    ) -> QwenTextEncoder:
        """Load Qwen2.5-VL with its vision tower, and its tokenizer. Raises ModelError."""
        return family.load_text_encoder(files, self._template(task), device=device, dtype=dtype)

    def text_encoder_identity(self, files: ModelFiles, *, task: str = "") -> str:
        """Return the name of weights, tokenizer and template by content, without loading them."""
        return family.text_encoder_identity(files, self._template(task))

    def load_denoiser(
        self, files: ModelFiles, *, expert: str, task: str, device: torch.device, dtype: torch.dtype
    ) -> QwenDenoiser:
        """Load the denoiser. Raises ModelError."""
        assert expert == ""
        version = checked_task(self, task)
        zero_time = _VERSIONS[version][1]
        part = Component(
            "transformer",
            "dit",
            "diffusers.QwenImageTransformer2DModel",
            partial(tiny.qwen_transformer, zero_time=zero_time),
            f"{self.name}-{version}",
        )
        return family.load_denoiser(part, files, edits=True, zero_time=zero_time, device=device, dtype=dtype)

    def drawing(self, task: str = "") -> Drawing:
        """Return how previews are drawn; the first version edits a single picture."""
        from blissmask.families.qwen.preview import qwen_edit_drawing

        return qwen_edit_drawing(pictures=(1, 1) if self._template(task) is EDIT else self.control_range)

    def _template(self, task: str) -> ChatTemplate:
        return _VERSIONS[checked_task(self, task)][0]


ARCHITECTURE = QwenImageEditFamily(
    name="qwen-image-edit",
    cache_suffix="qie",
    tasks=tuple(_VERSIONS),
    modelspec="Qwen-Image-Edit/lora",
    control_range=(1, _MAX_CONTROLS),
    text_sees_controls=True,
)
