"""Any semantic segmentation model of transformers, classes by name; licence as its card says.

SegFormer, Mask2Former, MaskFormer, EoMT, DPT, BEiT, UperNet and every other model whose class in transformers ends in
``ForSemanticSegmentation`` or ``ForUniversalSegmentation``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from blissmask.config.sections.mask_sections import MasksSection
from blissmask.networks.batching import BatchedNetwork
from blissmask.networks.model_folder import another_model, class_names, licence_of, named_classes, read_config
from blissmask.networks.preprocessing import Preprocessing, read_preprocessing
from blissmask.networks.torch_device import precision_note
from blissmask.networks.weights_path import folder_sha256, model_folder
from blissmask.parsing.class_tiers import tiers_by_name
from blissmask.parsing.parts_backend import PartsBackend
from blissmask.parsing.scoring import load_scores
from blissmask.parsing.semantic import SemanticParts

METHOD = 2
"""Raised whenever the same folder would give other labels; part of the identity."""

EXAMPLE = "fashn-ai/fashn-human-parser"
ENDINGS = ("ForSemanticSegmentation", "ForUniversalSegmentation", "MaskFormerForInstanceSegmentation")


def backend(options: MasksSection) -> PartsBackend:
    """Return the model in the folder, or of the hub id, that ``model`` names; loaded at the first photo.

    Raises:
        ModelError: no folder was named, it holds another kind of model, or a class has no known tier.
        MachineError: a download failed.
    """
    folder = model_folder(options, backend="huggingface", example=EXAMPLE)
    config = read_config(folder)
    class_name = _class_of(config, folder)
    return SemanticParts(
        BatchedNetwork(lambda: load_scores(class_name, folder, options), batch_size=options.batch_size),
        _preprocessing(config, folder),
        tiers=tiers_by_name(class_names(config), options.map, where=folder),
        licence=licence_of(folder),
        identity=f"huggingface-{METHOD}-sha256:{folder_sha256(folder)}{precision_note(options)}",
    )


def _class_of(config: dict[str, Any], folder: Path) -> str:
    for name in named_classes(config):
        if name.endswith(ENDINGS):
            return name
    raise another_model(config, "a semantic segmentation model", folder=folder, example=EXAMPLE)


def _preprocessing(config: dict[str, Any], folder: Path) -> Preprocessing:
    preprocessing = read_preprocessing(folder)
    if not str(config.get("model_type")).startswith("eomt"):
        return preprocessing
    # EoMT takes only squares of its own size. Its own processor cuts a photo into squares, which would split people.
    side = int(config.get("image_size", 640))
    return replace(preprocessing, size_wh=None, shortest=side, longest=side, pad_wh=(side, side))
