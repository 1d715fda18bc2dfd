"""Read what a YOLO-seg ONNX export says of itself, and turn its two outputs into outlines.

N = candidates; K = mask coefficients, usually 32; C = classes; h, w: rows and columns of the prototype masks.
Two layouts exist. The classic one: (1, 4 + C + K, N), boxes as centre and size, to be thinned out by non-maximum
suppression. Exports of YOLO26 with its NMS-free head, and of any YOLO with the suppression built in: (1, N, 6 + K),
boxes as corners, one score and one class, nothing to thin out. The second output is (1, K, h, w) in both.
Source: Ultralytics' documentation of its exports; the layouts are those of files exported for the tests.
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
MAX_OVERLAP = 0.7
"""Boxes that overlap more (intersection over union) are one person; Ultralytics' default."""

PADDING_GREY = 114


@dataclass(frozen=True, slots=True)
class ExportFacts:
    """What the file says.

    Attributes:
        person: number of the class "person".
        class_count: how many classes there are.
        size_wh: size of the pictures it takes.
    """

    person: int
    class_count: int
    size_wh: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Letterbox:
    """A photo fitted into the network's picture.

    Attributes:
        pixels_13hw: float32 0..1, RGB.
        scale_xy: network pixels per photo pixel; the axes differ by what rounding to whole pixels takes or adds.
        left, top: where the photo begins, in network pixels.
        size_wh: size of the photo.
    """

    pixels_13hw: NDArray[np.float32]
    scale_xy: tuple[float, float]
    left: int
    top: int
    size_wh: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Candidates:
    """People before they are outlined: boxes_N4 as corners in network pixels, scores_N and coefficients_NK."""

    boxes_N4: NDArray[np.float32]
    scores_N: NDArray[np.float32]
    coefficients_NK: NDArray[np.float32]


def read_facts(metadata: Mapping[str, str], input_shape: Sequence[object], path: Path) -> ExportFacts:
    """Return what the export's metadata and its input say.

    Args:
        metadata: the file's custom metadata; Ultralytics writes ``names``, ``imgsz`` and ``task``.
        input_shape: (batch, 3, height, width); text where a side is free.
        path: for messages.

    Raises:
        ModelError: it is no segmentation export, or knows no people.
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
    size_wh = (width if isinstance(width, int) else free_wh[0], height if isinstance(height, int) else free_wh[1])
    return ExportFacts(people[0], len(names), size_wh)


def letterbox(rgb_HW3: NDArray[np.uint8], size_wh: tuple[int, int]) -> Letterbox:
    """Fit a photo into ``size_wh``, its shape kept, in the middle, the rest grey."""
    height, width = rgb_HW3.shape[:2]
    scale = min(size_wh[0] / width, size_wh[1] / height)
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    left, top = (size_wh[0] - inner[0]) // 2, (size_wh[1] - inner[1]) // 2
    picture = np.full((size_wh[1], size_wh[0], 3), PADDING_GREY, np.uint8)
    picture[top : top + inner[1], left : left + inner[0]] = cv2.resize(rgb_HW3, inner, interpolation=cv2.INTER_LINEAR)
    pixels = np.ascontiguousarray(picture.transpose(2, 0, 1)[None], np.float32) / np.float32(255)
    return Letterbox(pixels, (inner[0] / width, inner[1] / height), left, top, (width, height))


def find_candidates(
    output: NDArray[np.float32], facts: ExportFacts, mask_count: int, *, min_score: float
) -> Candidates:
    """Return the people among the candidates of the first output, best first, each once.

    Args:
        output: (1, 4 + C + K, N) or (1, N, 6 + K).
        facts: what the file says.
        mask_count: K, from the second output.
        min_score: lowest score that counts.

    Raises:
        ModelError: the output has neither layout.
    """
    if output.shape[1] == 4 + facts.class_count + mask_count:
        return _thinned(output[0].T, facts, min_score)
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
    """Draw every candidate at the photo's full size, inside its box."""
    return [
        outline
        for box, score, coefficients in zip(
            candidates.boxes_N4, candidates.scores_N, candidates.coefficients_NK, strict=True
        )
        if (outline := _outline(box, float(score), np.tensordot(coefficients, prototypes_Khw, axes=1), photo))
        is not None
    ]


def _thinned(rows: NDArray[np.float32], facts: ExportFacts, min_score: float) -> Candidates:
    classes = rows[:, 4 : 4 + facts.class_count]
    scores = classes[:, facts.person]
    rows = rows[(scores > min_score) & (classes.argmax(axis=1) == facts.person)]
    scores = rows[:, 4 + facts.person]
    corners = rows[:, :2] - rows[:, 2:4] / 2
    boxes_xywh = np.concatenate([corners, rows[:, 2:4]], axis=1)
    kept = np.asarray(cv2.dnn.NMSBoxes(boxes_xywh.tolist(), scores.tolist(), min_score, MAX_OVERLAP), np.int64).reshape(
        -1
    )
    boxes = np.concatenate([corners, corners + rows[:, 2:4]], axis=1)
    return Candidates(boxes[kept], scores[kept], rows[kept, 4 + facts.class_count :])


def _outline(
    box: NDArray[np.float32], score: float, logits_hw: NDArray[np.float32], photo: Letterbox
) -> Outline | None:
    """Interpolate a mask from prototype pixels to photo pixels within the box; None when the box lies outside the photo.

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
