"""Single files of Krea 2 in the original names, bf16 and fp8_scaled, at full size from their headers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from blissmask.errors import ModelError
from blissmask.families.encoders import qwen3_vl
from blissmask.families.files.model_files import ModelFiles
from blissmask.families.files.stored_tensors import StoredTensor
from blissmask.families.krea2 import names, parts
from blissmask.training.memory.estimate import size_of
from tests.builders.families import family_of
from tests.builders.single_files import (
    FP32,
    assert_rebuilt_from_shapes,
    assert_same_weights,
    build_empty,
    state_of,
    stored_shapes,
    written,
)

# The published single file, from the class in the original repository: name -> shape of what is not in a repeated
# block, and of one block.
WIDTH, TEXT = 6144, 2560
EMBEDDERS = {
    "first.weight": (WIDTH, 64),
    "first.bias": (WIDTH,),
    "tmlp.0.weight": (WIDTH, 256),
    "tmlp.0.bias": (WIDTH,),
    "tmlp.2.weight": (WIDTH, WIDTH),
    "tmlp.2.bias": (WIDTH,),
    "tproj.1.weight": (6 * WIDTH, WIDTH),
    "tproj.1.bias": (6 * WIDTH,),
    "txtmlp.0.scale": (TEXT,),
    "txtmlp.1.weight": (WIDTH, TEXT),
    "txtmlp.1.bias": (WIDTH,),
    "txtmlp.3.weight": (WIDTH, WIDTH),
    "txtmlp.3.bias": (WIDTH,),
    "txtfusion.projector.weight": (1, 12),
    "last.linear.weight": (64, WIDTH),
    "last.linear.bias": (64,),
    "last.norm.scale": (WIDTH,),
    "last.modulation.lin": (2, WIDTH),
}


def block(width: int, keys: int, inner: int) -> dict[str, tuple[int, ...]]:
    """Return the tensors of one block; ``keys`` is the width of keys and values."""
    return {
        "attn.wq.weight": (width, width),
        "attn.wk.weight": (keys, width),
        "attn.wv.weight": (keys, width),
        "attn.gate.weight": (width, width),
        "attn.qknorm.qnorm.scale": (128,),
        "attn.qknorm.knorm.scale": (128,),
        "attn.wo.weight": (width, width),
        "mlp.gate.weight": (inner, width),
        "mlp.up.weight": (inner, width),
        "mlp.down.weight": (width, inner),
        "prenorm.scale": (width,),
        "postnorm.scale": (width,),
    }


def published_file() -> dict[str, StoredTensor]:
    shapes = dict(EMBEDDERS)
    for number in range(28):
        stream = block(WIDTH, 12 * 128, 16384) | {"mod.lin": (6 * WIDTH,)}
        shapes |= {f"blocks.{number}.{name}": shape for name, shape in stream.items()}
    for row in ("layerwise_blocks", "refiner_blocks"):
        for number in range(2):
            shapes |= {f"txtfusion.{row}.{number}.{name}": shape for name, shape in block(TEXT, TEXT, 6912).items()}
    return {name: StoredTensor(shape, torch.Tensor) for name, shape in shapes.items()}


def in_original_layout(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return weights as the original repository stores them, the modulations of a block in one row."""
    stored = {names.DENOISER.to_original(name): tensor for name, tensor in state.items()}
    return {name: tensor.flatten() if name.endswith("mod.lin") else tensor for name, tensor in stored.items()}


def test_every_tensor_of_the_published_file_has_its_place_at_full_size():
    from diffusers import Krea2Transformer2DModel

    renamed = names.rename_denoiser(published_file())
    expected = {name: tuple(tensor.shape) for name, tensor in build_empty(Krea2Transformer2DModel).state_dict().items()}
    assert {name: tensor.shape for name, tensor in renamed.items()} == expected


def test_the_size_of_the_model_counts_the_blocks_that_can_be_swapped():
    for tensors in (published_file(), names.rename_denoiser(published_file())):
        size = size_of((name, tensor.shape) for name, tensor in tensors.items())
        assert (size.blocks, size.width) == (28, WIDTH)
        assert size.block_weights + size.other_weights == pytest.approx(12.9e9, rel=0.01)


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
@pytest.mark.parametrize("original", [True, False], ids=["original", "diffusers"])
def test_a_denoiser_loads_in_both_layouts_with_and_without_prefix(tmp_path: Path, prefix: str, original: bool):
    _, state = state_of(parts.DENOISER.tiny)
    path = written(tmp_path / "krea2.safetensors", in_original_layout(state) if original else state, prefix)
    assert_same_weights(parts.DENOISER.load_file(path, **FP32), state)


def test_a_file_of_scaled_float8_is_multiplied_by_its_scales(tmp_path: Path):
    _, state = state_of(parts.DENOISER.tiny)
    stored, expected = {}, {}
    for name, tensor in state.items():
        original = names.DENOISER.to_original(name)
        if name.endswith(".weight") and tensor.ndim == 2:
            scale = tensor.abs().max() / 448
            small = (tensor / scale).to(torch.float8_e4m3fn)
            stored[original] = small
            stored[original.replace(".weight", ".weight_scale")] = scale
            expected[name] = small.float() * scale
        else:
            stored[original], expected[name] = tensor, tensor
    stored = {name: tensor.flatten() if name.endswith("mod.lin") else tensor for name, tensor in stored.items()}
    path = written(tmp_path / "krea2_fp8_scaled.safetensors", stored, "model.diffusion_model.")
    assert_same_weights(parts.DENOISER.load_file(path, **FP32), expected)


@pytest.mark.parametrize("old_names", [True, False], ids=["comfyui", "transformers"])
@pytest.mark.parametrize("vision", [True, False])
def test_the_text_encoder_loads_with_and_without_vision(tmp_path: Path, old_names: bool, vision: bool):
    _, state = state_of(parts.TEXT_ENCODER.tiny)
    stored = {}
    for key, value in state.items():
        if key.startswith("visual."):
            stored |= {key if old_names else f"model.{key}": value} if vision else {}
        else:
            stored[key.removeprefix("language_") if old_names else f"model.{key}"] = value
    path = written(tmp_path / "qwen3vl.safetensors", {**stored, "lm_head.weight": torch.zeros(4, 4)})
    model = parts.TEXT_ENCODER.load_file(path, **FP32)
    assert_same_weights(model, state)
    assert not any(key.startswith("visual.") for key in model.state_dict())


def test_the_text_encoder_is_rebuilt_from_its_shapes_at_full_size():
    from transformers import Qwen3VLConfig, Qwen3VLModel

    text = {
        "vocab_size": 151936,
        "hidden_size": 2560,
        "intermediate_size": 9728,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
    }
    made = build_empty(lambda: Qwen3VLModel(Qwen3VLConfig(text_config=text)))
    read = qwen3_vl.config_of(stored_shapes(made), Path("file"))["text_config"]
    assert {key: read[key] for key in text} == text
    # Of the released configuration; another base of the positions gives other states without an error.
    assert read["rms_norm_eps"] == 1e-6
    rotary = read["rope_parameters"]
    assert (rotary["rope_theta"], rotary["mrope_section"], rotary["mrope_interleaved"]) == (5e6, [24, 20, 20], True)


def test_full_size_denoisers_are_rebuilt_from_their_shapes():
    assert_rebuilt_from_shapes("Krea2Transformer2DModel", {}, parts.denoiser_config)


def test_a_file_of_another_family_is_refused(tmp_path: Path):
    path = written(tmp_path / "other.safetensors", {"blocks.0.self_attn.q.weight": torch.zeros(4, 4)})
    family = family_of("krea2")
    with pytest.raises(ModelError, match="Krea 2 denoiser"):
        family.load_denoiser(ModelFiles(dit=path), family.experts[0], **FP32)
