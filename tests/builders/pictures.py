"""Small pictures, masks, videos and folders for all tests. H, W: rows and columns; sizes are (width, height)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blissmask.media.colour import matrix_profile

Grey = NDArray[np.uint8]
Rgb = NDArray[np.uint8]

PHOTO_SIZE_WH = (48, 32)
ORIENTATION_TAG = 274


def huge_png(width: int, height: int) -> bytes:
    """Return a PNG of a hundred bytes whose header claims a size; its one strip of pixels holds next to nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = b""
    for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")):
        chunks += struct.pack(">I4s", len(data), kind) + data + struct.pack(">I", zlib.crc32(kind + data))
    return b"\x89PNG\r\n\x1a\n" + chunks


def random_rgb(size_wh: tuple[int, int] = PHOTO_SIZE_WH, *, seed: int = 0) -> Rgb:
    """Return noise: every pixel another colour, so that any change of a value shows."""
    return np.random.default_rng(seed).integers(0, 256, (size_wh[1], size_wh[0], 3), dtype=np.uint8)


def corner_rgb(size_wh: tuple[int, int] = PHOTO_SIZE_WH) -> Rgb:
    """Return four corners of four colours, so that any turn or mirroring shows."""
    width, height = size_wh
    rgb = np.zeros((height, width, 3), dtype=np.uint8)
    rgb[: height // 2, : width // 2] = (250, 10, 10)
    rgb[: height // 2, width // 2 :] = (10, 250, 10)
    rgb[height // 2 :, : width // 2] = (10, 10, 250)
    rgb[height // 2 :, width // 2 :] = (240, 240, 240)
    return rgb


def tier_mask(size_wh: tuple[int, int] = PHOTO_SIZE_WH) -> Grey:
    """Return a lopsided mask with all four default tiers: hair above face above body in the left half, background on the right."""
    width, height = size_wh
    grey = np.zeros((height, width), dtype=np.uint8)
    left = max(1, width // 2)
    grey[: max(1, height // 4), :left] = 80
    grey[height // 4 : height // 2, :left] = 255
    grey[height // 2 :, :left] = 128
    return grey


def half_mask(size_wh: tuple[int, int] = PHOTO_SIZE_WH, *, share: float = 0.5) -> Grey:
    """Return a 0/255 subject mask: the left ``share`` of the picture."""
    grey = np.zeros((size_wh[1], size_wh[0]), dtype=np.uint8)
    grey[:, : round(size_wh[0] * share)] = 255
    return grey


def save(
    path: Path, pixels: NDArray[np.uint8] | NDArray[np.uint16], *, orientation: int | None = None, **options: object
) -> Path:
    """Write pixels with Pillow by the suffix of ``path``; ``orientation`` goes into EXIF, the pixels stay as given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if orientation is not None:
        exif = Image.Exif()
        exif[ORIENTATION_TAG] = orientation
        options["exif"] = exif
    if path.suffix.lower() in (".jpg", ".jpeg"):
        options.setdefault("quality", 95)
    Image.fromarray(pixels).save(path, **options)
    return path


def turned(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Return the pixels a camera stores so that EXIF ``orientation`` turns them back into ``pixels``."""
    undo = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: np.swapaxes(a, 0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(np.swapaxes(a, 0, 1), 2),
        8: lambda a: np.rot90(a, -1),
    }
    return np.ascontiguousarray(undo[orientation](pixels))


def photo_folder(folder: Path, names: Iterable[str], *, size_wh: tuple[int, int] = PHOTO_SIZE_WH) -> Path:
    """Write one noise photo per name; each has its own seed."""
    for seed, name in enumerate(names):
        save(folder / name, random_rgb(size_wh, seed=seed))
    return folder


def mask_folder(folder: Path, names: Iterable[str], *, size_wh: tuple[int, int] = PHOTO_SIZE_WH) -> Path:
    """Write one tier mask per name."""
    for name in names:
        save(folder / name, tier_mask(size_wh))
    return folder


def write_video(path: Path, frames_HW3: Iterable[Rgb], *, fps: float = 16.0) -> Path:
    """Write RGB frames as an MP4 (lossy) or, with the suffix ``.avi``, as lossless FFV1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = list(frames_HW3)
    height, width = frames[0].shape[:2]
    code = cv2.VideoWriter.fourcc(*("FFV1" if path.suffix == ".avi" else "mp4v"))
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, fps, (width, height))
    assert writer.isOpened()
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def tree(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below ``folder`` by its relative path; lock files are left out."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".blissmask.lock")
    }


def wide_profile() -> bytes:
    """Return an ICC profile that moves colours: Display P3."""
    primaries_xy = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
    return matrix_profile("Display P3", primaries_xy=primaries_xy, white_xy=(0.3127, 0.3290), gamma=0.0)
