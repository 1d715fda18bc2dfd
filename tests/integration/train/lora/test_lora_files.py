"""The LoRA files of every family load back exactly, here and in diffusers."""

import pytest
import torch

from blissmask.training.lora.file import load_lora, save_lora
from blissmask.training.lora.layers import LoraShape, inject_lora
from tests.builders.families import NAMES, tiny_denoiser
from tests.builders.training import seeded

FORMATS = ("native", "kohya", "diffusers")
SHAPE = LoraShape(rank=2, alpha=1.0)
# Pipelines of these families load LoRA files; that of HunyuanVideo 1.5 has no loader, its model has.
PIPELINES = {
    "wan21": "WanPipeline",
    "wan22": "WanPipeline",
    "wan22-5b": "WanPipeline",
    "qwen-image": "QwenImagePipeline",
    "qwen-image-edit": "QwenImageEditPipeline",
    "hunyuan-video": "HunyuanVideoPipeline",
}


def trained_lora(name):
    """Return a LoRA whose matrices are all different from zero and from each other."""
    lora = inject_lora(tiny_denoiser(name), SHAPE, seed=0)
    for number, (_, parameter) in enumerate(lora.named_parameters()):
        parameter.data = seeded(*parameter.shape, seed=number)
    return lora


def products(lora):
    return {name: lora.shape.scaling * b @ a for name, (a, b) in lora.matrices().items()}


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_every_family_and_format_comes_back_exactly(tmp_path, name, file_format):
    lora = trained_lora(name)
    save_lora(tmp_path / "kyla.safetensors", lora, {}, file_format=file_format)
    fresh = inject_lora(tiny_denoiser(name), SHAPE, seed=1)
    load_lora(tmp_path / "kyla.safetensors", fresh)
    expected, loaded = products(lora), products(fresh)
    assert expected.keys() == loaded.keys()
    assert max(float((expected[layer] - loaded[layer]).abs().max()) for layer in expected) == 0.0


@pytest.mark.parametrize("file_format", ["native", "diffusers"])
@pytest.mark.parametrize("name", [name for name in NAMES if name in PIPELINES])
def test_a_file_loads_into_the_diffusers_pipeline_exactly(tmp_path, name, file_format):
    if name == "hunyuan-video" and file_format == "native":
        pytest.skip("diffusers takes 3072 for the width of single blocks; see the test of its converter")
    lora = trained_lora(name)
    save_lora(tmp_path / "kyla.safetensors", lora, {}, file_format=file_format)
    target = tiny_denoiser(name).module
    pipeline = pipeline_class(name)
    state = pipeline.lora_state_dict(str(tmp_path), weight_name="kyla.safetensors")
    pipeline.load_lora_into_transformer(state, transformer=target)
    assert error_of(target, lora) == 0.0


def test_a_hunyuan_video_15_file_loads_into_the_diffusers_model_exactly(tmp_path):
    lora = trained_lora("hunyuan-video-15")
    save_lora(tmp_path / "kyla.safetensors", lora, {}, file_format="diffusers")
    target = tiny_denoiser("hunyuan-video-15").module
    target.load_lora_adapter(str(tmp_path), weight_name="kyla.safetensors", prefix="transformer", use_safetensors=True)
    assert error_of(target, lora) == 0.0


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


def test_a_layer_of_which_one_part_is_adapted_comes_back(tmp_path):
    shape = LoraShape(rank=2, alpha=1.0, exclude=(r".*:[kv]", r".*:mlp"))
    lora = inject_lora(tiny_denoiser("hunyuan-video"), shape, seed=0)
    for number, (_, parameter) in enumerate(lora.named_parameters()):
        parameter.data = seeded(*parameter.shape, seed=number)
    save_lora(tmp_path / "kyla.safetensors", lora, {})
    fresh = inject_lora(tiny_denoiser("hunyuan-video"), shape, seed=1)
    load_lora(tmp_path / "kyla.safetensors", fresh)
    assert all(torch.equal(product, products(fresh)[layer]) for layer, product in products(lora).items())


def pipeline_class(name):
    import diffusers

    return getattr(diffusers, PIPELINES[name])


def error_of(module, lora):
    """Return the largest difference between what diffusers adds to a weight and what was trained."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, BaseTunerLayer)}
    assert layers.keys() == lora.layers.keys()
    expected = products(lora)
    worst = 0.0
    for name, layer in layers.items():
        (adapter,) = layer.lora_A.keys()
        theirs = (layer.scaling[adapter] * layer.lora_B[adapter].weight @ layer.lora_A[adapter].weight).detach()
        worst = max(worst, float((theirs - expected[lora.original_name(name)]).abs().max()))
    return worst
