"""Read the metadata of a YOLO-seg ONNX export, and turn its two outputs into outlines.

N = candidates; K = mask coefficients, usually 32; C = classes; h, w: rows and columns of the prototype masks.
Two layouts of the first output exist:

- (1, 4 + C + K, N), the classic one: boxes as centre and size; non-maximum suppression is left to the reader.
- (1, N, 6 + K), of YOLO26 with its NMS-free head and of any YOLO with the suppression built in: boxes as corners, one
  score and one class each.

The second output is (1, K, h, w) in both. Source: Ultralytics' documentation of its exports; the layouts are those of
files that were exported for the tests.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from blissmask.errors import ModelError
from blissmask.people.outlines import Outline

PERSON = "person"
DEFAULT_SIDE = 640
"""Side of the pictures of an export without ``imgsz``; Ultralytics' default."""

MAX_OVERLAP = 0.7
"""Boxes with a larger intersection over union are one person; Ultralytics' default."""

PADDING_GREY = 114
"""Value around a photo in its letterbox; Ultralytics' default."""


@dataclass(frozen=True, slots=True)
class ExportFacts:
    """Facts of an export.

    Attributes:
        person: number of the class "person".
        class_count: number of classes.
        size_wh: size of the network's pictures.
    """

    person: int
    class_count: int
    size_wh: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Letterbox:
    """A photo fitted into the network's picture.

    Attributes:
        pixels_13hw: float32 0..1, RGB.
        scale_xy: network pixels per photo pixel; the axes differ a little, since sides are rounded to whole pixels.
        left, top: corner of the photo, in network pixels.
        size_wh: size of the photo.
    """

    pixels_13hw: NDArray[np.float32]
    scale_xy: tuple[float, float]
    left: int
    top: int
    size_wh: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Candidates:
    """People before they are outlined.

    Attributes:
        boxes_N4: left, top, right, bottom in network pixels.
        scores_N: 0..1.
        coefficients_NK: weights of the prototype masks.
    """

    boxes_N4: NDArray[np.float32]
    scores_N: NDArray[np.float32]
    coefficients_NK: NDArray[np.float32]


def read_facts(metadata: Mapping[str, str], input_shape: Sequence[object], path: Path) -> ExportFacts:
    """Return the facts in the export's metadata and input.

    Args:
        metadata: the file's custom metadata; Ultralytics writes ``names``, ``imgsz`` and ``task``.
        input_shape: (batch, 3, height, width); text where a side is free.
        path: for messages.

    Raises:
        ModelError: the file is no segmentation export, or has no class "person".
    """
    if metadata.get("task", "segment") != "segment":
        raise ModelError(
            f"the export is for `{metadata['task']}`, not `segment`", where=[path], fix="export a `-seg` model"
        )
    try:
        names = {int(number): str(name) for number, name in ast.literal_eval(metadata["names"]).items()}
        size = ast.literal_eval(metadata.get("imgsz", f"[{DEFAULT_SIDE}, {DEFAULT_SIDE}]"))
        free_wh = (int(size[1]), int(size[0]))
    except (KeyError, ValueError, SyntaxError, AttributeError, TypeError, IndexError) as error:
        fix = "export it with Ultralytics: `yolo export model=yolo26n-seg.pt format=onnx`"
        raise ModelError(
            "the file does not name its classes, so it is no Ultralytics export", where=[path], fix=fix
        ) from error
    people = [number for number, name in names.items() if name.casefold() == PERSON]
    if not people:
        raise ModelError(
            f"none of the model's {len(names)} classes is `{PERSON}`",
            where=[path],
            fix="name a model that finds people",
        )
    height, width = input_shape[2:4]
    # A side that the file leaves free has a name instead of a number.
    size_wh = (width if isinstance(width, int) else free_wh[0], height if isinstance(height, int) else free_wh[1])
    return ExportFacts(person=people[0], class_count=len(names), size_wh=size_wh)


def letterbox(rgb_HW3: NDArray[np.uint8], size_wh: tuple[int, int]) -> Letterbox:
    """Fit a photo into the middle of a grey picture of ``size_wh``; its shape is kept."""
    height, width = rgb_HW3.shape[:2]
    scale = min(size_wh[0] / width, size_wh[1] / height)
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    left, top = (size_wh[0] - inner[0]) // 2, (size_wh[1] - inner[1]) // 2
    picture = np.full((size_wh[1], size_wh[0], 3), PADDING_GREY, np.uint8)
    picture[top : top + inner[1], left : left + inner[0]] = cv2.resize(rgb_HW3, inner, interpolation=cv2.INTER_LINEAR)
    pixels = np.ascontiguousarray(picture.transpose(2, 0, 1)[None], np.float32) / np.float32(255)
    return Letterbox(
        pixels_13hw=pixels,
        scale_xy=(inner[0] / width, inner[1] / height),
        left=left,
        top=top,
        size_wh=(width, height),
    )


def find_candidates(
    output: NDArray[np.float32], facts: ExportFacts, mask_count: int, *, min_score: float
) -> Candidates:
    """Return the people among the candidates of the first output, best first, each once.

    Args:
        output: (1, 4 + C + K, N) or (1, N, 6 + K).
        facts: of the export.
        mask_count: K, from the second output.
        min_score: people need a higher score.

    Raises:
        ModelError: the output has neither layout.
    """
    if output.shape[1] == 4 + facts.class_count + mask_count:
        return _suppressed(output[0].T, facts, min_score)
    if output.shape[2] == 6 + mask_count:
        rows = output[0]
        rows = rows[(rows[:, 4] > min_score) & (rows[:, 5].round() == facts.person)]
        rows = rows[np.argsort(-rows[:, 4], kind="stable")]
        return Candidates(rows[:, :4], rows[:, 4], rows[:, 6:])
    raise ModelError(
        f"the export's first output has the shape {output.shape}, which is no YOLO-seg layout",
        fix="export a `-seg` model",
    )


def outline_candidates(candidates: Candidates, prototypes_Khw: NDArray[np.float32], photo: Letterbox) -> list[Outline]:
    """Outline every candidate at the photo's full size, inside its box; those outside the photo are dropped."""
    outlines = []
    for box, score, coefficients in zip(
        candidates.boxes_N4, candidates.scores_N, candidates.coefficients_NK, strict=True
    ):
        logits_hw = np.tensordot(coefficients, prototypes_Khw, axes=1)
        outline = _outline(box, float(score), logits_hw, photo)
        if outline is not None:
            outlines.append(outline)
    return outlines


def _suppressed(rows: NDArray[np.float32], facts: ExportFacts, min_score: float) -> Candidates:
    classes = rows[:, 4 : 4 + facts.class_count]
    scores = classes[:, facts.person]
    rows = rows[(scores > min_score) & (classes.argmax(axis=1) == facts.person)]
    scores = rows[:, 4 + facts.person]
    corners = rows[:, :2] - rows[:, 2:4] / 2
    boxes_xywh = np.concatenate([corners, rows[:, 2:4]], axis=1)
    best = cv2.dnn.NMSBoxes(boxes_xywh.tolist(), scores.tolist(), min_score, MAX_OVERLAP)
    # Without any box, OpenCV returns an empty tuple.
    kept = np.asarray(best, np.int64).reshape(-1)
    boxes = np.concatenate([corners, corners + rows[:, 2:4]], axis=1)
    return Candidates(boxes[kept], scores[kept], rows[kept, 4 + facts.class_count :])


def _outline(
    box: NDArray[np.float32], score: float, logits_hw: NDArray[np.float32], photo: Letterbox
) -> Outline | None:
    """Interpolate a mask from prototype pixels to the photo pixels within the box; None for a box outside the photo.

    A pixel is within the box when its centre is.
    """
    corners = (box.reshape(2, 2) - (photo.left, photo.top)) / photo.scale_xy
    (left, top), (right, bottom) = np.clip(corners.round().astype(np.int64), 0, photo.size_wh).tolist()
    if right <= left or bottom <= top:
        return None
    rows, columns = logits_hw.shape
    stride_xy = photo.pixels_13hw.shape[3] / columns, photo.pixels_13hw.shape[2] / rows
    # Pixel centres: photo pixel + 0.5 -> network picture -> prototype pixel - 0.5.
    across = ((np.arange(left, right) + 0.5) * photo.scale_xy[0] + photo.left) / stride_xy[0] - 0.5
    down = ((np.arange(top, bottom) + 0.5) * photo.scale_xy[1] + photo.top) / stride_xy[1] - 0.5
    map_x, map_y = np.meshgrid(across.astype(np.float32), down.astype(np.float32))
    sharp = cv2.remap(
        logits_hw.astype(np.float32), map_x, map_y, interpolation=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return Outline(score, left, top, np.asarray(1 / (1 + np.exp(-np.clip(sharp, -30, 30))), np.float32))
