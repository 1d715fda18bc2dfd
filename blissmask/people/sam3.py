"""SAM 3 with the text prompt "person", through transformers; SAM License."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blissmask.config.sections.mask_sections import InstanceSection
from blissmask.config.sections.network import NetworkOptions
from blissmask.networks.batching import BatchedNetwork, Network
from blissmask.networks.sam3_prompts import EXAMPLE, LICENCE, Sam3Prompts, preprocessing_of
from blissmask.networks.torch_device import precision_note
from blissmask.networks.weights_path import folder_sha256, model_folder
from blissmask.people.instances import InstanceMask, InstancePeople
from blissmask.people.people_backend import PeopleBackend

METHOD = 1
"""Raised whenever the same folder would give other people; part of the identity."""

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
        preprocessing_of(folder),
        licence=LICENCE,
        identity=f"sam3-{METHOD}-sha256:{folder_sha256(folder)}{precision_note(options)}",
    )


def _load(folder: Path, options: NetworkOptions) -> Network[list[InstanceMask]]:
    network = Sam3Prompts(folder, (PROMPT,), options)

    def people(pixels_B3hw: NDArray[np.float32]) -> list[list[InstanceMask]]:
        # One prompt, so the things of each picture are in a list of one list.
        pictures = network(pixels_B3hw)
        return [[InstanceMask(thing.score, thing.probability_hw) for thing in things] for (things,) in pictures]

    return people
