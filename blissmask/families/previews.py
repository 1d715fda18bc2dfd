"""Draw pictures and clips with a family's diffusers pipeline, around denoisers that are loaded already.

F frames, H and W rows and columns; 3 = RGB. N rows of a picture's features, D their width.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from blissmask.errors import ModelError
from blissmask.families.files.model_files import ModelFiles
from blissmask.families.files.part import Part
from blissmask.families.vae.pixels import signed_picture

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewSettings:
    """How a picture or clip is sampled.

    Two scales have names that trainers and pipelines mix up. Here they are called as in musubi-tuner's prompt files:
    ``cfg_scale`` (``--l``) is the scale of classifier-free guidance, which predicts twice per step; ``guidance_scale``
    (``--g``) is an input of models that were distilled to predict the guided result at once.

    Attributes:
        size_wh: multiples of the family's grid.
        frame_count: ``temporal_stride * k + 1``; 1 is a picture.
        steps: denoising steps, >= 1.
        cfg_scale: >= 1; 1 turns classifier-free guidance off.
        guidance_scale: None for models that are not distilled.
        shift: how far noise levels are shifted towards much noise; None lets the size decide.
        seed: seed of the noise.
    """

    size_wh: tuple[int, int]
    frame_count: int
    steps: int
    cfg_scale: float
    guidance_scale: float | None
    shift: float | None
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedPrompt:
    """A prompt that is ready to be sampled.

    Attributes:
        text: the encoded prompt by content name, as captions are cached.
        negative: the encoded negative prompt; None without classifier-free guidance.
        pictures: rgb_HW3 each: the first frame in the size of ``settings``, or control pictures of any size.
        features_ND: features of the first picture, for families with a picture encoder.
        settings: of the sampling.
    """

    text: Mapping[str, Tensor]
    negative: Mapping[str, Tensor] | None
    pictures: Sequence[NDArray[np.uint8]] = ()
    features_ND: Tensor | None = None
    settings: PreviewSettings

    def to(self, device: torch.device, dtype: torch.dtype) -> EncodedPrompt:
        """Return the prompt with its tensors on ``device``; all but masks are converted to ``dtype``."""
        text = {name: _moved(tensor, device, dtype) for name, tensor in self.text.items()}
        negative = None
        if self.negative is not None:
            negative = {name: _moved(tensor, device, dtype) for name, tensor in self.negative.items()}
        features = None if self.features_ND is None else _moved(self.features_ND, device, dtype)
        return replace(self, text=text, negative=negative, features_ND=features)

    def size(self) -> dict[str, int]:
        """Return the size as pipelines take it."""
        width, height = self.settings.size_wh
        return {"height": height, "width": width}

    def texts(self, arguments_of: Callable[[Mapping[str, Tensor]], dict[str, Any]]) -> dict[str, Any]:
        """Return the arguments for the prompt, and those for the negative one under ``negative_`` and the same names.

        Args:
            arguments_of: returns a pipeline's arguments for one encoded text.
        """
        arguments = arguments_of(self.text)
        if self.negative is not None:
            arguments |= {f"negative_{name}": value for name, value in arguments_of(self.negative).items()}
        return arguments

    def show_features(self, pipeline: Any) -> None:
        """Let ``pipeline`` use the features that were encoded already, in the place of an image encoder.

        diffusers 0.42's HunyuanVideo15ImageToVideoPipeline has no argument for features; its WanImageToVideoPipeline
        has one, and refuses it beside the picture, which it needs too.
        """
        features_ND = self.features_ND
        assert features_ND is not None

        def known_features(*_: Any, **__: Any) -> Tensor:
            return features_ND[None]

        pipeline.encode_image = known_features

    def images(self) -> list[Image]:
        """Return the pictures as pipelines take them."""
        from PIL import Image

        return [Image.fromarray(rgb_HW3) for rgb_HW3 in self.pictures]


@dataclass(frozen=True, slots=True)
class PipelineParts:
    """What a pipeline is built from besides its class.

    Attributes:
        denoisers: expert name (``""`` for the only one) -> module.
        vae: with its decoder.
        scheduler: with the shift of the prompt.
    """

    denoisers: Mapping[str, Any]
    vae: Any
    scheduler: Any


@dataclass(frozen=True, slots=True)
class PictureEncoder:
    """The encoder of a first frame besides the VAE.

    Attributes:
        part: the encoder.
        read: returns features_BND of pictures_B3HW in [-1, 1].
    """

    part: Part
    read: Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewPipeline:
    """A family's diffusers pipeline for a task, and the settings of a prompt that leaves them open.

    Attributes:
        vae: encodes and decodes.
        pipeline: builds the pipeline, without text encoders.
        arguments: returns the arguments to call the pipeline with for a prompt, whose tensors are on the device; may
            adapt the pipeline to the prompt.
        scheduler: returns the scheduler for a shift and a number of steps.
        cfg_scale, guidance_scale, shift: defaults, see :class:`PreviewSettings`.
        pictures: fewest and most pictures of a prompt.
        picture_encoder: None where the VAE sees enough.
        takes_negatives: whether it can be guided by a negative prompt, with ``cfg_scale`` above 1.
    """

    vae: Part
    pipeline: Callable[[PipelineParts], Any]
    arguments: Callable[[Any, EncodedPrompt], dict[str, Any]]
    scheduler: Callable[[float | None, int], Any]
    cfg_scale: float
    shift: float | None
    guidance_scale: float | None = None
    pictures: tuple[int, int] = (0, 0)
    picture_encoder: PictureEncoder | None = None
    takes_negatives: bool = True


class PreviewSampler:
    """Draws prompts with denoisers that the caller holds.

    Args:
        pipeline: of the family.
        files: where the VAE is. It rests in CPU memory and comes to the device while a prompt is drawn.
        device: of the denoisers.
        dtype: that the denoisers compute in.
        vae_dtype: precision of the VAE.

    Raises:
        ModelError, UsageError: the VAE cannot be loaded.
    """

    def __init__(
        self,
        pipeline: PreviewPipeline,
        files: ModelFiles,
        *,
        device: torch.device,
        dtype: torch.dtype,
        vae_dtype: torch.dtype,
    ) -> None:
        self._pipeline = pipeline
        self._device = device
        self._dtype = dtype
        self._vae = cast(Any, pipeline.vae.load(files, device=torch.device("cpu"), dtype=vae_dtype))
        self._vae.encode = _in_tiles_when_full(self._vae, _in_own_precision(self._vae, self._vae.encode))
        self._vae.decode = _in_tiles_when_full(self._vae, _in_own_precision(self._vae, self._vae.decode))

    def sample(self, denoisers: Mapping[str, nn.Module], prompt: EncodedPrompt) -> NDArray[np.uint8]:
        """Return rgb_FHW3 of ``prompt``.

        Raises:
            ModelError: the picture holds NaN or infinity.
        """
        settings = prompt.settings
        with _quiet():
            scheduler = self._pipeline.scheduler(settings.shift, settings.steps)
            pipeline = self._pipeline.pipeline(PipelineParts(denoisers, self._vae, scheduler))
            pipeline.set_progress_bar_config(disable=True)
            try:
                self._vae.to(self._device)
                drawn = pipeline(
                    **self._pipeline.arguments(pipeline, prompt.to(self._device, self._dtype)),
                    num_inference_steps=settings.steps,
                    # On the CPU, so that the same seed is the same noise on every device.
                    generator=torch.Generator("cpu").manual_seed(settings.seed),
                    output_type="np",
                    return_dict=False,
                )[0][0]
            finally:
                self._vae.to("cpu")
        return _to_bytes(drawn)


def without_encoders(pipeline_class: str, loaded: PipelineParts, **more: Any) -> Any:
    """Return diffusers' pipeline of a class without what encodes texts and pictures: prompts come encoded.

    Args:
        pipeline_class: name of the class.
        loaded: VAE, scheduler and denoisers.
        more: further arguments of the class; ``transformer`` where the family has not just one denoiser.
    """
    import diffusers

    make = getattr(diffusers, pipeline_class)
    required = [name for name, part in inspect.signature(make).parameters.items() if part.default is part.empty]
    given = {"vae": loaded.vae, "scheduler": loaded.scheduler, "transformer": loaded.denoisers.get(""), **more}
    return make(**{**dict.fromkeys(required), **given})


def rows_and_mask(rows_LD: Tensor, *, suffix: str = "") -> dict[str, Tensor]:
    """Return a text as ``prompt_embeds`` (1, L, D) and ``prompt_embeds_mask`` (1, L), for pipelines that take both.

    Args:
        rows_LD: of the text. One row of zeros stands for a text without rows, and is masked: no pipeline can reshape
            nothing.
        suffix: of both names, for the second of two texts.
    """
    is_empty = len(rows_LD) == 0
    if is_empty:
        rows_LD = rows_LD.new_zeros(1, rows_LD.shape[1])
    mask_1L = torch.full((1, len(rows_LD)), int(not is_empty), device=rows_LD.device)
    return {f"prompt_embeds{suffix}": rows_LD[None], f"prompt_embeds_mask{suffix}": mask_1L}


def euler(shift: float | None, steps: int) -> Any:
    """Return Euler's scheduler for a fixed shift."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    assert shift is not None
    return FlowMatchEulerDiscreteScheduler(shift=shift)


def euler_by_size(shift: float | None, steps: int, *, by_size: Mapping[str, Any] | None = None) -> Any:
    """Return Euler's scheduler; without a shift one whose shift the pipeline derives from the size of the picture.

    Args:
        shift, steps: as for every scheduler.
        by_size: settings of the shift by size, in the names of ``FlowMatchEulerDiscreteScheduler``.
    """
    from diffusers import FlowMatchEulerDiscreteScheduler

    if shift is not None:
        return euler(shift, steps)
    return FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, **(by_size or {}))


def unipc(shift: float | None, steps: int) -> Any:
    """Return a multistep scheduler for a fixed shift: good pictures in 20 steps."""
    from diffusers import UniPCMultistepScheduler

    assert shift is not None
    return UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift)


def encode_picture(encoder: PictureEncoder, model: Any, rgb_HW3: NDArray[np.uint8]) -> Tensor:
    """Return features_ND of one picture, on the CPU."""
    device = next(model.parameters()).device
    pixels_3HW = signed_picture(rgb_HW3).to(device)
    with torch.inference_mode():
        return encoder.read(model, pixels_3HW[None])[0].cpu()


def _in_own_precision(vae: Any, work: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``work`` of ``vae`` so that it computes in the VAE's precision.

    Some pipelines of diffusers 0.42 hand it what is in the denoiser's precision, and break where the two differ.
    """

    def cast_and_work(pixels_or_latents: Tensor, *args: Any, **options: Any) -> Any:
        return work(pixels_or_latents.to(vae.dtype), *args, **options)

    return cast_and_work


def _in_tiles_when_full(vae: Any, work: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``work`` of ``vae``, done again in tiles where the whole does not fit beside the denoiser.

    Tiles show at their seams, so the whole is tried first.
    """

    def attempt(*args: Any, **options: Any) -> Any:
        with contextlib.suppress(torch.OutOfMemoryError):
            return work(*args, **options)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        vae.enable_tiling()
        try:
            return work(*args, **options)
        finally:
            vae.disable_tiling()

    return attempt


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the remarks of the libraries about parts that are left out on purpose off the screen."""
    import diffusers
    import transformers

    logs = [diffusers.utils.logging, transformers.utils.logging]
    levels = [log.get_verbosity() for log in logs]
    for log in logs:
        log.set_verbosity_error()
    try:
        yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.set_verbosity(level)


def _moved(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    return tensor.to(device, dtype) if tensor.is_floating_point() else tensor.to(device)


def _to_bytes(drawn: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return uint8 rgb_FHW3 of values in [0, 1], (F, H, W, 3) or (H, W, 3)."""
    if not np.isfinite(drawn).all():
        raise ModelError(
            "the picture holds values that are no numbers", fix="lower `learning_rate`, or use `--vae-dtype float32`"
        )
    frames_FHW3 = drawn if drawn.ndim == 4 else drawn[None]
    return np.rint(frames_FHW3 * 255).clip(0, 255).astype(np.uint8)
