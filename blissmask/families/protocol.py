"""What a model family does: it encodes pictures and captions, and predicts. The loss never learns which it serves.

Shapes: B items, C channels, F frames (latent frames in latents), H and W rows and columns; images are videos of one
frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from blissmask.cachefile.tensor_keys import FrameAxis

if TYPE_CHECKING:
    from torch import Tensor, nn

    from blissmask.families.files.part import Part


@dataclass(frozen=True, slots=True)
class LatentSpec:
    """The geometry of a family's latents.

    Attributes:
        channels: latent channels.
        spatial_stride: pixels per latent cell, 8 or 16.
        temporal_stride: frames per latent frame after the first, 4 for causal video VAEs.
        grid_multiple: pixel sizes must be multiples of this: stride times the denoiser's patch.
        train_scale, train_shift: noise is added to ``(cached latents - train_shift) * train_scale``. Not 1 and 0 for
            families whose caches hold latents as the VAE gives them, in musubi-tuner as here.
        frame_axis: how cached latents are spelled.
        subcells: how many cells of the VAE stand along a side of a latent cell. With n > 1, channel ``c * n * n + row *
            n + column`` belongs to the sub-cell (row, column), whose mask weight is cached and trained by itself.
    """

    channels: int
    spatial_stride: int
    temporal_stride: int
    grid_multiple: int
    train_scale: float = 1.0
    train_shift: float = 0.0
    frame_axis: FrameAxis = FrameAxis.KEPT
    subcells: int = 1

    def normalised(self, latents: Tensor) -> Tensor:
        """Return cached latents of any shape as noise is added to them; float32 where that changes them."""
        if self.train_scale == 1 and self.train_shift == 0:
            return latents
        return (latents.float() - self.train_shift) * self.train_scale

    @property
    def mask_stride(self) -> int:
        """Return the pixels along a side of the smallest square that has a loss weight of its own."""
        return self.spatial_stride // self.subcells


@dataclass(frozen=True, slots=True)
class EncodedText:
    """The conditioning of one caption, as it is cached.

    Attributes:
        tensors: content name -> tensor, e.g. ``{"t5": (L, 4096)}``; rows may have more axes, such as (L, 12, 2560) of
            12 tapped layers. The cache file adds the dtype to the name.
        variable_length: content names whose first axis is the caption's own length (``varlen_`` in the file).
    """

    tensors: Mapping[str, Tensor]
    variable_length: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class OneFrame:
    """Where the pictures of a one-frame item stand in time (musubi-tuner's ``fp_1f_*``).

    Attributes:
        clean_indices: time index of each control picture, in the order the controls are given.
        target_index: time index of the target picture, none of ``clean_indices``.
    """

    clean_indices: tuple[int, ...]
    target_index: int

    @property
    def frame_indices(self) -> tuple[int, ...]:
        """Return all time indices in ascending order; position j is latent frame j."""
        return tuple(sorted((*self.clean_indices, self.target_index)))


@dataclass(frozen=True, slots=True)
class Item:
    """The pixels of items that are encoded together.

    Attributes:
        pixels_BCFHW: the target, RGB in [-1, 1], float32.
        controls: control pictures, (B, 3, 1, h, w) each.
        one_frame: time indices of a one-frame item; None for any other.
    """

    pixels_BCFHW: Tensor
    controls: tuple[Tensor, ...] = ()
    one_frame: OneFrame | None = None


class PixelEncoder(Protocol):
    """A VAE that encodes."""

    def encode(self, pixels_BCFHW: Tensor) -> Tensor:
        """Encode RGB pixels in [-1, 1] (float32, on any device) into latents_BCFHW as they are cached.

        Deterministic: the mode of the posterior. Normalised, so that a standard normal is their noise, up to the
        family's :meth:`LatentSpec.normalised`. Frames must be temporal_stride * k + 1, sides multiples of the spatial
        stride.
        """


class TextEncoder(Protocol):
    """Encodes captions.

    Attributes:
        identity: names weights, tokenizers and template by content, for fingerprints.
    """

    identity: str

    def encode(self, captions: Sequence[str], images: Sequence[Sequence[Tensor]] | None = None) -> list[EncodedText]:
        """Encode captions; one result per caption on the CPU, each the same as if given alone (up to rounding).

        Args:
            captions: any text in any order; equal ones are encoded once, the rest is batched by length.
            images: for tasks with ``text_sees_controls``, the control pictures of each caption, image_3HW in [-1,
                1], before any resize.
        """


@dataclass(slots=True)
class Batch:
    """What a denoiser predicts from, for one micro-batch.

    Attributes:
        noisy_BCFHW: latents with noise, float32.
        timesteps_B: noise level of each item in [0, 1]; 1 is pure noise.
        conditioning: the cached text and image conditioning by content name without dtype (``t5``, ``latents_image``
            ...): a stacked tensor, or a list of tensors where lengths differ.
    """

    noisy_BCFHW: Tensor
    timesteps_B: Tensor
    conditioning: Mapping[str, Tensor | list[Tensor]] = field(default_factory=dict)


class Denoiser(Protocol):
    """A denoiser ready for LoRA.

    Attributes:
        module: the diffusers model; LoRA is injected into it.
        identity: names the weights by content.
        lora_targets: regular expression (full match) on module names that LoRA adapts by default.
    """

    module: nn.Module
    identity: str
    lora_targets: str

    @property
    def block_class_names(self) -> tuple[str, ...]:
        """Return the names of the repeated block classes, for checkpointing, swapping and compiling."""

    def predict(self, batch: Batch) -> Tensor:
        """Return the velocity (noise minus latents), of shape noisy_BCFHW; packing to tokens happens inside."""

    def original_name(self, module_name: str) -> str:
        """Return the original repository's name of a diffusers module.

        E.g. ``blocks.0.attn1.to_q`` -> ``blocks.0.self_attn.q``. Where the original keeps several layers in one, the
        name goes on with a colon and the part, e.g. ``double_blocks.0.img_attn_qkv:q``; parts follow each other in the
        order q, k, v, mlp along the output.
        """


@runtime_checkable
class KeepsPartsApart(Protocol):
    """A denoiser whose fused layers are fused in ComfyUI alone: musubi-tuner, and kohya files, keep the parts apart."""

    def apart_name(self, part: str) -> str | None:
        """Return what kohya files call a part, e.g. ``double_blocks.0.img_attn_q``; None where they have the whole."""


@runtime_checkable
class FoldsPadding(Protocol):
    """A denoiser that lets few rows of text padding stand for many.

    Attributes:
        folds_padding: whether it does. A LoRA with dropout turns it off: one draw would stand for hundreds of rows,
            whose noise would no longer average out.
    """

    folds_padding: bool


@dataclass(frozen=True, slots=True)
class Expert:
    """One of a family's denoisers and the noise it is for.

    Attributes:
        name: ``""`` for the only one, else ``high`` or ``low``; LoRA files end in it.
        timestep_range: noise levels in [0, 1] it is trained and used on.
        part: where it comes from.
    """

    name: str
    timestep_range: tuple[float, float]
    part: Part
