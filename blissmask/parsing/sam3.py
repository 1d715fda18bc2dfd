"""SAM 3 with a text prompt per tier; `--map PROMPT=TIER` adds prompts; SAM License.

The prompts are "person", "hair" and "face". Every other name in ``--map`` becomes a prompt of its own:
``--map "straw hat=hair"``. H, W: rows and columns of the photo; h, w: of SAM's masks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from blissmask.config.sections.mask_sections import MasksSection
from blissmask.licence import Licence
from blissmask.masks.tiers import WeightTier
from blissmask.networks.batching import BatchedNetwork
from blissmask.networks.preprocessing import Preprocessing, prepare
from blissmask.networks.sam3_prompts import EXAMPLE, LICENCE, Found, Sam3Prompts, preprocessing_of
from blissmask.networks.torch_device import precision_note
from blissmask.networks.weights_path import folder_sha256, model_folder
from blissmask.parsing.class_tiers import mapped
from blissmask.parsing.parts_backend import Parsed, PartsBackend

METHOD = 1
"""Raised whenever the same folder and prompts would give other labels; part of the identity."""

BACKGROUND, PERSON, FACE = "background", "person", "face"
DEFAULT_TIERS = {
    BACKGROUND: WeightTier.BACKGROUND,
    PERSON: WeightTier.BODY,
    "hair": WeightTier.HAIR,
    FACE: WeightTier.FACE,
}
INSIDE = 0.5
"""Mask probability from which a pixel shows the thing; the same as in SAM 3's processor in transformers."""


class Sam3Parts:
    """The semantic backend; a pixel is ``person`` where no other prompt claims it.

    Args:
        network: returns the things of each prompt in a picture, in the order of ``tiers`` without the background.
        preprocessing: how photos are prepared for SAM 3.
        tiers: tier by prompt; the first is the background.
        identity: names the weights.
    """

    thread_safe = True
    licence: Licence = LICENCE

    def __init__(
        self,
        network: BatchedNetwork[list[list[Found]]],
        preprocessing: Preprocessing,
        *,
        tiers: Mapping[str, WeightTier],
        identity: str,
    ) -> None:
        self._network, self._preprocessing = network, preprocessing
        self.classes = tuple(tiers)
        self.tiers = tiers
        self.identity = identity

    def parse(self, rgbs_HW3: Sequence[NDArray[np.uint8]]) -> list[Parsed]:
        """Parse photos of any sizes; safe to call from several threads.

        Raises:
            ModelError: the weights cannot be used.
            MachineError: out of memory.
        """
        photos = [prepare(rgb_HW3, self._preprocessing) for rgb_HW3 in rgbs_HW3]
        results = self._network.run([photo.pixels_3hw for photo in photos])
        return [self._parsed(found, photo.size_wh) for found, photo in zip(results, photos, strict=True)]

    def _parsed(self, found: list[list[Found]], size_wh: tuple[int, int]) -> Parsed:
        by_prompt = dict(zip(self.classes[1:], found, strict=True))
        labels = np.zeros((size_wh[1], size_wh[0]), np.uint8)
        best = np.full(labels.shape, INSIDE, np.float32)
        labels[_claim(by_prompt[PERSON], size_wh) > INSIDE] = self.classes.index(PERSON)
        for prompt, things in by_prompt.items():
            if prompt != PERSON and things:
                claim = _claim(things, size_wh)
                labels[claim > best] = self.classes.index(prompt)
                np.maximum(best, claim, out=best)
        return Parsed(labels, people=len(by_prompt[PERSON]), faces=len(by_prompt[FACE]))


def backend(options: MasksSection) -> PartsBackend:
    """Return SAM 3 from the model folder that ``model`` names; loaded at the first photo.

    Raises:
        ModelError: no folder was named, or it holds another model.
        MachineError: a download failed.
    """
    folder = model_folder(options, backend="sam3", example=EXAMPLE)
    tiers = {**DEFAULT_TIERS, **mapped(options.map)}
    prompts = tuple(tiers)[1:]
    return Sam3Parts(
        BatchedNetwork(lambda: Sam3Prompts(folder, prompts, options), batch_size=options.batch_size),
        preprocessing_of(folder),
        tiers=tiers,
        identity=f"sam3-{METHOD}-{'+'.join(prompts)}-sha256:{folder_sha256(folder)}{precision_note(options)}",
    )


def _claim(things: Sequence[Found], size_wh: tuple[int, int]) -> NDArray[np.float32]:
    """Return how likely each pixel shows any of ``things``, float32 0..1 (H, W)."""
    if not things:
        return np.zeros((size_wh[1], size_wh[0]), np.float32)
    claim_hw = np.maximum.reduce([thing.probability_hw for thing in things])
    return np.asarray(cv2.resize(claim_hw, size_wh, interpolation=cv2.INTER_LINEAR), np.float32)
