"""`train` from a cache on disk to a LoRA file, with the real model class in miniature."""

import pytest
import torch
from safetensors import safe_open

from blissmask.cachefile.read_entry import load_entry
from blissmask.cachefile.read_headers import list_headers
from blissmask.events import Measured
from blissmask.tasks.train import train_lora
from blissmask.training.data.items import make_item
from blissmask.training.data.micro_batch import collate
from blissmask.training.lora.file import load_lora
from blissmask.training.lora.layers.inject import inject_lora
from blissmask.training.lora.layers.lora import LoraShape, adapters_off
from blissmask.training.record.metrics import read_log
from blissmask.training.step.run_step import noise_batch
from tests.builders.families import CACHE_SUFFIX, PLAIN, tiny_denoiser
from tests.builders.training import (
    ALL_LAYERS,
    losses,
    run,
    stripes,
    tensors_of,
    train_config,
    weights_of,
    write_entry,
)


def test_lora_file_has_original_names_alpha_and_mask_settings(cache, tmp_path):
    run(train_config(cache, tmp_path / "out", use_mask_loss=True, mask_gamma=0.7, network_alpha=1.0, **ALL_LAYERS))
    with safe_open(tmp_path / "out" / "kyla.safetensors", framework="pt") as file:
        keys, metadata = set(file.keys()), file.metadata()
        assert file.get_tensor("diffusion_model.blocks.0.self_attn.q.alpha").item() == 1.0
    assert "diffusion_model.blocks.1.ffn.2.lora_B.weight" in keys
    assert all(key.startswith("diffusion_model.blocks.") for key in keys)
    assert metadata["ss_mask_gamma"] == "0.7"
    assert metadata["ss_mask_loss"] == "True"
    assert metadata["modelspec.architecture"] == "wan2.1/lora"
    assert len(metadata["sshs_model_hash"]) == 64


def test_lora_file_loads_into_a_diffusers_pipeline_without_error(cache, tmp_path):
    run(train_config(cache, tmp_path / "out", network_alpha=1.0, max_train_steps=4, **ALL_LAYERS))
    file = tmp_path / "out" / "kyla.safetensors"
    ours = tiny_denoiser(PLAIN)
    lora = inject_lora(ours, LoraShape(rank=2, alpha=1.0), seed=0)
    load_lora(file, lora)
    with torch.no_grad():
        trained = ours.predict(inputs_of(cache))
        with adapters_off(lora):
            base = ours.predict(inputs_of(cache))
    assert (trained - prediction_with(file, cache)).abs().max() == 0.0
    assert (trained - base).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("file_format", "layer", "parts"),
    [
        ("kohya", "lora_unet_blocks_0_self_attn_q", {"lora_down.weight", "lora_up.weight", "alpha"}),
        ("diffusers", "transformer.blocks.0.attn1.to_q", {"lora_A.weight", "lora_B.weight"}),
    ],
)
def test_other_formats_spell_their_keys_as_their_readers_expect(cache, tmp_path, file_format, layer, parts):
    run(train_config(cache, tmp_path / "out", lora_format=file_format, max_train_steps=1))
    keys = tensors_of(tmp_path / "out" / "kyla.safetensors").keys()
    assert {key.removeprefix(f"{layer}.") for key in keys if key.startswith(layer)} == parts


@pytest.mark.parametrize("file_format", ["kohya", "diffusers"])
def test_other_formats_load_into_diffusers_and_back_here_like_the_native_one(cache, tmp_path, file_format):
    options = {"network_alpha": 1.0, "max_train_steps": 3, **ALL_LAYERS}
    run(train_config(cache, tmp_path / "native", **options))
    run(train_config(cache, tmp_path / file_format, lora_format=file_format, **options))
    outputs = [prediction_with(tmp_path / name / "kyla.safetensors", cache) for name in ("native", file_format)]
    assert torch.allclose(outputs[0], outputs[1], atol=1e-6)
    denoiser = tiny_denoiser(PLAIN)
    load_lora(tmp_path / file_format / "kyla.safetensors", inject_lora(denoiser, LoraShape(rank=2, alpha=1.0), seed=0))
    with torch.no_grad():
        assert torch.allclose(denoiser.predict(inputs_of(cache)), outputs[0], atol=1e-6)


def test_dora_loads_into_diffusers_in_its_own_format_and_back_here(cache, tmp_path):
    options = {"network_alpha": 1.0, "max_train_steps": 4, "use_dora": True, "lora_format": "diffusers", **ALL_LAYERS}
    run(train_config(cache, tmp_path / "out", **options))
    file = tmp_path / "out" / "kyla.safetensors"
    ours = tiny_denoiser(PLAIN)
    lora = inject_lora(ours, LoraShape(rank=2, alpha=1.0, dora=True), seed=0)
    norms = {name: values.clone() for name, values in lora.magnitudes().items()}
    load_lora(file, lora)
    assert any(not torch.equal(values, norms[name]) for name, values in lora.magnitudes().items())
    with torch.no_grad():
        assert torch.equal(ours.predict(inputs_of(cache)), prediction_with(file, cache))


def prediction_with(file, cache):
    """Return what the diffusers pipeline's transformer predicts with a LoRA file."""
    denoiser = tiny_denoiser(PLAIN)
    pipeline_of(denoiser.module).load_lora_weights(str(file.parent), weight_name=file.name)
    with torch.no_grad():
        return denoiser.predict(inputs_of(cache))


def pipeline_of(transformer):
    from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, WanPipeline

    vae = AutoencoderKLWan(base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1)
    return WanPipeline(
        tokenizer=None, text_encoder=None, vae=vae, scheduler=FlowMatchEulerDiscreteScheduler(), transformer=transformer
    )


def inputs_of(cache):
    _, inputs = noise_batch(collate([items(cache)[0]], 0), torch.tensor([0.5]), seed=0, device=torch.device("cpu"))
    return inputs


def items(cache, **options):
    options = {"rule": None, "prior": None, **options}
    return [make_item(header, load_entry(header), **options) for header in list_headers(cache, CACHE_SUFFIX)]


def test_only_the_lora_moves_and_the_loss_of_a_fixed_batch_falls(cache, tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(train_lora, "load_learners", keep_result(train_lora.load_learners, kept))
    untouched = {name: value.clone() for name, value in tiny_denoiser(PLAIN).module.state_dict().items()}
    _, recorder = run(
        train_config(cache, tmp_path / "out", max_train_steps=60, min_timestep=500, max_timestep=500, network_dim=8)
    )
    after = {
        name.replace(".base_layer", ""): value
        for name, value in kept[0].denoiser.module.state_dict().items()
        if "lora_" not in name
    }
    assert after.keys() == untouched.keys()
    assert all(torch.equal(after[name], untouched[name]) for name in untouched)
    first, last = losses(recorder)[:8], losses(recorder)[-8:]
    assert sum(last) < sum(first)


@pytest.mark.parametrize(("option", "dtype"), [("fp8_base", torch.float8_e4m3fn), ("int8_base", torch.int8)])
def test_the_blocks_are_kept_in_8_bits_and_the_lora_in_float32(cache, tmp_path, monkeypatch, option, dtype):
    kept = []
    monkeypatch.setattr(train_lora, "load_learners", keep_result(train_lora.load_learners, kept))
    run(train_config(cache, tmp_path / "out", **{option: True}))
    parameters = dict(kept[0].denoiser.module.named_parameters())
    assert parameters["blocks.0.attn1.to_q.base_layer.stored"].dtype == dtype
    assert {parameter.dtype for _, parameter in kept[0].lora.named_parameters()} == {torch.float32}
    assert parameters["patch_embedding.weight"].dtype == torch.float32


def keep_result(function, kept):
    def call(*arguments):
        learners, left_out = function(*arguments)
        kept.extend(learners)
        return learners, left_out

    return call


def test_what_lies_under_weight_zero_changes_no_lora_byte_at_floor_zero(tmp_path):
    shares = stripes(1, 4, 4)
    outcomes = []
    for name, change in (("same", 0.0), ("other", 50.0)):
        folder = tmp_path / name / "cache"
        write_entry(folder, "kyla", weights=weights_of(shares), regions=shares)
        # Only the target may differ: the model's input sees the background, so it is pushed in at noise level 1.
        target = load_entry(list_headers(folder, CACHE_SUFFIX)[0]).latents_Cfhw.float()
        target[:, :, 3] += change
        write_entry(folder, "kyla", latents=target, weights=weights_of(shares), regions=shares)
        config = train_config(folder, tmp_path / name / "out", use_mask_loss=True, min_timestep=1000, max_timestep=1000)
        run(config)
        outcomes.append(tensors_of(tmp_path / name / "out" / "kyla.safetensors"))
    assert all(torch.equal(outcomes[0][key], outcomes[1][key]) for key in outcomes[0])


def test_an_all_ones_mask_trains_like_no_mask(tmp_path):
    for stem in ("a", "b"):
        write_entry(tmp_path / "cache", stem, weights=torch.ones(1, 1, 4, 4), seed=ord(stem))
    _, masked = run(train_config(tmp_path / "cache", tmp_path / "masked", use_mask_loss=True, max_train_steps=4))
    _, plain = run(train_config(tmp_path / "cache", tmp_path / "plain", max_train_steps=4))
    assert losses(masked) == pytest.approx(losses(plain), rel=1e-6)


def test_an_empty_mask_that_is_to_be_trained_is_counted_and_nothing_is_nan(cache, tmp_path):
    write_entry(cache, "empty", weights=torch.zeros(1, 1, 4, 4), seed=7)
    summary, recorder = run(
        train_config(cache, tmp_path / "out", use_mask_loss=True, empty_mask="train", max_train_steps=5)
    )
    assert summary.details["empty_masks"] == 1
    assert sum(event.values["mask/empty"] for event in recorder.of(Measured)) == 1
    assert all(torch.isfinite(value).all() for value in tensors_of(tmp_path / "out" / "kyla.safetensors").values())


def test_losses_are_logged_per_region(cache, tmp_path):
    run(train_config(cache, tmp_path / "out", use_mask_loss=True))
    line = read_log(tmp_path / "out" / "kyla-log.jsonl")[0]
    assert {
        "loss",
        "loss/face",
        "loss/body",
        "loss/hair",
        "loss/background",
        "mask/weight",
        "lr",
        "grad_norm",
    } <= line.keys()


def test_regions_that_a_step_does_not_show_are_left_out_of_its_numbers(tmp_path):
    shares = torch.zeros(4, 1, 4, 4)
    shares[1] = 1.0
    write_entry(tmp_path / "cache", "coat", weights=weights_of(shares), regions=shares)
    run(train_config(tmp_path / "cache", tmp_path / "out", use_mask_loss=True))
    line = read_log(tmp_path / "out" / "kyla-log.jsonl")[0]
    assert line["loss/body"] == pytest.approx(line["loss"], rel=1e-5)
    assert not {"loss/face", "loss/hair", "loss/background"} & line.keys()


def test_warm_start_begins_from_the_weights_of_the_file(cache, tmp_path):
    run(train_config(cache, tmp_path / "first", network_alpha=1.0))
    start = tmp_path / "first" / "kyla.safetensors"
    run(
        train_config(
            cache, tmp_path / "second", network_weights=start, learning_rate=1e-12, max_train_steps=1, weight_decay=0.0
        )
    )
    for key, value in tensors_of(start).items():
        if key.endswith("lora_A.weight"):
            assert torch.allclose(tensors_of(tmp_path / "second" / "kyla.safetensors")[key], value, atol=1e-6)
