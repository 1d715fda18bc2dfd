"""Model files: what is read, what is refused, and that nothing in them is ever run."""

from __future__ import annotations

import json
import os
import resource
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file as write_safetensors

from blissmask.errors import ModelError, UsageError
from blissmask.families.encoders.text_batches import batches_by_length
from blissmask.families.files.identity import file_identity, folder_identity
from blissmask.families.files.keymap import KeyMap
from blissmask.families.files.model_files import ModelFiles, folder_of_part
from blissmask.families.files.quantised_files import refuse_quantised_file
from blissmask.families.files.tensor_files import embedded_sentencepiece, holds_entry, open_checkpoint
from blissmask.families.protocol import OneFrame


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


@pytest.mark.parametrize("shape", [(), (1,), (4,), (4, 1), (4, 3, 1)])
def test_fp8_scales_are_applied_whatever_their_shape(tmp_path: Path, shape: tuple[int, ...]):
    weight = torch.randn(4, 6, generator=torch.Generator().manual_seed(0)).to(torch.float8_e4m3fn)
    scale = torch.rand(shape, generator=torch.Generator().manual_seed(1)) + 0.5
    write_safetensors(
        {"a.weight": weight, "a.scale_weight": scale, "a.input_scale": torch.ones(())}, tmp_path / "x.safetensors"
    )
    tensors = open_checkpoint(tmp_path / "x.safetensors")
    assert tensors.keys() == {"a.weight"}
    full = scale.expand(4, 3, 2).reshape(4, 6) if len(shape) == 3 else scale.reshape(-1, 1) if shape == (4,) else scale
    torch.testing.assert_close(tensors["a.weight"].read(), weight.float() * full)


def test_fp8_scale_of_an_impossible_shape_is_refused(tmp_path: Path):
    write_safetensors(
        {"a.weight": torch.ones(4, 6).to(torch.float8_e4m3fn), "a.scale_weight": torch.ones(5)},
        tmp_path / "x.safetensors",
    )
    with pytest.raises(ModelError, match=r"scale of `a\.weight`"):
        open_checkpoint(tmp_path / "x.safetensors")["a.weight"].read()


def test_unknown_quantisation_is_refused(tmp_path: Path):
    write_safetensors({"a.weight": torch.ones(4, 6, dtype=torch.int8)}, tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match="int8"):
        open_checkpoint(tmp_path / "x.safetensors")["a.weight"].read()


def test_markers_and_embedded_tokenizer_are_no_weights_but_found(tmp_path: Path):
    extra = {
        "model.diffusion_model.scaled_fp8": torch.zeros(1),
        "spiece_model": torch.tensor([1, 2, 255], dtype=torch.uint8),
    }
    write_safetensors({"a": torch.ones(2), **extra}, tmp_path / "x.safetensors")
    assert open_checkpoint(tmp_path / "x.safetensors").keys() == {"a"}
    assert holds_entry(tmp_path / "x.safetensors", "scaled_fp8")
    assert embedded_sentencepiece(tmp_path / "x.safetensors") == b"\x01\x02\xff"


def test_identity_follows_content_not_name_or_time(tmp_path: Path):
    first, second, other = tmp_path / "a", tmp_path / "b", tmp_path / "c"
    first.write_bytes(b"weights")
    second.write_bytes(b"weights")
    other.write_bytes(b"weightz")
    os.utime(second, (1, 1))
    assert file_identity(first) == file_identity(second) != file_identity(other)


def test_identity_of_an_edited_file_is_computed_again(tmp_path: Path):
    path = tmp_path / "a"
    path.write_bytes(b"before")
    before = file_identity(path)
    path.write_bytes(b"after!")
    os.utime(path, ns=(1, 1))
    assert file_identity(path) != before


def test_large_files_are_sampled_and_their_ends_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from blissmask.families.files import identity

    monkeypatch.setattr(identity, "_WHOLE_LIMIT", 1 << 20)
    content = bytearray(6 << 20)
    found = set()
    for number, changed in enumerate((None, 0, len(content) - 1, 5 << 20)):
        if changed is not None:
            content[changed] ^= 255
        (tmp_path / str(number)).write_bytes(content)
        found.add(file_identity(tmp_path / str(number)))
    assert len(found) == 4
    assert all(name.startswith("sampled-") for name in found)


def test_folder_identity_counts_names_and_contents_of_model_files_only(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    before = folder_identity(tmp_path)
    (tmp_path / "README.md").write_text("hello", encoding="utf-8")
    assert folder_identity(tmp_path) == before
    (tmp_path / "model.safetensors").write_bytes(b"x")
    assert folder_identity(tmp_path) != before


def _hub_copy(monkeypatch: pytest.MonkeyPatch, folder: Path, *parts: str) -> None:
    """Let the hub's cache hold these parts of a model; whatever is fetched adds what was asked for."""

    def snapshot_download(name: str, *, allow_patterns: list[str], local_files_only: bool) -> str:
        for part in [*parts, *([] if local_files_only else [pattern.removesuffix("/*") for pattern in allow_patterns])]:
            (folder / part).mkdir(exist_ok=True)
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)


def test_hub_models_that_are_not_here_need_permission_and_the_flag_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    _hub_copy(monkeypatch, tmp_path, "transformer")
    files = ModelFiles(model="Wan-AI/Wan2.2-T2V-A14B-Diffusers")
    with pytest.raises(ModelError, match="nor a hub model of this name on this machine") as caught:
        folder_of_part(files, "vae", option="--vae")
    assert "--download" in caught.value.problems[0].fix
    assert folder_of_part(replace(files, download=True), "vae", option="--vae") == tmp_path / "vae"


def test_hub_models_that_are_here_need_no_permission(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    _hub_copy(monkeypatch, tmp_path, "vae")
    assert (
        folder_of_part(ModelFiles(model="Wan-AI/Wan2.2-T2V-A14B-Diffusers"), "vae", option="--vae") == tmp_path / "vae"
    )


@pytest.mark.parametrize("model", ["./nowhere", "/nowhere/at/all", "nowhere"])
def test_missing_folder_is_no_hub_id(model: str):
    with pytest.raises(ModelError, match="neither a folder nor a hub id"):
        folder_of_part(ModelFiles(model=model, download=True), "vae", option="--vae")


def test_nothing_named_says_both_ways():
    with pytest.raises(UsageError) as caught:
        folder_of_part(ModelFiles(), "text_encoder", option="--text-encoder")
    assert "--text-encoder" in caught.value.problems[0].fix
    assert "--model" in caught.value.problems[0].fix


def test_model_folder_without_the_part_is_refused(tmp_path: Path):
    with pytest.raises(ModelError, match="no `vae` folder"):
        folder_of_part(ModelFiles(model=str(tmp_path)), "vae", option="--vae")


def test_keymap_is_a_bijection_that_keeps_numbers_and_suffixes():
    keymap = KeyMap(
        [("blocks.{}.norm3", "blocks.{}.norm2"), ("blocks.{}.norm2", "blocks.{}.norm3"), ("head", "proj_out")]
    )
    assert keymap.to_diffusers("blocks.12.norm3.weight") == "blocks.12.norm2.weight"
    assert keymap.to_original("blocks.12.norm2.weight") == "blocks.12.norm3.weight"
    assert keymap.to_diffusers("header.weight") == "header.weight"


def test_one_frame_indices_are_sorted():
    assert OneFrame((0, 9), 5).frame_indices == (0, 5, 9)


def test_captions_are_batched_by_length_within_the_token_limit():
    lengths = {f"{number:03d}": 1 + number * 7 % 512 for number in range(300)}
    batches = list(batches_by_length(lengths))
    assert sorted(key for batch in batches for key in batch) == sorted(lengths)
    assert all(len(batch) * max(lengths[key] for key in batch) <= 4096 for batch in batches)
    assert len(batches) < 30


def test_importing_a_family_does_not_import_diffusers_or_transformers():
    import subprocess
    import sys

    code = "import sys; from blissmask.families.registry import *; [load_family(n) for n in FAMILIES.names()]; print('diffusers' in sys.modules, 'transformers' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False"]


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


def comfy(name: str) -> torch.Tensor:
    return torch.tensor(list(json.dumps({"format": name}).encode()), dtype=torch.uint8)


WEIGHT8, SCALE = torch.zeros(4, 32, dtype=torch.uint8), torch.ones(4, 1)
QUANTISED = {
    "nvfp4": {"a.weight": WEIGHT8, "a.weight_scale": SCALE, "a.comfy_quant": comfy("nvfp4")},
    "nvfp4 ": {"a.weight": WEIGHT8, "a.weight_scale": SCALE, "a.weight_scale_2": torch.ones(())},
    "mxfp8": {"a.weight": torch.zeros(4, 32).to(torch.float8_e4m3fn), "a.weight_scale": WEIGHT8[:, :1].clone()},
    "mxfp8 ": {
        "a.weight": torch.zeros(4, 32).to(torch.float8_e4m3fn),
        "a.weight_scale": torch.ones(4, 1).to(torch.float8_e8m0fnu),
    },
    "int8_tensorwise": {
        "a.weight": WEIGHT8.to(torch.int8),
        "a.weight_scale": SCALE,
        "a.comfy_quant": comfy("int8_tensorwise"),
    },
    "int8": {"a.weight": WEIGHT8.to(torch.int8), "a.weight_scale": SCALE},
    "bitsandbytes nf4": {
        "a.weight": WEIGHT8,
        "a.weight.absmax": SCALE,
        "a.weight.quant_state.bitsandbytes__nf4": comfy("nf4"),
    },
    "SVDQuant": {"a.qweight": WEIGHT8.to(torch.int8), "a.wscales": SCALE},
}


@pytest.mark.parametrize("label", QUANTISED)
def test_weights_for_inference_are_refused_by_the_name_of_their_format(tmp_path: Path, label: str):
    path = tmp_path / "model.safetensors"
    write_safetensors(QUANTISED[label], path)
    for refuse in (open_checkpoint, refuse_quantised_file):
        with pytest.raises(ModelError, match=rf"model.safetensors is an? {label.strip()}") as caught:
            refuse(path)
        assert "bf16" in caught.value.problems[0].fix


def test_a_gguf_file_is_refused_before_anything_is_hashed(tmp_path: Path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(ModelError, match="GGUF"):
        refuse_quantised_file(tmp_path / "model.gguf")


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2"])
def test_fp8_with_scales_is_read(tmp_path: Path, name: str):
    weight = torch.ones(4, 32).to(getattr(torch, name))
    write_safetensors(
        {"a.weight": weight, "a.weight_scale": torch.tensor(2.0), "a.comfy_quant": comfy(name)},
        tmp_path / "x.safetensors",
    )
    assert torch.equal(open_checkpoint(tmp_path / "x.safetensors")["a.weight"].read(), torch.full((4, 32), 2.0))
