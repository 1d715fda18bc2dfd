"""SAM 3 with the text prompt "person", through transformers; SAM License."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blissmask.config.masks import InstanceSection
from blissmask.config.network import NetworkOptions
from blissmask.networks.batching import BatchedNetwork, Network
from blissmask.networks.sam3_prompts import EXAMPLE, LICENCE, Sam3Prompts, recipe_of
from blissmask.networks.torch_device import precision_note
from blissmask.networks.weights_path import folder_sha256, model_folder
from blissmask.people.instances import InstancePeople, Seen
from blissmask.people.people_backend import PeopleBackend

METHOD = 1
PROMPT = "person"


def backend(options: InstanceSection) -> PeopleBackend:
    """Return SAM 3 from the model folder that ``model`` names; loaded at the first photo.

    Raises:
        ModelError: no folder was named, or it holds another model.
        MachineError: a download failed.
    """
    folder = model_folder(options, backend="sam3", example=EXAMPLE)
    return InstancePeople(
        BatchedNetwork(lambda: _load(folder, options), batch_size=options.batch_size),
        recipe_of(folder),
        licence=LICENCE,
        identity=f"sam3-{METHOD}-sha256:{folder_sha256(folder)}{precision_note(options)}",
    )


def _load(folder: Path, options: NetworkOptions) -> Network[list[Seen]]:
    look = Sam3Prompts(folder, (PROMPT,), options)

    def people(pixels_B3hw: NDArray[np.float32]) -> list[list[Seen]]:
        return [[(person.score, person.probability_hw) for person in found] for (found,) in look(pixels_B3hw)]

    return people
