"""Colours of 16 bits: bring them to sRGB before they are rounded to 8, so that shadows keep their steps.

LittleCMS takes 8 bits of each colour through Pillow. A file of 16 bits in linear light has 20 of their levels where
sRGB has 80. Profiles of curves and a matrix, which nearly all of RGB and grey are, are therefore computed here.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blissmask.masks.weights import MAX_VALUE_16
from blissmask.media import colour

_MOST_TAGS = 100
"""Tags of a profile that are read; those of ICC.1 are fewer. A damaged profile may claim four thousand million."""
_TABLES = (b"A2B0", b"A2B1", b"A2B2", b"D2B0", b"D2B1")
"""Tags of profiles that are more than curves and a matrix (source: ICC.1, 8.3 and 8.4)."""
_CURVES = {colour.RGB: (b"rTRC", b"gTRC", b"bTRC"), colour.GREY: (b"kTRC",)}
_COLORANTS = (b"rXYZ", b"gXYZ", b"bXYZ")
_PARAMETERS = (1, 3, 4, 5, 7)
"""Numbers of a parametric curve by its type (source: ICC.1, parametricCurveType)."""


@dataclass(frozen=True, slots=True)
class DeepConversion:
    """From values of 16 bits to sRGB of 8.

    Attributes:
        light: for each curve, float32 light in [0, 1] of every value; one for grey, else three.
        matrix_33: from the light of the profile's colours to that of sRGB's.
    """

    light: tuple[NDArray[np.float32], ...]
    matrix_33: NDArray[np.float32]

    def to_srgb(self, values: NDArray[np.uint16]) -> NDArray[np.uint8]:
        """Return sRGB colours, (H, W, 3), of values of (H, W) or (H, W, 3)."""
        values_HW3 = np.broadcast_to(values[..., np.newaxis], (*values.shape, 3)) if values.ndim == 2 else values
        curves = self.light if len(self.light) == 3 else self.light * 3
        light_HW3 = np.stack([curve[values_HW3[..., place]] for place, curve in enumerate(curves)], axis=-1)
        shown_HW3 = (light_HW3 @ self.matrix_33.T).clip(0, 1)
        return np.asarray(_encoded()[np.rint(shown_HW3 * MAX_VALUE_16).astype(np.uint16)], dtype=np.uint8)


@functools.lru_cache(maxsize=4)
def deep_conversion(profile: bytes) -> DeepConversion | None:
    """Return the conversion of a profile for RGB or grey; None where it is no matter of curves and a matrix."""
    try:
        tags = _tags_of(profile)
        names = _CURVES.get(colour.space_of(profile), ())
        if not names or any(name in tags for name in _TABLES):
            return None
        light = tuple(_light_of(tags[name]) for name in names)
        matrix_33 = _to_srgb_light(tags) if len(names) == 3 else np.eye(3, dtype=np.float32)
    except (struct.error, LookupError, ValueError, ArithmeticError):
        # A damaged profile; what LittleCMS makes of it counts.
        return None
    is_finite = np.isfinite(matrix_33).all() and all(np.isfinite(curve).all() for curve in light)
    return DeepConversion(light, matrix_33) if is_finite else None


@functools.lru_cache(maxsize=1)
def _encoded() -> NDArray[np.uint8]:
    """Return the 8-bit value of sRGB for light in 65536 steps, some 20 of which are one value in the shadows."""
    steps = np.linspace(0, 1, MAX_VALUE_16 + 1)
    light = _light_of(_tags_of(colour.srgb_profile())[b"rTRC"])
    return np.rint(np.interp(steps, light, steps * 255)).astype(np.uint8)


def _tags_of(profile: bytes) -> Mapping[bytes, bytes]:
    """Return the contents of a profile by their tags."""
    count = min(struct.unpack_from(">I", profile, 128)[0], _MOST_TAGS)
    entries = [struct.unpack_from(">4sII", profile, 132 + 12 * number) for number in range(count)]
    return {tag: profile[start : start + length] for tag, start, length in entries}


def _to_srgb_light(tags: Mapping[bytes, bytes]) -> NDArray[np.float32]:
    """Return the matrix from the light of a profile's red, green and blue to that of sRGB's."""
    srgb_33 = _colorants_of(_tags_of(colour.srgb_profile()))
    return np.linalg.solve(srgb_33, _colorants_of(tags)).astype(np.float32)


def _colorants_of(tags: Mapping[bytes, bytes]) -> NDArray[np.float64]:
    """Return the XYZ of red, green and blue as columns."""
    return np.array([_numbers(tags[tag], 8, 3) for tag in _COLORANTS]).T


def _light_of(content: bytes) -> NDArray[np.float32]:
    """Return the light of every 16-bit value by a curve (source: ICC.1, curveType and parametricCurveType)."""
    values = np.linspace(0, 1, MAX_VALUE_16 + 1)
    if content[:4] == b"para":
        kind = struct.unpack_from(">H", content, 8)[0]
        light = _parametric(values, kind, _numbers(content, 12, _PARAMETERS[kind]))
    elif content[:4] == b"curv":
        count = struct.unpack_from(">I", content, 8)[0]
        entries = np.frombuffer(content, ">u2", count=count, offset=12)
        light = _sampled(values, entries.astype(np.float64))
    else:
        raise ValueError("no curve")
    return light.clip(0, 1).astype(np.float32)


def _sampled(values: NDArray[np.float64], entries: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a curve of samples; of one, which is a gamma in 256ths; of none, which is no curve."""
    if len(entries) == 0:
        return values
    if len(entries) == 1:
        return np.asarray(values ** (entries[0] / 256))
    return np.interp(values, np.linspace(0, 1, len(entries)), entries / MAX_VALUE_16)


def _parametric(values: NDArray[np.float64], kind: int, parameters: tuple[float, ...]) -> NDArray[np.float64]:
    """Return (a x + b)^g + e from d on and c x + f below, with as many parameters as the kind has."""
    gamma, a, b, c, d, e, f = _seven(kind, parameters)
    with np.errstate(all="ignore"):
        power = np.maximum(a * values + b, 0) ** gamma + e
    return np.where(values >= d, power, c * values + f)


def _seven(kind: int, parameters: tuple[float, ...]) -> tuple[float, ...]:
    """Return g, a, b, c, d, e and f of a parametric curve of any kind."""
    if kind == 0:
        return (parameters[0], 1, 0, 0, 0, 0, 0)
    if kind in (1, 2):
        gamma, a, b = parameters[:3]
        floor = parameters[3] if kind == 2 else 0.0
        return (gamma, a, b, 0, -b / a, floor, floor)
    return (*parameters, 0, 0)[:7]


def _numbers(content: bytes, start: int, count: int) -> tuple[float, ...]:
    """Return numbers in s15Fixed16."""
    return tuple(value / 65536 for value in struct.unpack_from(f">{count}i", content, start))
