"""Files of quantised weights: float8 is read, everything else is refused by the name of its format."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file as write_safetensors

from blissmask.errors import ModelError
from blissmask.families.files.quantised_files import refuse_quantised_file
from blissmask.families.files.tensor_files import open_checkpoint


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


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "the model file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "a note of Git LFS"),
        (b"<!DOCTYPE html>", "neither safetensors nor a PyTorch file"),
    ],
)
def test_what_holds_no_weights_is_told_in_the_plan(tmp_path: Path, content: bytes, what: str):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    for refuse in (open_checkpoint, refuse_quantised_file):
        with pytest.raises(ModelError, match=what):
            refuse(path)


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2"])
def test_fp8_with_scales_is_read(tmp_path: Path, name: str):
    weight = torch.ones(4, 32).to(getattr(torch, name))
    write_safetensors(
        {"a.weight": weight, "a.weight_scale": torch.tensor(2.0), "a.comfy_quant": comfy(name)},
        tmp_path / "x.safetensors",
    )
    assert torch.equal(open_checkpoint(tmp_path / "x.safetensors")["a.weight"].read(), torch.full((4, 32), 2.0))
