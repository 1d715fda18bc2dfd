"""RF-DETR-Seg, instance segmentation through transformers; Apache-2.0.

Q = queries, the things that it may find; C = classes; h, w: rows and columns of its masks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blissmask.config.sections.mask_sections import InstanceSection
from blissmask.config.sections.network import NetworkOptions
from blissmask.errors import ModelError
from blissmask.licence import Licence
from blissmask.networks.batching import BatchedNetwork, Network
from blissmask.networks.model_folder import another_model, class_names, licence_of, named_classes, read_config
from blissmask.networks.preprocessing import Preprocessing, read_preprocessing
from blissmask.networks.torch_device import find_device, find_dtype, precision_note
from blissmask.networks.transformers_model import load_transformer
from blissmask.networks.weights_path import folder_sha256, model_folder
from blissmask.people.instances import InstanceMask, InstancePeople
from blissmask.people.people_backend import PeopleBackend

METHOD = 1
"""Raised whenever the same folder would give other people; part of the identity."""

CLASS = "RfDetrForInstanceSegmentation"
EXAMPLE = "Roboflow/rf-detr-seg-large"
PERSON = "person"
MIN_SCORE = 0.5
"""Smallest score of a person. Source: the default threshold of RF-DETR's processor in transformers."""
LICENCE = Licence("Apache-2.0", commercial=True, note="of the weights Roboflow publishes; your own may differ")


def backend(options: InstanceSection) -> PeopleBackend:
    """Return RF-DETR-Seg from the model folder that ``model`` names; loaded at the first photo.

    Raises:
        ModelError: no folder was named, it holds another model, or none of its classes is "person".
        MachineError: a download failed.
    """
    folder = model_folder(options, backend="rfdetr", example=EXAMPLE)
    config = read_config(folder)
    person = _person_class(config, folder)
    side = int((config.get("backbone_config") or {}).get("image_size", 0))
    return InstancePeople(
        BatchedNetwork(lambda: _load(folder, person, options), batch_size=options.batch_size),
        read_preprocessing(folder, default=Preprocessing(size_wh=(side, side)) if side else None),
        licence=licence_of(folder, default=LICENCE),
        identity=f"rfdetr-{METHOD}-sha256:{folder_sha256(folder)}{precision_note(options)}",
    )


def _person_class(config: dict[str, Any], folder: Path) -> int:
    if CLASS not in named_classes(config):
        raise another_model(config, CLASS, folder=folder, example=EXAMPLE)
    names = [name.casefold() for name in class_names(config)]
    if PERSON not in names:
        raise ModelError(
            f"none of the model's {len(names)} classes is `{PERSON}`",
            where=[folder, *names],
            fix="name one that finds people",
        )
    numbers = sorted(int(number) for number in config["id2label"])
    return numbers[names.index(PERSON)]


def _load(folder: Path, person: int, options: NetworkOptions) -> Network[list[InstanceMask]]:
    import torch

    device = find_device(options.device)
    dtype = find_dtype(options.precision, device, on_gpu="float32")
    model = load_transformer(CLASS, folder, device=device, dtype=dtype)

    def outlines(pixels_B3hw: NDArray[np.float32]) -> list[list[InstanceMask]]:
        with torch.inference_mode():
            output = model(pixel_values=torch.from_numpy(pixels_B3hw).to(device, dtype))
            scores_BQ = output.logits.float().sigmoid()[..., person]
            found = []
            for scores_Q, masks_Qhw in zip(scores_BQ, output.pred_masks, strict=True):
                kept = scores_Q > MIN_SCORE
                masks = masks_Qhw[kept].float().sigmoid().cpu().numpy()
                scores = scores_Q[kept].cpu().tolist()
                found.append([InstanceMask(score, mask) for score, mask in zip(scores, masks, strict=True)])
        return found

    return outlines
