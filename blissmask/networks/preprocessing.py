"""Prepare photos as a network was trained to see them: size, colour order, mean and deviation.

transformers has image processors of its own, but they need torchvision, whose builds must match torch's exactly; so
blissmask does not depend on it. H, W: rows and columns of the photo; h, w: of the prepared picture; 3 = colour
channels.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blissmask.errors import ModelError
from blissmask.storage.ordinary import read_text

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of the red, green and blue values 0..1 of ImageNet's pictures; the defaults of torchvision and transformers."""

_FILES = ("preprocessor_config.json", "processor_config.json")


_LONGEST_SIDE = 65_535
"""The longest side of a JPEG. Networks take some thousands of pixels; a longer side is a mistake in the file."""


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How a photo is prepared for a network.

    Attributes:
        size_wh: the size it is stretched to; None keeps its shape and uses ``shortest`` and ``longest``.
        shortest: length of its shorter side; None keeps the size.
        longest: largest length of its longer side; wins over ``shortest``.
        divisor: both sides become multiples of this.
        pad_wh: the size that it is padded to on the right and below, None for no padding.
        scale: factor of the pixel values 0..255, applied first.
        mean, std: per channel, of the scaled values.
        resample: Pillow's number of the filter; None for OpenCV's bilinear, which does not smooth when it shrinks.
        bgr: whether blue comes first.
    """

    size_wh: tuple[int, int] | None = None
    shortest: int | None = None
    longest: int | None = None
    divisor: int = 1
    pad_wh: tuple[int, int] | None = None
    scale: float = 1 / 255
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    resample: int | None = Image.Resampling.BILINEAR
    bgr: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """A photo as the network sees it.

    Attributes:
        pixels_3hw: float32.
        content: share of the height and of the width that shows the photo; the rest is padding.
        size_wh: size of the photo.
    """

    pixels_3hw: NDArray[np.float32]
    content: tuple[float, float]
    size_wh: tuple[int, int]


def prepare(rgb_HW3: NDArray[np.uint8], preprocessing: Preprocessing) -> Prepared:
    """Prepare an RGB photo as ``preprocessing`` describes."""
    height, width = rgb_HW3.shape[:2]
    resized = _resize(rgb_HW3, prepared_size_wh((width, height), preprocessing), preprocessing.resample)
    if preprocessing.bgr:
        resized = resized[..., ::-1]
    mean, std = np.array(preprocessing.mean, np.float32), np.array(preprocessing.std, np.float32)
    values = (resized.astype(np.float32) * np.float32(preprocessing.scale) - mean) / std
    pixels = np.ascontiguousarray(values.transpose(2, 0, 1), dtype=np.float32)
    if preprocessing.pad_wh is None:
        return Prepared(pixels, content=(1.0, 1.0), size_wh=(width, height))
    rows, columns = pixels.shape[1:]
    right, below = preprocessing.pad_wh[0] - columns, preprocessing.pad_wh[1] - rows
    padded = np.pad(pixels, ((0, 0), (0, below), (0, right)))
    content = (rows / (rows + below), columns / (columns + right))
    return Prepared(padded, content=content, size_wh=(width, height))


def prepared_size_wh(size_wh: tuple[int, int], preprocessing: Preprocessing) -> tuple[int, int]:
    """Return the size to which a photo of ``size_wh`` is resized, before padding.

    Both sides are rounded up to multiples of the divisor.
    """
    if preprocessing.size_wh is not None:
        return preprocessing.size_wh
    ratio = 1.0 if preprocessing.shortest is None else preprocessing.shortest / min(size_wh)
    if preprocessing.longest is not None:
        ratio = min(ratio, preprocessing.longest / max(size_wh))
    width, height = (_multiple(round(side * ratio), preprocessing.divisor) for side in size_wh)
    return width, height


def _multiple(length: int, divisor: int) -> int:
    """Return the smallest multiple of ``divisor`` that is not below ``length``, at least one ``divisor``."""
    return max(1, math.ceil(length / divisor)) * divisor


def read_preprocessing(folder: Path, *, default: Preprocessing | None = None) -> Preprocessing:
    """Read the image processor's settings of a transformers folder.

    Cropping to the centre is not followed: a mask must cover the whole photo, and networks that classify pixels take
    any size.

    Args:
        folder: has ``preprocessor_config.json`` or ``processor_config.json``.
        default: for a folder that has neither, and for settings that the file leaves out.

    Raises:
        ModelError: the file is damaged, or missing without a ``default``.
    """
    path = next((folder / name for name in _FILES if (folder / name).is_file()), None)
    if path is None:
        if default is None:
            raise ModelError(
                f"the model folder holds no `{_FILES[0]}`",
                where=[folder],
                fix="copy it from where the model is published",
            )
        return default
    try:
        settings = json.loads(read_text(path))
        settings = settings.get("image_processor", settings)
        preprocessing = _preprocessing_of(settings, default or Preprocessing())
        _refuse_impossible(preprocessing)
    except (OSError, ValueError, TypeError, AttributeError, LookupError, OverflowError, RecursionError) as error:
        raise ModelError(f"the image processor's settings cannot be understood: {error}", where=[path]) from error
    return preprocessing


def _refuse_impossible(preprocessing: Preprocessing) -> None:
    """Raise ValueError for settings that no picture can be prepared with."""
    sides = [*(preprocessing.size_wh or ()), preprocessing.shortest, preprocessing.longest, preprocessing.divisor]
    if any(side is not None and not 0 < side <= _LONGEST_SIDE for side in sides):
        raise ValueError(f"a size is not between 1 and {_LONGEST_SIDE}")
    if len(preprocessing.mean) != 3 or len(preprocessing.std) != 3 or not all(preprocessing.std):
        raise ValueError("mean and deviation must be three numbers, the deviations other than 0")
    if preprocessing.resample is not None:
        Image.Resampling(preprocessing.resample)


def _preprocessing_of(settings: Mapping[str, Any], default: Preprocessing) -> Preprocessing:
    rescaled = settings.get("do_rescale", True)
    resample = settings.get("resample")
    preprocessing = replace(
        default,
        scale=float(settings.get("rescale_factor", 1 / 255)) if rescaled else 1.0,
        resample=default.resample if resample is None else int(resample),
        bgr=bool(settings.get("do_flip_channel_order", default.bgr)),
        # The name differs between versions of transformers.
        divisor=int(settings.get("size_divisor") or settings.get("size_divisibility") or default.divisor),
    )
    if not settings.get("do_normalize", True):
        preprocessing = replace(preprocessing, mean=(0.0,) * 3, std=(1.0,) * 3)
    elif settings.get("image_mean") is not None:
        preprocessing = replace(preprocessing, mean=_three(settings["image_mean"]), std=_three(settings["image_std"]))
    if not settings.get("do_resize", True):
        return replace(preprocessing, size_wh=None, shortest=None, longest=None)
    if settings.get("size") is None:
        return preprocessing
    return _with_size(preprocessing, settings["size"])


def _with_size(preprocessing: Preprocessing, size: Any) -> Preprocessing:
    if isinstance(size, int):
        return replace(preprocessing, size_wh=(size, size))
    if "height" in size:
        return replace(preprocessing, size_wh=(int(size["width"]), int(size["height"])))
    if "shortest_edge" in size or "longest_edge" in size:
        shortest, longest = size.get("shortest_edge"), size.get("longest_edge")
        return replace(
            preprocessing,
            size_wh=None,
            shortest=int(shortest or longest),
            longest=int(longest) if longest else None,
        )
    raise ValueError(f"`size` is {size}")


def _three(values: Any) -> tuple[float, ...]:
    """Return a value per channel; some settings give one number for all three."""
    if isinstance(values, int | float):
        return (float(values),) * 3
    return tuple(float(value) for value in values)


def _resize(rgb_HW3: NDArray[np.uint8], size_wh: tuple[int, int], resample: int | None) -> NDArray[np.uint8]:
    if resample is None:
        return np.asarray(cv2.resize(rgb_HW3, size_wh, interpolation=cv2.INTER_LINEAR), np.uint8)
    # transformers' own processors use Pillow's filters; the networks were tested with them.
    return np.asarray(Image.fromarray(rgb_HW3).resize(size_wh, Image.Resampling(resample)), np.uint8)
