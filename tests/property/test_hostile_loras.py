"""A LoRA file with odd keys, shapes and numbers is read, converted or refused by name, never a crash."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from blissmask.errors import BlissmaskError, ModelError
from blissmask.families.registry import FAMILIES, load_family
from blissmask.training.lora.combine import lower_rank
from blissmask.training.lora.convert import block_count, convert_lora, describe_lora
from blissmask.training.lora.file import read_finite_lora
from blissmask.training.lora.names import layer_names

A, B, ALPHA = "lora_A.weight", "lora_B.weight", "alpha"
LAYER = "diffusion_model.blocks.0.self_attn.q"


def layer(name: str = LAYER) -> dict[str, Tensor]:
    return {f"{name}.{A}": torch.ones(2, 6), f"{name}.{B}": torch.ones(6, 2), f"{name}.{ALPHA}": torch.tensor(2.0)}


def written(folder: Path, tensors: dict[str, Tensor]) -> Path:
    path = folder / "lora.safetensors"
    save_file({key: tensor.contiguous().clone() for key, tensor in tensors.items()}, path)
    return path


def test_a_whole_layer_is_read(tmp_path: Path) -> None:
    assert read_finite_lora(written(tmp_path, layer())).keys() == layer().keys()


@pytest.mark.parametrize(
    ("part", "tensor", "says"),
    [
        (A, torch.ones(0, 6), "holds nothing"),
        (B, torch.ones(6, 0), "holds nothing"),
        (A, torch.ones(6), "must be a matrix"),
        (A, torch.tensor(1.0), "must be a matrix"),
        (B, torch.ones(6, 3), "have rank 2 and 3"),
        (A, torch.ones(2, 6, dtype=torch.int64), "int64"),
        (A, torch.ones(2, 6, dtype=torch.complex64), "complex64"),
        (ALPHA, torch.ones(3), "must be one number above 0"),
        (ALPHA, torch.ones(0), "holds nothing"),
        (ALPHA, torch.tensor(0.0), "must be one number above 0"),
        (ALPHA, torch.tensor(-1.0), "must be one number above 0"),
        (ALPHA, torch.tensor(float("nan")), "must be one number above 0"),
        (ALPHA, torch.tensor(float("inf")), "must be one number above 0"),
        (ALPHA, torch.tensor(1 + 1j), "complex64"),
    ],
)
def test_what_no_lora_holds_is_refused_by_key_and_file(tmp_path: Path, part: str, tensor: Tensor, says: str) -> None:
    path = written(tmp_path, {**layer(), f"{LAYER}.{part}": tensor})
    with pytest.raises(ModelError, match=says) as caught:
        read_finite_lora(path)
    assert (LAYER in str(caught.value), caught.value.problems[0].where) == (True, (str(path),))


def test_matrices_that_were_saved_as_convolutions_of_one_cell_are_matrices(tmp_path: Path) -> None:
    stored = {key: tensor[..., None, None] if tensor.ndim else tensor for key, tensor in layer().items()}
    read = read_finite_lora(written(tmp_path, stored))
    assert {key: tensor.shape for key, tensor in read.items()} == {key: t.shape for key, t in layer().items()}


def test_one_file_of_several_is_not_taken_for_the_whole(tmp_path: Path) -> None:
    path = written(tmp_path, layer()).rename(tmp_path / "adapter_model-00001-of-00002.safetensors")
    with pytest.raises(ModelError, match="one of 2 files of a LoRA"):
        read_finite_lora(path)
    assert read_finite_lora(path.rename(tmp_path / "adapter_model-00001-of-00001.safetensors"))


@pytest.mark.parametrize("prefix", ["lora_te_", "lora_te1_", "text_encoder."])
def test_layers_of_a_text_encoder_are_named(tmp_path: Path, prefix: str) -> None:
    path = written(tmp_path, {**layer(), **layer(f"{prefix}layers.0.q")})
    with pytest.raises(ModelError, match="3 tensors of this LoRA adapt a text encoder") as caught:
        read_finite_lora(path)
    assert f"`{prefix}layers.0.q.{A}`" in caught.value.problems[0].where


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_numbers_of_eight_bits_are_read_exactly(tmp_path: Path, dtype: torch.dtype) -> None:
    stored = {key: (0.3 * tensor).to(dtype) for key, tensor in layer().items() if tensor.ndim}
    read = read_finite_lora(written(tmp_path, stored))
    assert all(torch.equal(read[key].float(), tensor.float()) for key, tensor in stored.items())


def test_a_rank_is_lowered_of_numbers_whose_norm_is_none_in_float32() -> None:
    tensors = {f"{LAYER}.{A}": torch.full((2, 6), 3e38), f"{LAYER}.{B}": torch.full((6, 2), 1e-30)}
    lowered = lower_rank(tensors, {}, 1)
    torch.testing.assert_close(
        lowered.tensors[f"{LAYER}.{B}"] @ lowered.tensors[f"{LAYER}.{A}"],
        tensors[f"{LAYER}.{B}"] @ tensors[f"{LAYER}.{A}"],
        rtol=1e-5,
        atol=0,
    )
    assert lowered.kept == {LAYER.removeprefix("diffusion_model."): pytest.approx(1.0)}


PARTS = [A, B, ALPHA, "lora_down.weight", "lora_up.weight", "dora_scale", "lora_magnitude_vector", "lokr_w1"]
PARTS += ["lokr_w1_a", "lokr_w1_b", "lokr_w2", "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "diff", "", "x"]
PREFIXES = ["diffusion_model.", "lora_unet_", "transformer.", ""]
SHAPES = [(), (0,), (1,), (2,), (3, 3), (2, 6), (6, 2), (0, 6), (1, 1), (2, 6, 1, 1), (18, 2), (7, 2)]
DTYPES = [torch.float32, torch.float32, torch.bfloat16, torch.int64, torch.bool]


@pytest.mark.parametrize("family", FAMILIES.names())
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_odd_loras_are_converted_or_refused(
    tmp_path_factory: pytest.TempPathFactory, family: str, data: st.DataObject
) -> None:
    names = layer_names(load_family(family), block_count=2)
    layers = [*list(names.modules)[:6], *list(names.fused)[:3], *list(names.modules.values())[:3], "blocks.9.nothing"]
    tensors: dict[str, Tensor] = {}
    for _ in range(data.draw(st.integers(0, 4))):
        prefix, name = data.draw(st.sampled_from(PREFIXES)), data.draw(st.sampled_from(layers))
        spelled = name.replace(".", "_") if prefix == "lora_unet_" else name
        if data.draw(st.booleans()):
            whole = layer(f"{prefix}{spelled}")
            if prefix == "lora_unet_":
                whole = {key.replace(A, "lora_down.weight").replace(B, "lora_up.weight"): t for key, t in whole.items()}
            tensors |= whole
        part, shape = data.draw(st.sampled_from(PARTS)), data.draw(st.sampled_from(SHAPES))
        tensors[f"{prefix}{spelled}.{part}"] = torch.ones(shape).to(data.draw(st.sampled_from(DTYPES)))
    path = written(tmp_path_factory.mktemp("lora"), tensors)
    wanted = data.draw(st.sampled_from(["native", "kohya", "diffusers"]))
    told = str(path)
    try:
        read = read_finite_lora(path)
        describe_lora(read, path)
        convert_lora(read, wanted, layer_names(load_family(family), block_count=block_count(read)), path)
    except BlissmaskError as error:
        told = error.problems[0].where[0]
    assert told == str(path)
