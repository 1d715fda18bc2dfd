"""Meta Sapiens v1, 28 body parts, from a TorchScript file; CC-BY-NC-4.0.

A TorchScript file is a program. Only a file that the user named is loaded, and its sha256 is part of the backend's
identity, which every mask and every run records. Source of the preprocessing: the demo code published with the weights
(768 x 1024, shape not kept, own mean and std).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from blissmask.config.sections.mask_sections import MasksSection
from blissmask.config.sections.network import NetworkOptions
from blissmask.errors import ModelError
from blissmask.licence import Licence
from blissmask.networks.batching import BatchedNetwork, Network
from blissmask.networks.preprocessing import Preprocessing
from blissmask.networks.torch_device import find_device, find_dtype, precision_note
from blissmask.networks.weights_path import model_file
from blissmask.parsing.labelsets import SAPIENS
from blissmask.parsing.parts_backend import PartsBackend
from blissmask.parsing.semantic import SemanticParts
from blissmask.storage.content import file_sha256

if TYPE_CHECKING:
    import torch

METHOD = 1
"""Raised whenever the same file would give other labels; part of the identity."""

# OpenCV's bilinear filter (`resample=None`), as in the demo code.
PREPROCESSING = Preprocessing(
    size_wh=(768, 1024), scale=1.0, mean=(123.5, 116.5, 103.5), std=(58.5, 57.0, 57.5), resample=None
)
WANTED = "a Sapiens segmentation file, e.g. `sapiens_1b_goliath_best_goliath_mIoU_7994_epoch_151_torchscript.pt2`"
LICENCE = Licence(
    "CC-BY-NC-4.0",
    commercial=False,
    note="the file is TorchScript, a program that runs as you; take it only from a source you trust",
)


def backend(options: MasksSection) -> PartsBackend:
    """Return Sapiens v1; the file named by ``model`` is hashed now and loaded at the first photo.

    Raises:
        ModelError: no file was named, or it is missing.
    """
    path = model_file(options, backend="sapiens", suffixes=(".pt2", ".pt"), wanted=WANTED)
    return SemanticParts(
        BatchedNetwork(lambda: _load(path, options), batch_size=options.batch_size),
        PREPROCESSING,
        tiers=SAPIENS,
        licence=LICENCE,
        identity=f"sapiens-{METHOD}-sha256:{file_sha256(path)}{precision_note(options)}",
    )


def _load(path: Path, options: NetworkOptions) -> Network[torch.Tensor]:
    import torch

    device = find_device(options.device)
    dtype = find_dtype(options.precision, device, on_gpu="float16")
    try:
        network = torch.jit.load(str(path), map_location=device).eval().to(dtype)  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        fix = "take the file whose name ends in `_torchscript.pt2`; the others are checkpoints or torch.export programs"
        raise ModelError("this is no TorchScript file", where=[path], fix=fix) from error

    def scores(pixels_B3hw: NDArray[np.float32]) -> list[torch.Tensor]:
        with torch.inference_mode():
            output = network(torch.from_numpy(pixels_B3hw).to(device, dtype))
        if not isinstance(output, torch.Tensor) or output.ndim != 4:
            raise ModelError("the network does not score classes", where=[path], fix=f"name {WANTED}")
        return list(output)

    return scores
