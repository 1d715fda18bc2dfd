"""Prepare photos as a network was trained to see them: size, colour order, mean and deviation.

H, W: rows and columns of the photo; h, w: of the prepared picture; 3 = colour channels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blissmask.errors import ModelError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_FILES = ("preprocessor_config.json", "processor_config.json")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a photo is prepared.

    Attributes:
        size_wh: the size it is stretched to; None keeps its shape and uses ``shortest`` and ``longest``.
        shortest: what its shorter side becomes; None keeps the size.
        longest: what its longer side may be at most; wins over ``shortest``.
        divisor: both sides become multiples of this.
        pad_wh: the size it is filled up to on the right and below, None for no padding.
        scale: pixel values 0..255 are multiplied by this first.
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
        content: share of height and width that shows the photo, the rest is padding; (1, 1) without padding.
        size_wh: size of the photo.
    """

    pixels_3hw: NDArray[np.float32]
    content: tuple[float, float]
    size_wh: tuple[int, int]


def prepare(rgb_HW3: NDArray[np.uint8], recipe: Recipe) -> Prepared:
    """Prepare an RGB photo by ``recipe``."""
    height, width = rgb_HW3.shape[:2]
    resized = _resize(rgb_HW3, prepared_size_wh((width, height), recipe), recipe.resample)
    if recipe.bgr:
        resized = resized[..., ::-1]
    mean, std = np.array(recipe.mean, np.float32), np.array(recipe.std, np.float32)
    values = (resized.astype(np.float32) * np.float32(recipe.scale) - mean) / std
    pixels = np.ascontiguousarray(values.transpose(2, 0, 1), dtype=np.float32)
    if recipe.pad_wh is None:
        return Prepared(pixels, (1.0, 1.0), (width, height))
    rows, columns = pixels.shape[1:]
    right, below = recipe.pad_wh[0] - columns, recipe.pad_wh[1] - rows
    padded = np.pad(pixels, ((0, 0), (0, below), (0, right)))
    return Prepared(padded, (rows / (rows + below), columns / (columns + right)), (width, height))


def prepared_size_wh(size_wh: tuple[int, int], recipe: Recipe) -> tuple[int, int]:
    """Return the size a photo of ``size_wh`` is resized to, before padding; every side is at least one ``divisor``."""
    if recipe.size_wh is not None:
        return recipe.size_wh
    ratio = 1.0 if recipe.shortest is None else recipe.shortest / min(size_wh)
    if recipe.longest is not None:
        ratio = min(ratio, recipe.longest / max(size_wh))
    width, height = (max(1, -(-round(side * ratio) // recipe.divisor)) * recipe.divisor for side in size_wh)
    return width, height


def read_recipe(folder: Path, *, default: Recipe | None = None) -> Recipe:
    """Read the image processor's settings of a transformers folder.

    Cropping to the centre is not followed: a mask must cover the whole photo, and networks that classify pixels take
    any size.

    Args:
        folder: with ``preprocessor_config.json`` or ``processor_config.json``.
        default: what holds when the folder has neither, and for what the file leaves open.

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
        settings = json.loads(path.read_text(encoding="utf-8"))
        settings = settings.get("image_processor", settings)
        return _recipe_of(settings, default or Recipe())
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise ModelError(f"the image processor's settings cannot be understood: {error}", where=[path]) from error


def _recipe_of(settings: Mapping[str, Any], default: Recipe) -> Recipe:
    recipe = replace(
        default,
        scale=float(settings.get("rescale_factor", 1 / 255)) if settings.get("do_rescale", True) else 1.0,
        resample=int(settings["resample"]) if settings.get("resample") is not None else default.resample,
        bgr=bool(settings.get("do_flip_channel_order", default.bgr)),
        divisor=int(settings.get("size_divisor") or settings.get("size_divisibility") or default.divisor),
    )
    if not settings.get("do_normalize", True):
        recipe = replace(recipe, mean=(0.0,) * 3, std=(1.0,) * 3)
    elif settings.get("image_mean") is not None:
        recipe = replace(recipe, mean=_three(settings["image_mean"]), std=_three(settings["image_std"]))
    if not settings.get("do_resize", True):
        return replace(recipe, size_wh=None, shortest=None, longest=None)
    return recipe if settings.get("size") is None else _with_size(recipe, settings["size"])


def _with_size(recipe: Recipe, size: Any) -> Recipe:
    if isinstance(size, int):
        return replace(recipe, size_wh=(size, size))
    if "height" in size:
        return replace(recipe, size_wh=(int(size["width"]), int(size["height"])))
    if "shortest_edge" in size or "longest_edge" in size:
        shortest, longest = size.get("shortest_edge"), size.get("longest_edge")
        return replace(
            recipe, size_wh=None, shortest=int(shortest or longest), longest=int(longest) if longest else None
        )
    raise ValueError(f"`size` is {size}")


def _three(values: Any) -> tuple[float, ...]:
    return (float(values),) * 3 if isinstance(values, int | float) else tuple(float(value) for value in values)


def _resize(rgb_HW3: NDArray[np.uint8], size_wh: tuple[int, int], resample: int | None) -> NDArray[np.uint8]:
    if resample is None:
        return np.asarray(cv2.resize(rgb_HW3, size_wh, interpolation=cv2.INTER_LINEAR), np.uint8)
    # transformers' own processors use Pillow's filters; the networks were tested with them.
    return np.asarray(Image.fromarray(rgb_HW3).resize(size_wh, Image.Resampling(resample)), np.uint8)
