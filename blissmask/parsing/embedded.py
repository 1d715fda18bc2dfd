"""Networks that ship with blissmask: no download, no GPU, Apache-2.0.

Selfie Multiclass classifies the whole photo, every person and every head. The blended classes are joined with the body
masks of BlazePose, and their edges are moved onto the edges of the photo. H, W: rows and columns of the photo; h, w: of
its working copy; C = classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blissmask.config.sections.mask_sections import MasksSection
from blissmask.config.sections.network import refuse_network_options
from blissmask.give_back import give_back
from blissmask.licence import Licence
from blissmask.masks.tiers import WeightTier
from blissmask.parsing.labels import drop_small_parts, fill_class_holes
from blissmask.parsing.parts_backend import Parsed, PartsBackend
from blissmask.vision.class_map import ClassMap, map_classes
from blissmask.vision.cores import side_by_side
from blissmask.vision.evidence import join_bodies
from blissmask.vision.faces.face_mesh import FaceMesh
from blissmask.vision.guided_filter import GuidedFilter, LinearModel
from blissmask.vision.in_front import share_in_front
from blissmask.vision.photo import Photo, Window, paste
from blissmask.vision.scene import NETWORKS, Scene, scene_of
from blissmask.vision.selfie_multiclass import BACKGROUND, BODY_SKIN, CLASSES, CLOTHES, FACE_SKIN, HAIR, OTHERS
from blissmask.vision.session import give_back_store, weights_identity

METHOD = 3
"""Raised whenever the same photo would get other labels; part of the identity."""

EDGE_RADIUS = 0.8 / 256
MIN_EDGE_RADIUS = 2
"""Radius of the guided filter as a share of the long side, and at least so many pixels of the working copy.

By eye: about one pixel of the network's input. Much larger radii lowered the person IoU of the design photos by 0.01 to
0.02.
"""

SPECK = 2e-4
"""Parts smaller than this share of the photo are given to their neighbours; by eye."""

FACE_HOLE = 2e-3
"""Holes in a face of at most this share of the photo are filled; by eye: teeth, nostrils, the glint of glasses."""

STRIP_ROWS = 512
"""Rows of the photo that are sharpened at a time, which bounds the memory of large photos.

Another number moves where OpenCV rounds: one of 18 photos got another mask with 128.
"""

BODY_CLASSES = (BODY_SKIN, CLOTHES, OTHERS)


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
        return [_parse(rgb_HW3) for rgb_HW3 in rgbs_HW3]


def backend(options: MasksSection) -> PartsBackend:
    """Return the built-in semantic backend; its networks are loaded at the first photo.

    Raises:
        UsageError: an option was given that only other backends take.
    """
    refuse_network_options(options)
    return EmbeddedParts()


def _parse(rgb_HW3: NDArray[np.uint8]) -> Parsed:
    labels, scene, in_front = _classify(Photo(rgb_HW3))
    pixels = labels.size
    give_back(pixels)
    fill_class_holes(labels, FACE_SKIN, max_pixels=round(FACE_HOLE * pixels))
    drop_small_parts(labels, min_pixels=round(SPECK * pixels))
    limbs = sum(pose.shows_a_limb for pose in scene.poses)
    faces = _faces_in(labels, scene.faces)
    return Parsed(labels, people=len(scene.figures), faces=faces, limbs=limbs, in_front=in_front)


def _faces_in(labels_HW: NDArray[np.uint8], faces: Sequence[FaceMesh]) -> int:
    """Return how many faces have pixels of a face in their boxes.

    A face that was found can leave none, in a photo of 200 pixels or of a figure: "no face" is true of its mask.
    """
    height, width = labels_HW.shape
    count = 0
    for face in faces:
        left, right = np.clip(np.rint(face.box[::2]), 0, width).astype(int)
        top, bottom = np.clip(np.rint(face.box[1::2]), 0, height).astype(int)
        within = labels_HW[top:bottom, left:right]
        count += bool((within == FACE_SKIN).any())
    return count


def _classify(photo: Photo) -> tuple[NDArray[np.uint8], Scene, float]:
    """Return the class of every pixel, who is in the photo, and the share of it that may be in front of a body."""
    scene = scene_of(photo)
    class_map = map_classes(photo, scene)
    pixels = photo.width * photo.height
    give_back_store(pixels)
    photo.forget_copies()
    joined = join_bodies(class_map, scene)
    in_front = share_in_front(photo, class_map, joined, scene)
    coarse = _coarse(joined)
    del class_map, joined
    give_back(pixels)
    sharp = _sharpen(photo, coarse)
    del coarse
    give_back(pixels)
    labels = np.empty((photo.height, photo.width), np.uint8)
    for top in range(0, photo.height, STRIP_ROWS):
        bottom = min(photo.height, top + STRIP_ROWS)
        labels[top:bottom] = _strip_labels(photo, sharp, (0, top, photo.width, bottom))
    return labels, scene, in_front


@dataclass(frozen=True, slots=True)
class _Coarse:
    """The probabilities from which sharp outlines are made, at the size of the working copy.

    Attributes:
        face_hw, hair_hw, body_hw: of these classes; the body is the sum of its own.
        body_Khw: of the classes of the body.
    """

    face_hw: NDArray[np.float32]
    hair_hw: NDArray[np.float32]
    body_hw: NDArray[np.float32]
    body_Khw: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Sharp:
    """What decides the class of every pixel of a photo.

    Attributes:
        face, hair, body: the masks of these classes as functions of the photo's colours.
        body_Khw: probabilities of the classes of the body, at the size of the working copy.
    """

    face: LinearModel
    hair: LinearModel
    body: LinearModel
    body_Khw: NDArray[np.float32]


def _coarse(class_map: ClassMap) -> _Coarse:
    """Copy what is needed of a class map, so that the map can be freed."""
    probabilities = class_map.probabilities_hwC
    body_Khw = np.stack([probabilities[..., number] for number in BODY_CLASSES])
    # Class by class: numpy takes ten times as long for a sum over an axis.
    body_hw = body_Khw[0].copy()
    for number in range(1, len(BODY_CLASSES)):
        body_hw += body_Khw[number]
    return _Coarse(probabilities[..., FACE_SKIN].copy(), probabilities[..., HAIR].copy(), body_hw, body_Khw)


def _sharpen(photo: Photo, coarse: _Coarse) -> _Sharp:
    """Return masks whose outlines are moved onto the photo's edges.

    Only the classes that may be weighted differently get a sharp outline: face, hair, body and background. The three
    classes of the body keep their coarse borders among each other.
    """
    height, width = coarse.body_hw.shape
    radius = max(MIN_EDGE_RADIUS, round(EDGE_RADIUS * max(width, height)))
    guide = GuidedFilter(photo.resized((width, height)), radius=radius)
    face, hair, body = side_by_side(guide.fit, (coarse.face_hw, coarse.hair_hw, coarse.body_hw))
    return _Sharp(face, hair, body, coarse.body_Khw)


def _strip_labels(photo: Photo, sharp: _Sharp, window: Window) -> NDArray[np.uint8]:
    """Return the most probable class of every pixel of a part of the photo.

    Class after class, so that few planes are in memory at a time: those of a strip of a large photo have 12 MB each.
    """
    of_body = _best_of_body(photo, sharp, window)
    most = sharp.face.apply(photo.rgb_HW3, window)
    # The filter keeps sums, so the background is what face, hair and body leave of 1.
    rest = 1 - most
    best = np.full(most.shape, np.uint8(FACE_SKIN))
    for model, label in ((sharp.hair, np.uint8(HAIR)), (sharp.body, of_body)):
        plane = model.apply(photo.rgb_HW3, window)
        rest -= plane
        _take_larger(most, best, plane, label)
        del plane
    np.copyto(best, np.uint8(BACKGROUND), where=rest >= most)
    return best


def _best_of_body(photo: Photo, sharp: _Sharp, window: Window) -> NDArray[np.uint8]:
    """Return the most probable of the classes of the body for every pixel of a part of the photo."""
    height, width = sharp.body_Khw.shape[1:]
    to_working_copy = np.array([[width / photo.width, 0.0, 0.0], [0.0, height / photo.height, 0.0]])
    most = paste(sharp.body_Khw[0], to_working_copy, window)
    best = np.full(most.shape, np.uint8(BODY_CLASSES[0]))
    for number in range(1, len(BODY_CLASSES)):
        _take_larger(most, best, paste(sharp.body_Khw[number], to_working_copy, window), np.uint8(BODY_CLASSES[number]))
    return best


def _take_larger(
    most: NDArray[np.float32],
    best: NDArray[np.uint8],
    plane: NDArray[np.float32],
    label: np.uint8 | NDArray[np.uint8],
) -> None:
    """Put ``label`` into ``best`` where ``plane`` is larger than ``most``, and the larger value into ``most``.

    Plane by plane: `argmax` over the last axis takes ten times as long, and makes eight bytes of every pixel.
    """
    np.copyto(best, label, where=plane > most)
    np.maximum(most, plane, out=most)
