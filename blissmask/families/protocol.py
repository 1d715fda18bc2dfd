"""What a model family is: it encodes pictures and captions, and predicts. The loss never learns which family it serves.

Shapes: B items, C channels, F frames (latent frames in latents), H and W rows and columns; images are videos of one
frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from blissmask.families.files.model_files import ModelFiles
    from blissmask.families.previews import Drawing


@dataclass(frozen=True, slots=True)
class LatentSpec:
    """The geometry of a family's latents.

    Attributes:
        channels: latent channels.
        spatial_stride: pixels per latent cell, 8 or 16.
        temporal_stride: frames per latent frame after the first, 4 for causal video VAEs.
        grid_multiple: pixel sizes must be multiples of this: stride times the denoiser's patch.
        train_scale: what cached latents are multiplied by before noise is added. Not 1 for HunyuanVideo, whose caches
            hold latents as the VAE gives them, in musubi-tuner as here.
    """

    channels: int
    spatial_stride: int
    temporal_stride: int
    grid_multiple: int
    train_scale: float = 1.0


@dataclass(frozen=True, slots=True)
class EncodedText:
    """The conditioning of one caption, as it is cached.

    Attributes:
        tensors: content name -> tensor, e.g. ``{"t5": (L, 4096)}``; the cache file adds the dtype to the name.
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


class LatentEncoder(Protocol):
    """Encodes pixels.

    Attributes:
        identity: names the weights by content (hash of the file or folder), for fingerprints.
    """

    identity: str

    def encode(self, pixels_BCFHW: Tensor) -> Tensor:
        """Encode RGB pixels in [-1, 1] (float32, on any device) into latents_BCFHW as they are cached, deterministic (the mode).

        Normalised, so that a standard normal is their noise, up to the family's ``LatentSpec.train_scale``.

        The simple case of :meth:`encode_item`: the target alone. Frames must be temporal_stride * k + 1, sides
        multiples of the spatial stride.
        """

    def encode_item(
        self, pixels_BCFHW: Tensor, *, controls: Sequence[Tensor] = (), one_frame: OneFrame | None = None
    ) -> dict[str, Tensor]:
        """Encode everything that the cache of an item holds besides text, so that the cache task never knows the family.

        Args:
            pixels_BCFHW: the target, as for :meth:`encode`.
            controls: control pictures, each (B, 3, 1, h, w) in [-1, 1]; edit models take any size that is a multiple of
                ``grid_multiple``, one-frame items the target's own.
            one_frame: the time indices of a one-frame item; None for any other.

        Returns:
            Content name -> tensor with leading B: always ``latents``; by family and task ``latents_image``,
            ``latents_control_0`` ..., ``clip``, ``siglip``, ``f_indices`` (int32). A content that starts with
            ``latents`` ends in (C, F, H, W); the cache file adds FxHxW of that tensor (not of ``latents``) and the
            dtype to the name.

        Raises:
            InputError: controls are missing, too many, or of a size or number that the family does not take.
        """


class TextEncoder(Protocol):
    """Encodes captions; ``identity`` as in :class:`LatentEncoder`."""

    identity: str

    def encode(self, captions: Sequence[str], images: Sequence[Sequence[Tensor]] | None = None) -> list[EncodedText]:
        """Encode captions; one result per caption on the CPU, each the same as if given alone (up to rounding).

        Args:
            captions: any text in any order; equal ones are encoded once, the rest is batched by length.
            images: for families with ``text_sees_controls``, the control pictures of each caption, image_3HW in [-1,
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
        block_class_names: names of the repeated block classes, for checkpointing, swapping and compiling.
    """

    module: nn.Module
    identity: str
    lora_targets: str
    block_class_names: tuple[str, ...]

    def predict(self, batch: Batch) -> Tensor:
        """Return the velocity prediction (noise minus latents) of shape noisy_BCFHW; packing to tokens happens inside."""

    def original_name(self, module_name: str) -> str:
        """Return the original repository's name of a diffusers module, e.g. ``blocks.0.attn1.to_q`` -> ``blocks.0.self_attn.q``.

        Where the original keeps several layers in one, the name goes on with a colon and the part, e.g.
        ``double_blocks.0.img_attn_qkv:q``; parts follow each other in the order q, k, v, mlp along the output.
        """


@dataclass(frozen=True, slots=True)
class Expert:
    """One of a family's denoisers and the noise it is for.

    Attributes:
        name: ``""`` for the only one, else ``high`` or ``low``; LoRA files end in it.
        timestep_range: noise levels in [0, 1] it is trained and used on.
    """

    name: str
    timestep_range: tuple[float, float]


class Architecture(Protocol):
    """A model family: the value of ``ARCHITECTURE`` in one file of ``families/``.

    Attributes:
        name: as on the command line, e.g. ``wan22``.
        cache_suffix: last part of cache file names, e.g. ``wan`` (musubi-tuner's short name).
        metadata_name: ``architecture`` in cache metadata, e.g. ``wan`` (musubi-tuner's full name).
        tasks: supported tasks, the default first, e.g. ``("t2v", "i2v")``.
        latent: geometry of the latents.
        default_fps: frames per second that videos are brought to.
        default_shift: shift of the training timesteps.
        modelspec: ``modelspec.architecture`` of LoRA files, e.g. ``wan2.2/lora``.
        one_frame_tasks: tasks that one-frame training (a target picture among control pictures) works with.
        control_range: fewest and most control pictures of an ordinary item; (0, 0) where the family takes none.
        text_sees_controls: whether captions are encoded together with their control pictures.
        takes_videos: whether items may have more than one frame.
    """

    name: str
    cache_suffix: str
    metadata_name: str
    tasks: tuple[str, ...]
    latent: LatentSpec
    default_fps: float
    default_shift: float
    modelspec: str
    one_frame_tasks: tuple[str, ...]
    control_range: tuple[int, int]
    text_sees_controls: bool
    takes_videos: bool

    def experts(self, task: str) -> tuple[Expert, ...]:
        """Return the family's denoisers for ``task``."""

    def shown_frames(self, task: str) -> int:
        """Return how many latent frames at the beginning of a clip the denoiser is shown and does not predict; no loss counts them.

        Image-to-video models that are shown the first frame beside the noisy clip predict it, too, and return 0.
        """

    def load_latent_encoder(
        self, files: ModelFiles, *, device: torch.device, dtype: torch.dtype, task: str = ""
    ) -> LatentEncoder:
        """Load the VAE's encoder and what else ``task`` needs; ``""`` is the first task.

        Raises:
            ModelError: files are missing, foreign or damaged.
            UsageError: files are not named, or no such task.
        """

    def load_text_encoder(
        self, files: ModelFiles, *, device: torch.device, dtype: torch.dtype, task: str = ""
    ) -> TextEncoder:
        """Load text encoder and tokenizer, with the template of ``task``. Raises ModelError."""

    def load_denoiser(
        self, files: ModelFiles, *, expert: str, task: str, device: torch.device, dtype: torch.dtype
    ) -> Denoiser:
        """Load the denoiser of ``expert``. Raises ModelError."""

    def drawing(self, task: str = "") -> Drawing:
        """Return how previews are drawn for ``task``: the pipeline around denoisers that are loaded already, and its defaults."""

    def latent_encoder_identity(self, files: ModelFiles, *, task: str = "") -> str:
        """Return what ``load_latent_encoder(files, task=task).identity`` would be, without loading weights, so that freshness is cheap."""

    def text_encoder_identity(self, files: ModelFiles, *, task: str = "") -> str:
        """Return what ``load_text_encoder(files, task=task).identity`` would be, without loading weights."""
