"""The keys of LoRA files: those of other programs, layers that stand in a file twice, and layers fused in part."""

from pathlib import Path

import pytest
import torch

from blissmask.errors import ModelError
from blissmask.training.lora.convert import in_precision
from blissmask.training.lora.formats import scaled, to_format, to_native, without_foreign_beginning
from tests.builders.training import seeded

PATH = Path("kyla.safetensors")
MODULES = {"blocks.0.attn.q": "layers.0.to_q", "blocks.0.attn.qkv:k": "layers.0.to_k"}
PART = "lora_A.weight"


def native(*keys, fused=None, apart=None):
    """Return the native keys of a file that holds one tensor under each of ``keys``."""
    return list(to_native(dict.fromkeys(keys, torch.ones(2, 4)), MODULES, fused or {}, apart or {}, path=PATH))


@pytest.mark.parametrize(
    "layer",
    [
        "diffusion_model.blocks.0.attn.q",
        "lora_unet_blocks_0_attn_q",
        "transformer.layers.0.to_q",
        "transformer.blocks.0.attn.q",
        "lora_unet_layers_0_to_q",
    ],
)
def test_original_names_and_those_of_diffusers_are_known_behind_every_beginning(layer):
    assert native(f"{layer}.{PART}") == [f"diffusion_model.blocks.0.attn.q.{PART}"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("diffusion_model.blocks.0.attn.q.lora_A.weight", "transformer.layers.0.to_q.lora_A.weight"),
        ("diffusion_model.blocks.0.attn.q.lora_A.weight", "diffusion_model.blocks.0.attn.q.lora_down.weight"),
        ("transformer.layers.0.to_q.lora_magnitude_vector", "lora_unet_blocks_0_attn_q.dora_scale"),
        ("lora_unet_blocks_0_attn_qkv.lora_down.weight", "lora_unet_layers_0_to_k.lora_down.weight"),
    ],
)
def test_a_layer_under_two_names_is_refused_with_both(first, second):
    with pytest.raises(ModelError, match="holds one layer twice") as caught:
        to_native(
            {first: torch.ones(4), second: torch.ones(4)},
            {**MODULES, "blocks.0.attn.qkv": "blocks.0.attn.qkv"},
            path=PATH,
        )
    assert caught.value.problems[0].where == (str(PATH), f"`{first}`", f"`{second}`")


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("model.diffusion_model.blocks.0.attn.q", "diffusion_model.blocks.0.attn.q"),
        ("lycoris_blocks_0_attn_q", "lora_unet_blocks_0_attn_q"),
        ("lora_unet__blocks_0_attn_q", "lora_unet_blocks_0_attn_q"),
        ("lora_transformer_layers_0_to_q", "lora_unet_layers_0_to_q"),
        ("blocks.0.attn.q", "transformer.blocks.0.attn.q"),
        ("base_model.model.layers.0.to_q", "base_model.model.layers.0.to_q"),
    ],
)
def test_beginnings_of_other_programs_become_ours(theirs, ours):
    assert without_foreign_beginning([f"{theirs}.{PART}"]) == {f"{theirs}.{PART}": f"{ours}.{PART}"}


def test_bare_names_are_layers_only_where_no_key_begins_as_one_of_ours():
    keys = [f"blocks.0.attn.q.{PART}", f"text_encoder.layers.0.q.{PART}"]
    assert without_foreign_beginning(keys) == {key: key for key in keys}


def test_kohya_files_hold_layers_whole_that_are_fused_there_and_parts_of_the_others():
    """HunyuanVideo 1.5 has both kinds; three parts under the name of the whole layer would leave one of them."""
    fused = {"refiner.qkv": (("q", 4), ("k", 4)), "blocks.0.qkv": (("q", 4), ("k", 4))}
    apart = {"blocks.0.qkv:q": "blocks.0.q", "blocks.0.qkv:k": "blocks.0.k"}
    tensors = {}
    for number, name in enumerate(f"{whole}:{part}" for whole in fused for part in "qk"):
        tensors[f"diffusion_model.{name}.lora_A.weight"] = seeded(2, 4, seed=number)
        tensors[f"diffusion_model.{name}.lora_B.weight"] = seeded(4, 2, seed=9 + number)
    modules = {f"{whole}:{part}": f"{whole}.to_{part}" for whole in fused for part in "qk"}
    spelled = to_format(tensors, "kohya", modules, fused, apart)
    layers = {key.partition(".")[0] for key in spelled}
    assert layers == {"lora_unet_refiner_qkv", "lora_unet_blocks_0_q", "lora_unet_blocks_0_k"}
    back = to_native(spelled, modules, fused, apart, path=PATH)
    assert all(torch.equal(back[key], tensor) for key, tensor in tensors.items())


def test_an_alpha_of_one_element_keeps_its_precision():
    tensors = {"diffusion_model.q.alpha": torch.tensor([257.0]), "diffusion_model.q.lora_A.weight": torch.ones(2, 4)}
    narrow = in_precision(tensors, torch.bfloat16)
    assert float(narrow["diffusion_model.q.alpha"]) == 257.0
    assert narrow["diffusion_model.q.lora_A.weight"].dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("number", "scale", "kept"), [(1e-2, 0.5, torch.float16), (1e-4, 1 / 64, torch.float32), (6e4, 2.0, torch.float32)]
)
def test_a_scale_takes_no_digits_from_half_precision(number, scale, kept):
    matrix = (number * seeded(8, 4).clamp(-1, 1)).half()
    product = scaled(matrix, scale)
    assert product.dtype == kept
    torch.testing.assert_close(product.float(), matrix.float() * scale, rtol=2**-10, atol=0)
