"""Draw pictures and clips with a family's diffusers pipeline, around denoisers that are loaded already.

F frames, H and W rows and columns; 3 = RGB.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from blissmask.errors import ModelError
from blissmask.families.files.model_files import ModelFiles
from blissmask.families.previews.pipeline import PipelineParts, PreviewPipeline
from blissmask.families.previews.prompt import EncodedPrompt


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


def _to_bytes(drawn: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return uint8 rgb_FHW3 of values in [0, 1], (F, H, W, 3) or (H, W, 3)."""
    if not np.isfinite(drawn).all():
        raise ModelError(
            "the picture holds values that are no numbers", fix="lower `learning_rate`, or use `--vae-dtype float32`"
        )
    frames_FHW3 = drawn if drawn.ndim == 4 else drawn[None]
    return np.rint(frames_FHW3 * 255).clip(0, 255).astype(np.uint8)
