"""SAM 3 with the text prompt "person", through transformers; SAM License."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from blissmask.config.masks import InstanceSection
from blissmask.networks.batching import BatchedNetwork
from blissmask.networks.device import precision_note
from blissmask.networks.pixels import Recipe, prepare
from blissmask.networks.sam3 import EXAMPLE, LICENCE, Found, Sam3Prompts, recipe_of
from blissmask.networks.source import folder_sha256, model_folder
from blissmask.people.outlines import Outline, separate
from blissmask.people.protocol import PeopleBackend, Person

METHOD = 1
PROMPT = "person"


class Sam3People:
    """The instance backend.

    Args:
        network: what was found in a picture, by prompt; the only prompt is "person".
        recipe: how SAM 3 sees photos.
        identity: names the weights.
    """

    thread_safe = True
    licence = LICENCE

    def __init__(self, network: BatchedNetwork[list[list[Found]]], recipe: Recipe, *, identity: str) -> None:
        self._network, self._recipe = network, recipe
        self.identity = identity

    def people(self, rgb_HW3: NDArray[np.uint8]) -> list[Person]:
        """Return everybody in a photo, largest first; safe to call from several threads.

        Raises:
            ModelError: the weights cannot be used.
            MachineError: out of memory.
        """
        photo = prepare(rgb_HW3, self._recipe)
        (found,) = self._network.run([photo.pixels_3hw])[0]
        return separate([_outline(thing, photo.size_wh) for thing in found], photo.size_wh)


def backend(options: InstanceSection) -> PeopleBackend:
    """Return SAM 3 from the model folder that ``model`` names; loaded at the first photo.

    Raises:
        ModelError: no folder was named, or it holds another model.
        MachineError: a download failed.
    """
    folder = model_folder(options, backend="sam3", example=EXAMPLE)
    return Sam3People(
        BatchedNetwork(lambda: Sam3Prompts(folder, (PROMPT,), options), batch_size=options.batch_size),
        recipe_of(folder),
        identity=f"sam3-{METHOD}-sha256:{folder_sha256(folder)}{precision_note(options)}",
    )


def _outline(thing: Found, size_wh: tuple[int, int]) -> Outline:
    return Outline(thing.score, 0, 0, np.asarray(cv2.resize(thing.probability_hw, size_wh, interpolation=cv2.INTER_LINEAR), np.float32))
