"""A model family and its tasks: parts, cached contents and facts as data, and the functions that use the parts.

The lists of a task decide both what is loaded and what names the weights in fingerprints, so that the two cannot
differ. Everything but :class:`Methods` works without torch: a cache that is fresh is known to be so without it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from blissmask.errors import UsageError
from blissmask.families.encoders.captions import CaptionReader, CaptionTemplate
from blissmask.families.files.identity import joined_identity
from blissmask.families.files.lora_readers import LoraReader
from blissmask.families.files.model_files import ModelFiles
from blissmask.families.files.part import Part
from blissmask.families.files.tokenizers import Tokenizer
from blissmask.families.protocol import Denoiser, Expert, LatentSpec, PixelEncoder, TextEncoder
from blissmask.families.vae.latent_encoder import LatentEncoder, latents_alone

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from blissmask.families.previews.pipeline import PreviewPipeline

Shape = tuple[int | str, ...]


@dataclass(frozen=True, kw_only=True)
class Methods:
    """How a task computes with its parts. Modules of these functions may import torch.

    Attributes:
        vae: ``vae(model, latent)`` returns the encoder around the first of ``Task.latents``.
        encode_item: ``encode_item(item, encoder, *models)`` returns content name -> tensor, as
            :meth:`LatentEncoder.encode_item`; ``models`` are the rest of ``Task.latents``.
        text: ``text(*loaded, identity=...)`` returns the encoder of captions around all of ``Task.text``.
        denoiser: ``denoiser(module, identity=..., dtype=...)`` returns the denoiser around a module; see
            ``Task.guidance_scale``.
        preview: the pipeline that draws previews.
        captions: how ``text`` reads captions, counted by the first tokenizer of ``Task.text``; None where it reads
            captions of any length.
    """

    vae: Callable[[Any, LatentSpec], PixelEncoder]
    encode_item: Callable[..., dict[str, Tensor]] = latents_alone
    text: Callable[..., TextEncoder]
    denoiser: Callable[..., Denoiser]
    preview: PreviewPipeline
    captions: CaptionTemplate | None = None


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a family does for one task.

    Attributes:
        latents: what encodes an item: the VAE without its decoder, then image encoders.
        text: what encodes captions: text encoders and tokenizers, in the order in which fingerprints name them.
        denoisers: expert name -> denoiser; ``""`` for the only one, else ``high`` and ``low``.
        boundary: noise level in [0, 1] from which the high-noise expert works; only for two experts.
        contents: what the cache holds of an item beside ``latents`` and its mask: content name -> shape. Letters stand
            for sizes that vary: F, H, W of that content, N control pictures.
        text_contents: what the cache holds of a caption, likewise; ``L`` is the caption's own length.
        methods: returns the functions, imported when they are needed.
        template: wording and sizes around captions that name the text encoder in fingerprints beside its weights.
        takes_videos: whether items may have more than one frame.
        shown_frames: latent frames at the beginning of a clip that the denoiser is shown and does not predict; no loss
            counts them. Models that are shown the first frame beside the noisy clip predict it, too: 0.
        one_frame: whether one-frame training (a target picture among control pictures) works.
        control_range: fewest and most control pictures of an ordinary item; (0, 0) where the task takes none.
        text_sees_controls: whether captions are encoded together with their control pictures.
        guidance_scale: what a model that was distilled for guidance is shown while it trains; None for models that take
            no such scale. ``Methods.denoiser`` gets it as an argument of that name.
    """

    latents: tuple[Part, ...]
    text: tuple[Part | Tokenizer, ...]
    denoisers: Mapping[str, Part]
    boundary: float | None = None
    contents: Mapping[str, Shape] = field(default_factory=dict)
    text_contents: Mapping[str, Shape]
    methods: Callable[[], Methods]
    template: tuple[str, ...] = ()
    takes_videos: bool = True
    shown_frames: int = 0
    one_frame: bool = False
    control_range: tuple[int, int] = (0, 0)
    text_sees_controls: bool = False
    guidance_scale: float | None = None

    @property
    def experts(self) -> tuple[Expert, ...]:
        """Return the denoisers, each with the noise levels that it is trained and used on."""
        if self.boundary is None:
            ((name, part),) = self.denoisers.items()
            return (Expert(name, (0.0, 1.0), part),)
        high, low = Expert("high", (self.boundary, 1.0), self.denoisers["high"]), self.denoisers["low"]
        return (high, Expert("low", (0.0, self.boundary), low))

    @property
    def encoders(self) -> tuple[Part, ...]:
        """Return the parts that encode items and captions: the VAE, the text encoders, the image encoders."""
        texts = [part for part in self.text if isinstance(part, Part)]
        return (self.latents[0], *texts, *self.latents[1:])


@dataclass(frozen=True, kw_only=True)
class Family:
    """A model family: the value of ``ARCHITECTURE`` in one file below ``families/``.

    Attributes:
        name: as on the command line; the name of the file with hyphens.
        cache_suffix: last part of cache file names (musubi-tuner's short name where it has the family).
        metadata_name: ``architecture`` in cache metadata (musubi-tuner's full name where it has the family).
        latent: geometry of the latents.
        default_fps: frames per second that videos are brought to.
        default_shift: shift of the training timesteps.
        modelspec: ``modelspec.architecture`` of LoRA files.
        lora_readers: programs that read its LoRA files, beside diffusers.
        native_alpha: whether native LoRA files hold alpha. False where the loader of diffusers refuses it: the scale is
            in B then, as for families with fused layers.
        tasks: task name -> task, the default first.
    """

    name: str
    cache_suffix: str
    metadata_name: str
    latent: LatentSpec
    default_fps: float
    default_shift: float
    modelspec: str
    lora_readers: tuple[LoraReader, ...] = ()
    native_alpha: bool = True
    tasks: Mapping[str, Task] = field(repr=False)

    def for_task(self, name: str = "") -> FamilyForTask:
        """Return the family as it is used for task ``name``, its default task when empty.

        Raises:
            UsageError: the family has no such task; names those it has.
        """
        name = name or next(iter(self.tasks))
        if name not in self.tasks:
            raise UsageError(f"`{self.name}` has no task `{name}`", fix=f"there are {', '.join(self.tasks)}")
        facts = {field.name: getattr(self, field.name) for field in dataclasses.fields(Family)}
        return FamilyForTask(**facts, task_name=name, task=self.tasks[name])


@dataclass(frozen=True, kw_only=True)
class FamilyForTask(Family):
    """A family with its task chosen: loads, and names weights by content.

    Attributes:
        task_name: as on the command line, for messages and metadata.
        task: facts and parts of the task.
    """

    task_name: str
    task: Task = field(repr=False)

    @property
    def experts(self) -> tuple[Expert, ...]:
        """Return the denoisers, each with its noise levels."""
        return self.task.experts

    def latent_identity(self, files: ModelFiles) -> str:
        """Return ``load_latent_encoder(files).identity`` without loading; raises as :meth:`Part.source`."""
        names = [part.identity(files) for part in self.task.latents]
        return names[0] if len(names) == 1 else joined_identity(names)

    def text_identity(self, files: ModelFiles) -> str:
        """Return ``load_text_encoder(files).identity`` without loading; raises as :meth:`Part.source`."""
        names = [part.identity(files) for part in self.task.text]
        return joined_identity([*filter(None, names), *self.task.template])

    def load_latent_encoder(self, files: ModelFiles, *, device: torch.device, dtype: torch.dtype) -> LatentEncoder:
        """Load the VAE's encoder and the image encoders.

        Raises:
            ModelError: files are missing, foreign or damaged.
            UsageError: files are not named.
        """
        identity, methods = self.latent_identity(files), self.task.methods()
        vae, *others = [part.load(files, device=device, dtype=dtype) for part in self.task.latents]
        return LatentEncoder(methods.vae(vae, self.latent), others, methods.encode_item, identity=identity)

    def load_text_encoder(self, files: ModelFiles, *, device: torch.device, dtype: torch.dtype) -> TextEncoder:
        """Load text encoders and tokenizers. Raises as :meth:`load_latent_encoder`."""
        identity = self.text_identity(files)
        loaded = [
            part.load(files) if isinstance(part, Tokenizer) else part.load(files, device=device, dtype=dtype)
            for part in self.task.text
        ]
        return self.task.methods().text(*loaded, identity=identity)

    def load_caption_reader(self, files: ModelFiles) -> CaptionReader | None:
        """Load what counts the tokens of captions, without the text encoder; None where it reads any length.

        Raises as :meth:`load_latent_encoder`.
        """
        template = self.task.methods().captions
        if template is None:
            return None
        tokenizer = next(part for part in self.task.text if isinstance(part, Tokenizer))
        return CaptionReader(template, tokenizer.load(files))

    def load_denoiser(
        self,
        files: ModelFiles,
        expert: Expert,
        *,
        device: torch.device,
        dtype: torch.dtype,
        guidance_scale: float | None = None,
    ) -> Denoiser:
        """Load the denoiser of ``expert``, one of :attr:`experts`.

        ``guidance_scale`` takes the place of the task's own, for tasks that have one. Raises as
        :meth:`load_latent_encoder`.
        """
        module = expert.part.load(files, device=device, dtype=dtype)
        denoiser, identity = self.task.methods().denoiser, expert.part.identity(files)
        if self.task.guidance_scale is None:
            return denoiser(module, identity=identity, dtype=dtype)
        scale = self.task.guidance_scale if guidance_scale is None else guidance_scale
        return denoiser(module, identity=identity, dtype=dtype, guidance_scale=scale)

    def preview_pipeline(self) -> PreviewPipeline:
        """Return how previews are drawn: the pipeline around denoisers that are loaded already, and its defaults."""
        return self.task.methods().preview
