"""Turn the outputs of transformers' segmentation models into scores per class and pixel.

B = pictures; C = classes; Q = queries; h, w: rows and columns of the scores.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from blissmask.config.sections.network import NetworkOptions
from blissmask.errors import ModelError
from blissmask.networks.batching import Network
from blissmask.networks.torch_device import find_device, find_dtype
from blissmask.networks.transformers_model import load_transformer

if TYPE_CHECKING:
    import torch


def load_scores(class_name: str, folder: Path, options: NetworkOptions) -> Network[torch.Tensor]:
    """Load a transformers model as a network that returns scores_Chw per picture.

    Args:
        class_name: a transformers class; its models return ``logits`` per class and pixel, or queries with a class
            and a mask each.
        folder: the model folder.
        options: device and precision.

    Raises:
        ModelError, MissingPackageError: as :func:`load_transformer`.
    """
    import torch

    device = find_device(options.device)
    dtype = find_dtype(options.precision, device, on_gpu="float16")
    model = load_transformer(class_name, folder, device=device, dtype=dtype)

    def scores(pixels_B3hw: NDArray[np.float32]) -> list[torch.Tensor]:
        with torch.inference_mode():
            output = model(pixel_values=torch.from_numpy(pixels_B3hw).to(device, dtype))
            return list(scores_of(output, folder))

    return scores


def scores_of(output: Any, folder: Path) -> torch.Tensor:
    """Return scores_BChw of a model's output.

    A model with queries (MaskFormer, Mask2Former, EoMT) gives each query a class and a mask. The score of a class at a
    pixel is the sum over the queries of class probability times mask probability; the last class, "nothing", is left
    out. Source: MaskFormer, section 3.4.

    Raises:
        ModelError: the output has neither logits nor queries.
    """
    import torch

    if getattr(output, "class_queries_logits", None) is not None:
        classes_BQC = output.class_queries_logits.float().softmax(dim=-1)[..., :-1]
        masks_BQhw = output.masks_queries_logits.float().sigmoid()
        return torch.einsum("bqc,bqhw->bchw", classes_BQC, masks_BQhw)
    logits = getattr(output, "logits", None)
    if logits is None or logits.ndim != 4:
        raise ModelError(
            "the model does not score classes pixel by pixel", where=[folder], fix="name a semantic segmentation model"
        )
    return torch.as_tensor(logits)
