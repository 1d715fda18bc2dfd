"""A damaged picture is an error with a file name, whatever is damaged; never a crash, never another exception."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from blissmask.errors import MediaError
from blissmask.media.image import read_header, read_image
from blissmask.media.mask_picture import read_mask_picture
from blissmask.media.png import read_note, write_png_grey
from tests.builders.pictures import random_rgb, tier_mask


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[274] = 6
    image = Image.fromarray(np.dstack([random_rgb((24, 16)), tier_mask((24, 16))]))
    if kind == "JPEG":
        image = image.convert("RGB")
    if kind == "palette":
        image.convert("RGB").quantize(16).save(buffer, "PNG", transparency=3)
    elif kind == "BMP":
        image.save(buffer, kind)
    else:
        image.save(buffer, kind, exif=exif)
    return buffer.getvalue()


KINDS = {kind: encoded(kind) for kind in ("PNG", "palette", "JPEG", "WEBP", "BMP", "AVIF")}


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_picture_is_read_or_refused_by_name(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    content = bytearray(KINDS[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "hostile.png"
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    for read in (read_header, read_image, read_mask_picture):
        refused: tuple[str, ...] = (str(path),)
        try:
            read(path)
        except MediaError as error:
            refused = error.problems[0].where
        assert refused == (str(path),)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_note_is_no_note_or_another_one_but_never_a_crash(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "mask.png"
    write_png_grey(path, tier_mask((24, 16)), note={"command": "masks"})
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    read_note(path)
