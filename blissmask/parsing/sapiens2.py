"""Meta Sapiens2, 29 body parts, through transformers; Sapiens2 License.

Its class numbers are one more than those of v1 from ``Eyeglass`` on, so classes are found by name.
"""

from __future__ import annotations

from blissmask.config.sections.mask_sections import MasksSection
from blissmask.licence import Licence
from blissmask.networks.batching import BatchedNetwork
from blissmask.networks.model_folder import another_model, class_names, named_classes, read_config
from blissmask.networks.preprocessing import Preprocessing, read_preprocessing
from blissmask.networks.torch_device import precision_note
from blissmask.networks.weights_path import folder_sha256, model_folder
from blissmask.parsing.class_tiers import tiers_by_name
from blissmask.parsing.labelsets import SAPIENS2
from blissmask.parsing.parts_backend import PartsBackend
from blissmask.parsing.scoring import load_scores
from blissmask.parsing.semantic import SemanticParts

METHOD = 1
"""Raised whenever the same folder would give other labels; part of the identity."""

CLASS = "Sapiens2ForSemanticSegmentation"
EXAMPLE = "facebook/sapiens2-seg-0.4b"
PREPROCESSING = Preprocessing(size_wh=(768, 1024))
"""For folders without a `preprocessor_config.json`."""

LICENCE = Licence(
    "Sapiens2 License",
    commercial=False,
    note="Meta's own terms limit surveillance, biometrics and impersonation, among others",
)


def backend(options: MasksSection) -> PartsBackend:
    """Return Sapiens2 from the model folder that ``model`` names; loaded at the first photo.

    Raises:
        ModelError: no folder was named, or it holds another model.
        MachineError: a download failed.
    """
    folder = model_folder(options, backend="sapiens2", example=EXAMPLE)
    config = read_config(folder)
    if CLASS not in (named_classes(config) or [CLASS]) or config.get("model_type") != "sapiens2":
        raise another_model(config, CLASS, folder=folder, example=EXAMPLE)
    names = class_names(config)
    # A configuration made by conversion may number its classes without naming them.
    unnamed = len(names) == len(SAPIENS2) and all(name.startswith("LABEL_") for name in names)
    return SemanticParts(
        BatchedNetwork(lambda: load_scores(CLASS, folder, options), batch_size=options.batch_size),
        read_preprocessing(folder, default=PREPROCESSING),
        tiers=SAPIENS2 if unnamed else tiers_by_name(names, options.map, where=folder),
        licence=LICENCE,
        identity=f"sapiens2-{METHOD}-sha256:{folder_sha256(folder)}{precision_note(options)}",
    )
