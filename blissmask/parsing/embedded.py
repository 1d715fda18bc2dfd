"""Networks that ship with blissmask: no download, no GPU, Apache-2.0.

The whole photo, every person and every head are looked at, joined with body masks, and the edges moved onto those of
the photo. H, W: rows and columns of the photo; h, w: of its working copy; C = classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from blissmask.config.masks import MasksSection
from blissmask.config.network import refuse_network_options
from blissmask.licence import Licence
from blissmask.masks.tiers import WeightTier
from blissmask.parsing.labels import drop_small_parts, fill_class_holes
from blissmask.parsing.parts_backend import Parsed, PartsBackend
from blissmask.vision.class_map import PartsMap, map_parts
from blissmask.vision.cores import side_by_side
from blissmask.vision.evidence import join
from blissmask.vision.guided_filter import GuidedFilter
from blissmask.vision.photo import Photo, paste
from blissmask.vision.scene import NETWORKS, look_at
from blissmask.vision.selfie_multiclass import BACKGROUND, BODY_SKIN, CLASSES, CLOTHES, FACE_SKIN, HAIR, OTHERS
from blissmask.vision.session import weights_identity

METHOD = 1
"""Raised whenever the same photo would get other labels."""

EDGE_RADIUS = 0.8 / 256
"""Radius of the guided filter as a share of the long side; about one pixel of the network's input."""

SPECK = 2e-4
"""Parts smaller than this share of the photo are specks."""

FACE_HOLE = 2e-3
STRIP_ROWS = 512


class EmbeddedParts:
    """The built-in semantic backend."""

    classes: tuple[str, ...] = CLASSES
    tiers: Mapping[str, WeightTier] = {
        "background": WeightTier.BACKGROUND,
        "hair": WeightTier.HAIR,
        "body-skin": WeightTier.BODY,
        "face-skin": WeightTier.FACE,
        "clothes": WeightTier.BODY,
        "others": WeightTier.BODY,
    }
    licence = Licence("Apache-2.0", commercial=True)
    identity = f"embedded-{METHOD}-{weights_identity(*NETWORKS)}"
    thread_safe = True

    def parse(self, rgbs_HW3: Sequence[NDArray[np.uint8]]) -> list[Parsed]:
        """Parse photos of any sizes, one after the other; safe to call from several threads."""
        return [_parse(Photo(rgb_HW3)) for rgb_HW3 in rgbs_HW3]


def backend(options: MasksSection) -> PartsBackend:
    """Return the built-in semantic backend; its networks are loaded at the first photo.

    Raises UsageError for options of others.
    """
    refuse_network_options(options)
    return EmbeddedParts()


def _parse(photo: Photo) -> Parsed:
    scene = look_at(photo)
    parts = join(map_parts(photo, scene), scene)
    labels = _sharp_labels(photo, parts)
    pixels = labels.size
    labels = fill_class_holes(labels, FACE_SKIN, max_pixels=round(FACE_HOLE * pixels))
    labels = drop_small_parts(labels, min_pixels=round(SPECK * pixels))
    return Parsed(labels, people=len(scene.figures), faces=len(scene.faces))


def _sharp_labels(photo: Photo, parts: PartsMap) -> NDArray[np.uint8]:
    """Return the most probable class of every pixel of the photo, outlines moved onto the photo's edges.

    Only what is trained differently gets a sharp outline: face, hair, body and background. The kinds of body keep their
    coarse borders.
    """
    probabilities = parts.probabilities_hwC
    body_kinds = np.ascontiguousarray(probabilities[..., [BODY_SKIN, CLOTHES, OTHERS]])
    guide = GuidedFilter(photo.resized(parts.size_wh), radius=max(2, round(EDGE_RADIUS * max(parts.size_wh))))
    planes = (probabilities[..., FACE_SKIN], probabilities[..., HAIR], body_kinds.sum(axis=-1))
    models = side_by_side(guide.fit, planes)
    number_of_kind = np.array([BODY_SKIN, CLOTHES, OTHERS], np.uint8)
    width, height = parts.size_wh
    to_working = np.array([[width / photo.width, 0.0, 0.0], [0.0, height / photo.height, 0.0]])
    labels = np.empty((photo.height, photo.width), np.uint8)
    for top in range(0, photo.height, STRIP_ROWS):
        window = (0, top, photo.width, min(photo.height, top + STRIP_ROWS))
        face, hair, body = (model.apply(photo.rgb_HW3, window) for model in models)
        kinds = number_of_kind[paste(body_kinds, to_working, window).argmax(axis=-1)]
        # The filter keeps sums, so what is left of 1 is the background.
        best = np.stack([1 - face - hair - body, face, hair, body]).argmax(axis=0)
        labels[top : window[3]] = np.choose(best, [np.uint8(BACKGROUND), np.uint8(FACE_SKIN), np.uint8(HAIR), kinds])
    return labels
