"""HunyuanVideo keeps query, key and value, and more, in one layer: what becomes of a LoRA of such layers."""

import pytest
import torch
from safetensors.torch import save_file

from blissmask.errors import ModelError
from tests.builders.lora_conversion import assert_same, convert, there_and_back
from tests.builders.training import seeded, tensors_of


def test_the_diffusers_converter_reads_the_fused_layers_of_a_full_width_file():
    """Its single blocks are split at 3072, so the tiny model cannot stand in."""
    from diffusers import HunyuanVideoPipeline

    from blissmask.training.lora.fused import fuse_parts

    width = 3072
    outputs = {"q": width, "k": width, "v": width, "mlp": 4 * width}
    fused = {
        "single_blocks.0.linear1": tuple(outputs.items()),
        "double_blocks.0.img_attn_qkv": (("q", 8), ("k", 8), ("v", 8)),
    }
    tensors = {}
    for whole, parts in fused.items():
        for number, (part, rows) in enumerate(parts):
            tensors[f"diffusion_model.{whole}:{part}.lora_A.weight"] = seeded(2, 8, seed=number)
            tensors[f"diffusion_model.{whole}:{part}.lora_B.weight"] = seeded(rows, 2, seed=10 + number)
    state = HunyuanVideoPipeline.lora_state_dict(fuse_parts(tensors, fused, prefix="diffusion_model."))
    theirs = {
        "single_blocks.0.linear1:q": "single_transformer_blocks.0.attn.to_q",
        "single_blocks.0.linear1:mlp": "single_transformer_blocks.0.proj_mlp",
        "double_blocks.0.img_attn_qkv:v": "transformer_blocks.0.attn.to_v",
    }
    for ours, name in theirs.items():
        expected = tensors[f"diffusion_model.{ours}.lora_B.weight"] @ tensors[f"diffusion_model.{ours}.lora_A.weight"]
        assert torch.equal(
            state[f"transformer.{name}.lora_B.weight"] @ state[f"transformer.{name}.lora_A.weight"], expected
        )


@pytest.mark.parametrize("target", ["native", "diffusers"])
def test_a_fused_layer_of_another_trainer_keeps_its_rank(tmp_path, target):
    """musubi-tuner adapts query, key and value of HunyuanVideo together, with one A for all of them."""
    wide = {
        "double_blocks_11_img_attn_qkv": (8, 24),
        "single_blocks_37_linear1": (8, 24 + 32),
        "double_blocks_0_txt_mod_linear": (8, 48),
    }
    tensors = {}
    for number, (name, (inputs, outputs)) in enumerate(wide.items()):
        tensors[f"lora_unet_{name}.lora_down.weight"] = seeded(4, inputs, seed=number)
        tensors[f"lora_unet_{name}.lora_up.weight"] = seeded(outputs, 4, seed=10 + number)
        tensors[f"lora_unet_{name}.alpha"] = torch.tensor(4.0)
    save_file(tensors, tmp_path / "musubi.safetensors")
    assert_same(tensors, there_and_back(tmp_path / "musubi.safetensors", target, "kohya", tmp_path, "hunyuan-video"))
    if target == "diffusers":
        there = tensors_of(tmp_path / "there.safetensors")
        assert there["transformer.single_transformer_blocks.37.proj_mlp.lora_B.weight"].shape == (32, 4)
        assert there["transformer.transformer_blocks.11.attn.to_v.lora_B.weight"].shape == (8, 4)


@pytest.mark.parametrize(
    "broken",
    [
        {"lora_down.weight": seeded(2, 8)},
        {"lora_up.weight": seeded(8, 2)},
        {"lora_down.weight": seeded(2), "lora_up.weight": seeded(8, 2)},
    ],
    ids=["no up", "no down", "a row"],
)
def test_half_a_layer_is_refused_by_name(tmp_path, broken):
    save_file(
        {f"lora_unet_single_blocks_0_linear1.{part}": value for part, value in broken.items()},
        tmp_path / "torn.safetensors",
    )
    with pytest.raises(
        ModelError, match=r"`lora_unet_single_blocks_0_linear1(` has not both matrices|.*must be a matrix)"
    ):
        convert(tmp_path / "torn.safetensors", "native", tmp_path / "out.safetensors", arch="hunyuan-video")


def test_a_part_whose_size_cannot_be_told_is_refused(tmp_path):
    name = "transformer.single_transformer_blocks.0.attn.to_q"
    save_file(
        {f"{name}.lora_A.weight": seeded(2, 8), f"{name}.lora_B.weight": seeded(8, 2)}, tmp_path / "part.safetensors"
    )
    with pytest.raises(ModelError, match=r"size of a part of `single_blocks\.0\.linear1`"):
        convert(tmp_path / "part.safetensors", "native", tmp_path / "out.safetensors", arch="hunyuan-video")
