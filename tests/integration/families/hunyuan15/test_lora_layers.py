"""HunyuanVideo 1.5's query, key and value: one layer in ComfyUI and native files, three in musubi-tuner and kohya files."""

import re

import pytest
import torch
from safetensors.torch import save_file

from blissmask.errors import ModelError
from blissmask.training.lora.file import load_lora
from blissmask.training.lora.layers.inject import inject_lora
from blissmask.training.lora.layers.lora import ADAPTER, LoraShape
from blissmask.training.lora.norms import output_norms
from tests.builders.families import tiny_denoiser
from tests.builders.lora_conversion import assert_same, plan_conversion, there_and_back
from tests.builders.lora_file import save_lora
from tests.builders.training import seeded, tensors_of

NAME = "hunyuan-video-15"
# Facts of ComfyUI 0.33 (its model's layers, and the aliases of its LoRA key map) and of musubi-tuner 0.3.4's model.
IN_COMFYUI = re.compile(r"diffusion_model\.double_blocks\.\d+\.(img|txt)_(attn_qkv|attn_proj|mlp\.fc1|mlp\.fc2)")
IN_MUSUBI = re.compile(r"lora_unet_double_blocks_\d+_(img|txt)_(attn_q|attn_k|attn_v|attn_proj|mlp_fc1|mlp_fc2)")


def trained(**shape):
    lora = inject_lora(tiny_denoiser(NAME), LoraShape(**{"rank": 2, "alpha": 1.0, **shape}), seed=0)
    for number, (name, parameter) in enumerate(lora.named_parameters()):
        change = seeded(*parameter.shape, seed=number)
        parameter.data = parameter.data * (1 + 0.1 * change) if "magnitude" in name else change
    return lora


def layers_of(path):
    return {re.sub(r"\.(lora_(A|B|up|down)\.weight|alpha|dora_scale|lokr_\w+)$", "", key) for key in tensors_of(path)}


def test_comfyui_has_every_layer_of_a_native_file(tmp_path):
    save_lora(tmp_path / "kyla.safetensors", trained(), {})
    layers = layers_of(tmp_path / "kyla.safetensors")
    assert [layer for layer in layers if not IN_COMFYUI.fullmatch(layer)] == []
    # The last block's text query learns nothing, but its key and value do: the layer is there with zeros for it.
    assert "diffusion_model.double_blocks.1.txt_attn_qkv" in layers


def test_musubi_tuner_has_every_layer_of_a_kohya_file_and_its_converter_finds_all_three_parts(tmp_path):
    save_lora(tmp_path / "kyla.safetensors", trained(), {}, file_format="kohya")
    tensors, layers = tensors_of(tmp_path / "kyla.safetensors"), layers_of(tmp_path / "kyla.safetensors")
    assert [layer for layer in layers if not IN_MUSUBI.fullmatch(layer)] == []
    for layer in layers:
        if found := re.fullmatch(r"(.+_attn)_[qkv]", layer):
            assert {f"{found[1]}_{part}" for part in "qkv"} <= layers
    silent = "lora_unet_double_blocks_1_txt_attn_q"
    assert not tensors[f"{silent}.lora_up.weight"].any()
    assert tensors[f"{silent}.alpha"] == tensors["lora_unet_double_blocks_1_txt_attn_k.alpha"]
    assert tensors[f"{silent}.lora_down.weight"].shape == (2, 128)


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("file_format", ["native", "kohya"])
def test_a_file_comes_back_exactly(tmp_path, file_format, dora):
    lora = trained(dora=dora)
    save_lora(tmp_path / "kyla.safetensors", lora, {}, file_format=file_format)
    fresh = inject_lora(tiny_denoiser(NAME), LoraShape(rank=2, alpha=1.0, dora=dora), seed=9)
    load_lora(tmp_path / "kyla.safetensors", fresh)
    for name, (a, b) in lora.matrices().items():
        assert torch.equal(b @ a, fresh.matrices()[name][1] @ fresh.matrices()[name][0])
    for name, norms in lora.magnitudes().items():
        torch.testing.assert_close(fresh.magnitudes()[name], norms, rtol=1e-5, atol=0)


def test_a_whole_layer_with_dora_holds_the_norms_of_the_part_that_is_not_adapted(tmp_path):
    lora = trained(dora=True)
    save_lora(tmp_path / "kyla.safetensors", lora, {})
    scale = tensors_of(tmp_path / "kyla.safetensors")["diffusion_model.double_blocks.1.txt_attn_qkv.dora_scale"]
    plain = tiny_denoiser(NAME).module.transformer_blocks[1].attn.add_q_proj.weight
    torch.testing.assert_close(scale[:128, 0], output_norms(plain))


def test_the_layers_that_other_trainers_write_apart_in_native_files_are_read(tmp_path):
    lora = trained()
    save_lora(tmp_path / "kohya.safetensors", lora, {}, file_format="kohya")
    native = {
        key.replace("lora_unet_double_blocks_", "diffusion_model.double_blocks.")
        .replace("_img_", ".img_")
        .replace("_txt_", ".txt_")
        .replace("_mlp_", "_mlp.")
        .replace("lora_down", "lora_A")
        .replace("lora_up", "lora_B"): tensor
        for key, tensor in tensors_of(tmp_path / "kohya.safetensors").items()
    }
    assert "diffusion_model.double_blocks.0.img_attn_q.lora_A.weight" in native
    save_file(native, tmp_path / "apart.safetensors")
    fresh = inject_lora(tiny_denoiser(NAME), LoraShape(rank=2, alpha=1.0), seed=9)
    load_lora(tmp_path / "apart.safetensors", fresh)
    for name, (a, b) in lora.matrices().items():
        assert torch.equal(b @ a, fresh.matrices()[name][1] @ fresh.matrices()[name][0])


@pytest.mark.parametrize(
    ("first", "second", "dora"),
    [
        ("native", "kohya", False),
        ("kohya", "native", False),
        ("kohya", "diffusers", False),
        ("native", "kohya", True),
        ("kohya", "native", True),
    ],
)
def test_conversion_joins_the_parts_and_takes_them_apart(tmp_path, first, second, dora):
    save_lora(tmp_path / "start.safetensors", trained(alpha=2.0, dora=dora), {}, file_format=first)
    back = there_and_back(tmp_path / "start.safetensors", second, first, tmp_path, NAME)
    assert_same(tensors_of(tmp_path / "start.safetensors"), back)


def test_a_lokr_keeps_its_parts_apart_in_both_files(tmp_path):
    lora = trained(kind="lokr")
    for file_format in ("native", "kohya"):
        save_lora(tmp_path / f"{file_format}.safetensors", lora, {}, file_format=file_format)
        fresh = inject_lora(tiny_denoiser(NAME), LoraShape(rank=2, alpha=1.0, kind="lokr"), seed=1)
        load_lora(tmp_path / f"{file_format}.safetensors", fresh)
        for name, layer in lora.layers.items():
            assert torch.equal(layer.get_delta_weight(ADAPTER), fresh.layers[name].get_delta_weight(ADAPTER))


@pytest.mark.parametrize("combine", [{}, {"rank": 4}])
@pytest.mark.parametrize(
    ("layer", "wanted"),
    [
        ("diffusion_model.double_blocks.0.img_attn_qkv", "kohya"),
        ("lora_unet_double_blocks_0_img_attn_qkv", "native"),
    ],
)
def test_a_lokr_of_a_whole_layer_is_refused_by_the_plan_for_what_it_is(tmp_path, layer, wanted, combine):
    factors = {"lokr_w1": seeded(3, 1), "lokr_w2": seeded(8, 8), "alpha": torch.tensor(2.0)}
    save_file({f"{layer}.{part}": value for part, value in factors.items()}, tmp_path / "lokr")
    with pytest.raises(ModelError, match=r"`double_blocks\.0\.img_attn_qkv` would have to be taken apart"):
        plan_conversion(tmp_path / "lokr", wanted, tmp_path / "out.safetensors", arch=NAME, combine=combine)
