"""A damaged or hostile model, LoRA or cache file is read or refused by name, whatever is damaged; never a crash, never another exception."""

from __future__ import annotations

import io
import json
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from blissmask.cachefile.file_names import latent_name
from blissmask.cachefile.read_entry import load_entry
from blissmask.cachefile.read_file import read_metadata, read_tensors
from blissmask.cachefile.read_headers import list_headers
from blissmask.errors import BlissmaskError
from blissmask.families.files.tensor_files import open_checkpoint
from tests.builders.families import CACHE_SUFFIX
from tests.builders.training import stripes, weights_of, write_entry

NAME = latent_name("kyla", (32, 32), CACHE_SUFFIX)


def entry() -> bytes:
    with tempfile.TemporaryDirectory() as place:
        shares = stripes(1, 4, 4)
        return write_entry(Path(place), "kyla", weights=weights_of(shares), regions=shares, text=False).read_bytes()


def pth(*, zipped: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save(
        {"state_dict": {"a.weight": torch.ones(3, 4), "b": torch.ones(2)}},
        buffer,
        _use_new_zipfile_serialization=zipped,
    )
    return buffer.getvalue()


LORA = {"diffusion_model.a.lora_A.weight": torch.ones(2, 3), "diffusion_model.a.alpha": torch.tensor(2.0)}
FILES = {
    "entry": entry(),
    "lora": save(LORA, {"ss_network_dim": "2"}),
    "zip": pth(zipped=True),
    "pickle": pth(zipped=False),
}


def read_checkpoint(path: Path) -> None:
    for stored in open_checkpoint(path).values():
        stored.read()


def read_cache(path: Path) -> None:
    for header in list_headers(path.parent, CACHE_SUFFIX):
        load_entry(header)


READERS: list[Callable[[Path], object]] = [read_checkpoint, read_cache, read_tensors, read_metadata]


def refused_or_read(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / NAME
        path.write_bytes(content)
        for read in READERS:
            told = str(path)
            try:
                read(path)
            except BlissmaskError as error:
                told = "\n".join((*error.problems[0].where, error.problems[0].what))
            # A caption that was never cached is named by its own file.
            assert str(path) in told or f"kyla_{CACHE_SUFFIX}_te.safetensors" in told


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", FILES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_file_is_read_or_refused_by_name(kind: str, data: st.DataObject) -> None:
    content = bytearray(FILES[kind])
    # Mostly the header: the rest is numbers.
    end = data.draw(st.sampled_from([16, 200, len(content)]))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, min(end, len(content)) - 1))] = data.draw(st.integers(0, 255))
    refused_or_read(
        bytes(content[: data.draw(st.sampled_from([len(content), len(content) - 1, len(content) // 2, 12]))])
    )


def with_header(header: object, data: bytes = bytes(64), *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(start: int = 0, end: int = 64, shape: tuple[int, ...] = (16,), dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


ATTACKS = {
    "header longer than the file": with_header({}, length=1 << 40),
    "header of 2**64 - 1 bytes": with_header({}, length=(1 << 64) - 1),
    "header that is no JSON": with_header(b"{" + b"\xff" * 40),
    "header that is a list": with_header([1, 2, 3]),
    "deeply nested header": with_header(b'{"a":' * 5000 + b"1" + b"}" * 5000),
    "one name twice": with_header(
        b'{"a":{"dtype":"F32","shape":[16],"data_offsets":[0,64]},"a":{"dtype":"F32","shape":[16],"data_offsets":[0,64]}}'
    ),
    "offsets beyond the file": with_header({"a": tensor(0, 1 << 40)}),
    "offsets backwards": with_header({"a": tensor(64, 0)}),
    "negative offsets": with_header({"a": tensor(-64, 0)}),
    "overlapping tensors": with_header({"a": tensor(), "b": tensor()}),
    "a hole between tensors": with_header({"a": tensor(0, 16, (4,)), "b": tensor(32, 64, (8,))}),
    "a shape that overflows": with_header({"a": tensor(0, 64, (1 << 40, 1 << 40))}),
    "a negative shape": with_header({"a": tensor(0, 64, (-16,))}),
    "an unknown type": with_header({"a": tensor(dtype="F12")}),
    "metadata of numbers": with_header({"__metadata__": {"a": 1}, "a": tensor()}),
    "names that climb out": with_header({"../../etc/passwd": tensor()}),
    "no tensors at all": with_header({}),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_attack_is_refused_by_name_or_harmless(attack: str) -> None:
    refused_or_read(ATTACKS[attack])
