"""Colour profiles: bring the colours of a picture to sRGB, the space in which every model saw its pictures.

A picture says in one of four ways what its values mean: an ICC profile, PNG's own chunks (cICP, gAMA and cHRM), the
numbers of cICP in HEIC and AVIF, or the EXIF mark of cameras that were set to Adobe RGB. Whatever it is becomes an ICC
profile here, so that there is one conversion, and so that ``to-alpha`` can hand it on. 3 = RGB.
"""

from __future__ import annotations

import functools
import io
import struct
from collections.abc import Mapping
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms

from blissmask.media.boxes import coded_colours
from blissmask.media.png import walk_chunks

RGB, GREY, CMYK = b"RGB ", b"GRAY", b"CMYK"
"""Colour spaces of pictures, as bytes 16 to 19 of a profile name them (source: ICC.1, profile header)."""

_PIL_MODES = {RGB: "RGB", GREY: "L", CMYK: "CMYK"}
_HARMLESS = 2
"""Levels of 255 by which a profile may move colours and still counts as sRGB.

The many profiles that call themselves sRGB differ by so much in their rounded curves. Such pictures stay as they are
to the bit, as pictures without a profile do. Of the lattice below, Display P3 moves a colour by 112 levels, Adobe RGB
by 143 and a gamma of 2.2 by 9.
"""
_NAME_LENGTH = 60
"""Characters that are kept of a profile's name."""

_D65, _SRGB = (0.3127, 0.3290), ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
_D50_XYZ = (0.9642, 1.0, 0.8249)
"""White point and primaries of sRGB, x and y (source: ITU-R BT.709); white of every profile (source: ICC.1)."""
_ADOBE_RGB = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
_ADOBE_GAMMA = 563 / 256
"""Primaries and gamma of Adobe RGB (1998) (source: its specification, sections 4.3.1.1 and 4.3.4.2)."""
_CICP_PRIMARIES: Mapping[int, tuple[str, tuple[tuple[float, float], ...]]] = {
    1: ("BT.709", _SRGB),
    9: ("BT.2020", ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046))),
    12: ("Display P3", ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))),
}
_CICP_CURVES: Mapping[int, float] = {1: 2.4, 4: 2.2, 8: 1.0, 13: 0.0}
"""Numbers of coded colours (source: ITU-T H.273, tables 2 and 3): primaries, and gammas; 0 is the curve of sRGB.

1 is BT.709, whose displays have a gamma of 2.4 (source: ITU-R BT.1886).
"""
_GAMMA_TOLERANCE = 0.05
"""Share by which a PNG's gAMA may differ from 1 / 2.2 and still mean sRGB (source: libpng, PNG_GAMMA_THRESHOLD)."""
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
"""The curve of sRGB as a parametric curve of type 3 (source: IEC 61966-2-1; ICC.1, parametricCurveType)."""
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
"""From XYZ to the responses in which white is adapted (source: ICC.1, annex E)."""


def profile_of(image: Image.Image, file: BinaryIO) -> bytes:
    """Return the ICC profile of the values of a picture; empty when nothing says that they are not sRGB.

    Args:
        image: the opened picture; its pixels need not be decoded.
        file: the open file.
    """
    if image.format == "PNG":
        return _of_png(image, file)
    if icc_profile := image.info.get("icc_profile"):
        return bytes(icc_profile)
    if isinstance(coded := image.info.get("nclx_profile"), Mapping):
        # So does pillow-heif call the colours of a HEIC photo without an ICC profile.
        return _of_cicp(coded.get("color_primaries", 0), coded.get("transfer_characteristics", 0))
    if image.format == "AVIF" and (numbers := coded_colours(file)) is not None:
        return _of_cicp(*numbers)
    return _adobe_rgb() if _is_marked_adobe(image) else b""


def space_of(profile: bytes) -> bytes:
    """Return for which values a profile is made, e.g. :data:`RGB`; the profile may be empty."""
    return profile[16:20]


def profile_name(image: Image.Image, profile: bytes) -> str:
    """Return the name of a profile that is converted to sRGB; empty when nothing is converted.

    The values of a profile for other colours than the picture's are taken as they are, and so are those of a damaged
    profile, as viewers do.
    """
    if _fitting(image, profile) is None:
        return ""
    return _name_in(profile)


def is_converted(image: Image.Image, profile: bytes) -> bool:
    """Return whether the colours of a picture are converted to sRGB; else they are taken as they are."""
    return _fitting(image, profile) is not None


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Return the colours of a picture as sRGB in mode RGB; alpha is left out.

    Args:
        image: the decoded picture, or a strip of it, in the mode of its file.
        profile: what :func:`profile_of` returned for it.
    """
    conversion = _fitting(image, profile)
    if conversion is None:
        return image.convert("RGB")
    converted = ImageCms.applyTransform(image.convert(_PIL_MODES[space_of(profile)]), conversion)
    assert converted is not None
    return converted


def _fitting(image: Image.Image, profile: bytes) -> ImageCms.ImageCmsTransform | None:
    """Return the conversion of a picture to sRGB; None where the profile is not for its values or changes nothing."""
    space = space_of(profile)
    # Modes that begin with I are grey of 16 bits, of which strips have 8.
    if space == GREY and image.mode not in ("1", "L", "LA") and not image.mode.startswith("I"):
        return None
    if (space == CMYK) != (image.mode == "CMYK"):
        return None
    return _conversion(profile) if space in _PIL_MODES else None


@functools.lru_cache(maxsize=32)
def _name_in(profile: bytes) -> str:
    name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    printable = "".join(letter if letter.isprintable() else " " for letter in name)
    return " ".join(printable.split())[:_NAME_LENGTH] or "a colour profile without a name"


@functools.lru_cache(maxsize=32)
def _conversion(profile: bytes) -> ImageCms.ImageCmsTransform | None:
    """Return the conversion to sRGB; None when it would change nothing, or the profile cannot be used."""
    space = space_of(profile)
    try:
        conversion = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            _PIL_MODES[space],
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            # The darkest printable colour becomes black, as in image editors.
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    return conversion if space == CMYK or _changes_colours(conversion, space) else None


def _changes_colours(conversion: ImageCms.ImageCmsTransform, space: bytes) -> bool:
    """Return whether a conversion moves some colour of a lattice by more than :data:`_HARMLESS` levels."""
    steps = np.linspace(0, 255, 17).round().astype(np.uint8)
    if space == GREY:
        before_13 = np.repeat(np.arange(256, dtype=np.uint8)[:, np.newaxis, np.newaxis], 3, axis=2)
        lattice = Image.fromarray(np.ascontiguousarray(before_13[..., 0]))
    else:
        before_13 = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 1, 3)
        lattice = Image.fromarray(before_13)
    converted = ImageCms.applyTransform(lattice, conversion)
    assert converted is not None
    return bool(np.abs(np.asarray(converted, dtype=np.int16) - before_13).max() > _HARMLESS)


def _of_png(image: Image.Image, file: BinaryIO) -> bytes:
    """Return what a PNG's chunks say; where several do, the first of cICP, iCCP, sRGB and gAMA counts (PNG 3, 12.9)."""
    coded = next((chunk for chunk in walk_chunks(file) if chunk.kind in (b"cICP", b"IDAT")), None)
    if coded is not None and coded.kind == b"cICP" and coded.length == 4:
        file.seek(coded.start)
        primaries, curve = file.read(2)
        return _of_cicp(primaries, curve)
    if icc_profile := image.info.get("icc_profile"):
        return bytes(icc_profile)
    if "srgb" in image.info or "gamma" not in image.info:
        return b""
    return _of_gamma(image.info["gamma"], image.info.get("chromaticity"))


def _of_cicp(primaries: int, curve: int) -> bytes:
    """Return the profile of coded colours; empty for sRGB and for curves that are not for displays, such as PQ."""
    if primaries not in _CICP_PRIMARIES or curve not in _CICP_CURVES:
        return b""
    name, xy_32 = _CICP_PRIMARIES[primaries]
    return matrix_profile(name, primaries_xy=xy_32, white_xy=_D65, gamma=_CICP_CURVES[curve])


def _of_gamma(exponent: float, chromaticity: tuple[float, ...] | None) -> bytes:
    """Return the profile of a PNG's gAMA and cHRM chunks; ``exponent`` is that of the encoding, 0.45455 for sRGB."""
    white_xy, primaries_xy = _D65, _SRGB
    if chromaticity is not None and len(chromaticity) == 8:
        pairs = [(chromaticity[number], chromaticity[number + 1]) for number in range(0, 8, 2)]
        white_xy, primaries_xy = pairs[0], (pairs[1], pairs[2], pairs[3])
    if not 0.01 <= exponent <= 10 or min(y for _, y in (white_xy, *primaries_xy)) <= 0:
        return b""
    is_srgb = abs(exponent * 2.2 - 1) <= _GAMMA_TOLERANCE
    return matrix_profile(
        f"gamma {1 / exponent:.2f}",
        primaries_xy=primaries_xy,
        white_xy=white_xy,
        gamma=0.0 if is_srgb else 1 / exponent,
    )


def _is_marked_adobe(image: Image.Image) -> bool:
    """Return whether a camera says in EXIF, as it does without an ICC profile, that the values are Adobe RGB.

    Source: Exif 2.3 with DCF 2.0: a colour space of 65535, and the interoperability index R03.
    """
    try:
        exif = Image.Image.getexif(image)
        colour_space = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.ColorSpace)
        return colour_space == 0xFFFF and exif.get_ifd(ExifTags.IFD.Interop).get(1) == "R03"
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, struct.error):
        # Unreadable EXIF counts as none, as for the orientation.
        return False


@functools.lru_cache(maxsize=1)
def srgb_profile() -> bytes:
    """Return a profile of sRGB itself."""
    return matrix_profile("sRGB", primaries_xy=_SRGB, white_xy=_D65, gamma=0.0)


@functools.lru_cache(maxsize=1)
def _adobe_rgb() -> bytes:
    return matrix_profile("Adobe RGB (1998)", primaries_xy=_ADOBE_RGB, white_xy=_D65, gamma=_ADOBE_GAMMA)


def matrix_profile(
    name: str,
    *,
    primaries_xy: tuple[tuple[float, float], ...],
    white_xy: tuple[float, float],
    gamma: float,
) -> bytes:
    """Return an ICC profile for RGB values with the given primaries.

    Args:
        name: its description.
        primaries_xy: x and y of red, green and blue.
        white_xy: x and y of white.
        gamma: exponent from values to light; 0 for the curve of sRGB.

    Source: ICC.1:2010, a three-component matrix-based profile.
    """
    try:
        colorants_33 = _adapted_colorants(primaries_xy, white_xy)
    except np.linalg.LinAlgError:
        # Primaries on one line give no colours, so the values are taken as they are.
        return b""
    parameters = _SRGB_CURVE if gamma == 0 else (gamma,)
    curve = b"para" + bytes(4) + struct.pack(">HH", 3 if gamma == 0 else 0, 0) + b"".join(map(_fixed, parameters))
    tags = [(b"desc", _text(name)), (b"cprt", _text("none")), (b"wtpt", _xyz(_D50_XYZ))]
    tags += [(tag, _xyz(column)) for tag, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), colorants_33.T, strict=True)]
    tags += [(tag, curve) for tag in (b"rTRC", b"gTRC", b"bTRC")]
    table, contents = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for tag, content in tags:
        table += tag + struct.pack(">II", start + len(contents), len(content))
        contents += content + bytes(-len(content) % 4)
    header = struct.pack(">I4xI4s4s4s", start + len(contents), 0x04200000, b"mntr", RGB, b"XYZ ")
    header += struct.pack(">6H4s", 2000, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + b"".join(map(_fixed, _D50_XYZ))
    return header + bytes(128 - len(header)) + table + contents


def _adapted_colorants(
    primaries_xy: tuple[tuple[float, float], ...], white_xy: tuple[float, float]
) -> NDArray[np.float64]:
    """Return the XYZ of red, green and blue as columns, adapted to the white of profiles."""
    columns_33 = np.array([_xyz_of(xy) for xy in primaries_xy]).T
    white_3 = np.array(_xyz_of(white_xy))
    colorants_33 = columns_33 * np.linalg.solve(columns_33, white_3)
    gains_3 = (_BRADFORD @ np.array(_D50_XYZ)) / (_BRADFORD @ white_3)
    return np.asarray(np.linalg.inv(_BRADFORD) @ (gains_3[:, np.newaxis] * (_BRADFORD @ colorants_33)))


def _xyz_of(xy: tuple[float, float]) -> tuple[float, float, float]:
    x, y = xy
    return x / y, 1.0, (1 - x - y) / y


def _text(text: str) -> bytes:
    """Return a multiLocalizedUnicodeType with one text."""
    encoded = text.encode("utf-16-be")
    return b"mluc" + bytes(4) + struct.pack(">II4sII", 1, 12, b"enUS", len(encoded), 28) + encoded


def _xyz(values_3: object) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(_fixed(float(value)) for value in np.asarray(values_3))


def _fixed(value: float) -> bytes:
    """Return a number as s15Fixed16."""
    return struct.pack(">i", round(value * 65536))
