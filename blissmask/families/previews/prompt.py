"""A prompt that is ready to be sampled, and how it is sampled.

H and W rows and columns; 3 = RGB. N rows of a picture's features, D their width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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


def _moved(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    return tensor.to(device, dtype) if tensor.is_floating_point() else tensor.to(device)
