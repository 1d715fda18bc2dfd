"""Files of tensors: what is read, what is refused, and that nothing in them is ever run."""

from __future__ import annotations

import json
import os
import resource
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file as write_safetensors

from blissmask.errors import ModelError
from blissmask.families.files import tensor_files
from blissmask.families.files.identity import file_identity
from blissmask.families.files.tensor_files import embedded_sentencepiece, open_checkpoint


class Hostile:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("zipped", [True, False])
def test_hostile_pickle_is_refused_by_the_name_of_what_it_asks_for(tmp_path: Path, zipped: bool):
    path, trace = tmp_path / "model.pth", tmp_path / "pwned"
    torch.save({"a": torch.ones(2), "b": Hostile(f"touch {trace}")}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        ModelError, match=r"refusing to unpickle model\.pth: it asks to import `(posix|nt|os)\.system`"
    ) as caught:
        open_checkpoint(path)
    assert "safetensors" in caught.value.problems[0].fix
    assert not trace.exists()


@pytest.mark.parametrize("nest", [None, "state_dict", "model", "module"])
@pytest.mark.parametrize("zipped", [True, False])
def test_pth_is_read_nested_or_not(tmp_path: Path, nest: str | None, zipped: bool):
    table = {"module.a.weight": torch.arange(3.0)}
    stored = {nest: table, "epoch": 3} if nest else table
    torch.save(stored, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    tensors = open_checkpoint(tmp_path / "x.pth")
    assert torch.equal(tensors["a.weight"].read(), torch.arange(3.0))


def test_views_of_one_storage_and_every_dtype_of_a_pth_come_back(tmp_path: Path):
    whole = torch.arange(24.0).reshape(4, 6)
    table = {"rows": whole[1:3], "turned": whole.T, "number": torch.tensor(2.5), "none": torch.zeros(0, 3)}
    table |= {str(dtype): torch.arange(5).to(dtype) for dtype in (torch.bfloat16, torch.float16, torch.int64)}
    torch.save(table, tmp_path / "x.pth")
    tensors = open_checkpoint(tmp_path / "x.pth")
    for name, value in table.items():
        assert torch.equal(tensors[name].read(), value)
        assert tensors[name].read().dtype == value.dtype


def test_a_zip_is_not_read_until_a_tensor_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    torch.save({"a": torch.arange(4.0)}, tmp_path / "x.pth")
    places = []
    load = torch.load
    monkeypatch.setattr(
        torch, "load", lambda *args, **options: places.append(options["map_location"]) or load(*args, **options)
    )
    tensors = open_checkpoint(tmp_path / "x.pth")
    assert tensors["a"].read().tolist() == [0.0, 1.0, 2.0, 3.0]
    assert places == ["meta"]


def test_where_torch_names_no_places_a_zip_is_loaded_once_and_when_a_tensor_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    torch.save({"a": torch.arange(4.0), "b": torch.ones(2)}, tmp_path / "x.pth")
    monkeypatch.setattr(tensor_files, "_place", lambda described: None)
    places = []
    load = torch.load
    monkeypatch.setattr(
        torch, "load", lambda *args, **options: places.append(options["map_location"]) or load(*args, **options)
    )
    tensors = open_checkpoint(tmp_path / "x.pth")
    assert (tensors["a"].shape, places) == ((4,), ["meta"])
    assert (tensors["a"].read().tolist(), tensors["b"].read().tolist()) == ([0.0, 1.0, 2.0, 3.0], [1.0, 1.0])
    assert places == ["meta", "cpu"]


def test_file_type_is_told_by_content_not_by_name(tmp_path: Path):
    torch.save({"a": torch.ones(2)}, tmp_path / "x.safetensors")
    assert open_checkpoint(tmp_path / "x.safetensors")["a"].shape == (2,)


@pytest.mark.parametrize("kept", [0, 5, 9, 60, -7])
@pytest.mark.parametrize("name", ["x.safetensors", "x.pth"])
def test_truncated_files_are_refused(tmp_path: Path, name: str, kept: int):
    path = tmp_path / name
    if name.endswith("pth"):
        torch.save({"a": torch.ones(100)}, path)
    else:
        write_safetensors({"a": torch.ones(100)}, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelError):
        open_checkpoint(path)["a"].read()


@pytest.mark.parametrize(
    "content",
    [
        b"<!DOCTYPE html><html>sign in</html>",
        b"GGUF\x03\x00\x00\x00",
        struct.pack("<Q", 2**62) + b"{}",
        struct.pack("<Q", 30) + b'{"a":{"dtype":"F32","shape":[9' + b" " * 40,
        struct.pack("<Q", 62) + b'{"a":{"dtype":"F32","shape":[9999999],"data_offsets":[0,4000]}}' + b"\0" * 16,
        b"PK\x03\x04 not a zip",
        b"\x80\x02 not a pickle",
    ],
)
def test_hostile_and_foreign_files_are_refused(tmp_path: Path, content: bytes):
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(ModelError):
        open_checkpoint(tmp_path / "x.safetensors")


def test_missing_file_is_named(tmp_path: Path):
    with pytest.raises(ModelError) as caught:
        open_checkpoint(tmp_path / "none.safetensors")
    assert str(tmp_path / "none.safetensors") in caught.value.problems[0].where


def test_a_folder_given_as_file_is_refused(tmp_path: Path):
    with pytest.raises(ModelError, match="folder"):
        open_checkpoint(tmp_path)


def test_pickle_of_something_else_is_refused(tmp_path: Path):
    torch.save([1, 2, 3], tmp_path / "x.pth")
    with pytest.raises(ModelError, match="table of tensors"):
        open_checkpoint(tmp_path / "x.pth")


def test_markers_and_embedded_tokenizer_are_no_weights_but_found(tmp_path: Path):
    extra = {
        "model.diffusion_model.scaled_fp8": torch.zeros(1),
        "spiece_model": torch.tensor([1, 2, 255], dtype=torch.uint8),
    }
    write_safetensors({"a": torch.ones(2), **extra}, tmp_path / "x.safetensors")
    assert open_checkpoint(tmp_path / "x.safetensors").keys() == {"a"}
    assert embedded_sentencepiece(tmp_path / "x.safetensors") == b"\x01\x02\xff"


def write_header(path: Path, table: dict[str, object], size: int) -> Path:
    """Write a safetensors file whose numbers are a hole in the disk."""
    header = json.dumps(table).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + size)
    return path


def test_a_file_larger_than_memory_and_swap_costs_nothing_until_a_tensor_is_read(tmp_path: Path):
    count, size = 40, 2**30
    table = {
        f"blocks.{i}.weight": {"dtype": "BF16", "shape": [size // 2], "data_offsets": [i * size, (i + 1) * size]}
        for i in range(count)
    }
    table["last"] = {"dtype": "F32", "shape": [2], "data_offsets": [count * size, count * size + 8]}
    path = write_header(tmp_path / "large.safetensors", table, count * size + 8)
    with path.open("r+b") as file:
        file.seek(-8, os.SEEK_END)
        file.write(struct.pack("<2f", 1.5, -2.0))
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    # No more address space than this process has now, and a little: a mapping of the file would fail.
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, hard))
    try:
        tensors = open_checkpoint(path)
        assert len(tensors) == count + 1
        assert tensors["blocks.3.weight"].shape == (size // 2,)
        assert tensors["last"].read().tolist() == [1.5, -2.0]
        assert file_identity(path).startswith("sampled-")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_every_readable_dtype_and_shape_comes_back_as_safetensors_reads_it(tmp_path: Path):
    dtypes = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.bool]
    stored = {f"{i}": torch.arange(6).reshape(2, 3).to(dtype) for i, dtype in enumerate(dtypes)}
    stored |= {"number": torch.tensor(2.5), "none": torch.zeros(0, 4)}
    write_safetensors(stored, tmp_path / "x.safetensors")
    tensors = open_checkpoint(tmp_path / "x.safetensors")
    assert tensors.keys() == stored.keys()
    for name, value in stored.items():
        assert torch.equal(tensors[name].read(), value)
        assert tensors[name].read().dtype == value.dtype


def test_a_file_that_changes_between_its_header_and_its_tensors_is_refused(tmp_path: Path):
    path = tmp_path / "x.safetensors"
    write_safetensors({"a": torch.ones(4)}, path)
    tensors = open_checkpoint(path)
    write_safetensors({"a": torch.ones(8)}, path)
    with pytest.raises(ModelError, match="changed while it was read"):
        tensors["a"].read()


@pytest.mark.parametrize(
    "table",
    [
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 12]}},
        {"a": {"dtype": "F32", "shape": [True], "data_offsets": [0, 12]}},
        {"a": {"dtype": "F32", "shape": [3], "data_offsets": [12, 0]}},
        {"a": {"dtype": "F32", "shape": [10**20], "data_offsets": [0, 12]}},
        {"a": {"shape": [3], "data_offsets": [0, 12]}},
        {"a": 3},
        [],
        {"__metadata__": {"a": 1}},
    ],
)
def test_a_header_that_does_not_fit_its_file_is_refused(tmp_path: Path, table: dict[str, object]):
    path = write_header(tmp_path / "x.safetensors", table, 12)
    with pytest.raises(ModelError):
        open_checkpoint(path)["a"].read()


@pytest.mark.parametrize("wrapper", ["model.", "model.model.", "model.diffusion_model."])
def test_the_names_that_comfyui_puts_before_all_others_are_left_out(tmp_path: Path, wrapper: str):
    write_safetensors(
        {f"{wrapper}{name}": torch.ones(2) for name in ("a.weight", "model_b")}, tmp_path / "x.safetensors"
    )
    assert open_checkpoint(tmp_path / "x.safetensors").keys() == {"a.weight", "model_b"}
