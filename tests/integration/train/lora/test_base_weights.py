"""`base_weights`: LoRA files in the frozen weights, of every family and spelling, and what a run remembers of them."""

import json

import pytest
import torch
from safetensors.torch import save_file

from blissmask.cachefile.read_file import read_metadata
from blissmask.errors import ModelError, StoppedError, UsageError
from blissmask.families.files.miniature import is_tiny_identity
from blissmask.tasks.train.plan import plan as plan_training
from blissmask.training.lora.base_weights import BaseLora, fuse_base_loras, fused_identity
from blissmask.training.lora.layers.inject import inject_lora
from blissmask.training.lora.layers.lora import ADAPTER, LoraShape
from blissmask.training.memory import quantised
from tests.builders.families import NAMES, PLAIN, TWO_EXPERTS, has_fused_layers, tiny_denoiser
from tests.builders.lora_file import save_lora
from tests.builders.training import problems_of, run, seeded, tensors_of, train_config

ALL_FUSED = [name for name in NAMES if has_fused_layers(tiny_denoiser(name))]
FUSED = ALL_FUSED[0]


def trained_lora(name, **shape):
    lora = inject_lora(tiny_denoiser(name), LoraShape(**{"rank": 2, "alpha": 1.0, **shape}), seed=0)
    for number, (_, parameter) in enumerate(lora.named_parameters()):
        parameter.data = seeded(*parameter.shape, seed=number)
    return lora


def lora_file(path, *, name=PLAIN, file_format="native", seed=0, **shape):
    """Write a LoRA of all default layers, and return its file."""
    lora = trained_lora(name, **shape)
    for number, (_, parameter) in enumerate(lora.named_parameters()):
        parameter.data = 0.1 * seeded(*parameter.shape, seed=seed + number)
    save_lora(path, lora, {}, file_format=file_format)
    return path


def weights(denoiser):
    modules = denoiser.module.named_modules()
    return {name: module.weight for name, module in modules if isinstance(module, torch.nn.Linear)}


def fused(path, *, name=PLAIN, multiplier=1.0):
    denoiser = tiny_denoiser(name)
    fuse_base_loras(denoiser, [BaseLora(path, multiplier)])
    return denoiser


EVERY_LAYER = {"include": (".*",)}
"""Also those that are not adapted by default: some of them are fused in other ways."""


@pytest.mark.parametrize("file_format", ["native", "kohya", "diffusers"])
@pytest.mark.parametrize("name", NAMES)
def test_the_frozen_weights_become_what_the_adapters_made_of_them(tmp_path, name, file_format):
    lora = trained_lora(name, **EVERY_LAYER)
    save_lora(tmp_path / "base.safetensors", lora, {}, file_format=file_format)
    plain, changed = weights(tiny_denoiser(name)), weights(fused(tmp_path / "base.safetensors", name=name))
    assert lora.layers.keys() == plain.keys()
    for layer, before in plain.items():
        update = lora.layers[layer].get_delta_weight(ADAPTER)
        torch.testing.assert_close(changed[layer], before + update, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("file_format", ["native", "kohya", "diffusers"])
@pytest.mark.parametrize("name", ALL_FUSED)
def test_dora_of_a_part_of_a_fused_layer_becomes_what_peft_merges(tmp_path, name, file_format):
    lora = trained_lora(name, dora=True, include=(r".*double_blocks\.0.*:q",), exclude=(".*",))
    save_lora(tmp_path / "base.safetensors", lora, {}, file_format=file_format)
    plain, changed = weights(tiny_denoiser(name)), weights(fused(tmp_path / "base.safetensors", name=name))
    for layer, before in plain.items():
        expected = before
        if layer in lora.layers:
            lora.layers[layer].merge()
            expected = lora.layers[layer].get_base_layer().weight
        torch.testing.assert_close(changed[layer], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "shape", [{"kind": "lokr"}, {"kind": "loha"}, {"dora": True}], ids=lambda shape: next(iter(shape))
)
def test_relatives_of_lora_become_what_peft_merges(tmp_path, shape):
    lora = trained_lora(PLAIN, **shape)
    save_lora(tmp_path / "base.safetensors", lora, {})
    changed = weights(fused(tmp_path / "base.safetensors"))
    for layer, adapted in lora.layers.items():
        adapted.merge()
        torch.testing.assert_close(changed[layer], adapted.get_base_layer().weight, rtol=1e-4, atol=1e-5)


def test_a_lokr_of_a_whole_fused_layer_goes_into_its_parts(tmp_path):
    denoiser = tiny_denoiser(FUSED)
    parts = sorted(
        (denoiser.original_name(module), module)
        for module, layer in denoiser.module.named_modules()
        if isinstance(layer, torch.nn.Linear) and denoiser.original_name(module).startswith("double_blocks.0.img_attn")
    )
    by_part = {original.partition(":")[2]: module for original, module in parts if ":" in original}
    whole = next(original.partition(":")[0] for original, _ in parts if ":" in original)
    before = weights(denoiser)
    outputs, inputs = before[by_part["q"]].shape
    first, second = seeded(3, 1), seeded(outputs, inputs, seed=1)
    file = {
        f"lora_unet_{whole.replace('.', '_')}.{key}": value for key, value in (("lokr_w1", first), ("lokr_w2", second))
    }
    save_file(file, tmp_path / "base.safetensors")
    changed = weights(fused(tmp_path / "base.safetensors", name=FUSED))
    for number, part in enumerate("qkv"):
        expected = before[by_part[part]] + first[number] * second
        torch.testing.assert_close(changed[by_part[part]], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("multiplier", [0.5, -1.0])
def test_a_multiplier_scales_the_update(tmp_path, multiplier):
    path = lora_file(tmp_path / "base.safetensors")
    plain, once, scaled = (
        weights(tiny_denoiser(PLAIN)),
        weights(fused(path)),
        weights(fused(path, multiplier=multiplier)),
    )
    for layer, before in plain.items():
        torch.testing.assert_close(scaled[layer] - before, multiplier * (once[layer] - before), rtol=1e-4, atol=1e-6)


def test_an_update_too_large_for_the_weights_is_refused(tmp_path):
    pair = {"lora_A.weight": torch.full((2, 128), 3e30), "lora_B.weight": torch.full((128, 2), 3e30)}
    save_file({f"diffusion_model.blocks.0.self_attn.q.{part}": value for part, value in pair.items()}, tmp_path / "x")
    with pytest.raises(ModelError, match=r"`blocks\.0\.self_attn\.q` are no numbers"):
        fused(tmp_path / "x")


def test_content_and_multiplier_name_the_weights(tmp_path):
    first, copy = lora_file(tmp_path / "a.safetensors"), lora_file(tmp_path / "b.safetensors")
    other = lora_file(tmp_path / "c.safetensors", seed=50)
    identities = [
        tiny_denoiser(PLAIN).identity,
        fused(first).identity,
        fused(first, multiplier=0.5).identity,
        fused(other).identity,
    ]
    assert len(set(identities)) == 4
    assert fused(copy).identity == fused(first).identity


def test_the_configuration_beside_a_file_of_peft_names_the_weights_too(tmp_path):
    pair = {"lora_A.weight": seeded(2, 4), "lora_B.weight": seeded(4, 2)}
    save_file({f"base_model.model.q.{part}": value for part, value in pair.items()}, tmp_path / "peft.safetensors")
    base = [BaseLora(tmp_path / "peft.safetensors", 1.0)]
    names = [fused_identity("model", base)]
    for alpha in (1, 2):
        (tmp_path / "adapter_config.json").write_text(json.dumps({"lora_alpha": alpha}))
        names.append(fused_identity("model", base))
    assert len(set(names)) == 3


def test_a_file_of_which_nothing_fits_is_refused_before_the_model_is_loaded(cache, tmp_path):
    path = tmp_path / "base.safetensors"
    save_file(
        {"lora_unet_other_layer.lora_down.weight": seeded(2, 4), "lora_unet_other_layer.lora_up.weight": seeded(4, 2)},
        path,
    )
    with pytest.raises(ModelError, match="nothing in this LoRA fits") as caught:
        plan_training(train_config(cache, tmp_path / "out", base_weights=[path]))
    assert str(path) in problems_of(caught.value)


def test_what_fits_no_layer_is_told(cache, tmp_path):
    path = lora_file(tmp_path / "base.safetensors")
    more = {"diffusion_model.extra.lora_A.weight": seeded(2, 4), "diffusion_model.extra.lora_B.weight": seeded(4, 2)}
    save_file({**tensors_of(path), **more}, path)
    plan = plan_training(train_config(cache, tmp_path / "out", base_weights=[path], base_weights_multiplier=[0.5]))
    (warning,) = [warning for warning in plan.warnings if "base LoRA" in warning.what]
    assert warning.what.startswith("2 tensors")
    assert "diffusion_model.extra.lora_A.weight" in warning.where
    rows = dict(plan.tables[0].rows)
    assert rows["base weights"] == f"base.safetensors, {len(trained_lora(PLAIN).layers)} layers, x 0.5"


def test_a_lora_for_another_size_is_refused(tmp_path):
    path = tmp_path / "base.safetensors"
    name = next(iter(trained_lora(PLAIN).matrices()))
    save_file(
        {f"diffusion_model.{name}.lora_A.weight": seeded(2, 7), f"diffusion_model.{name}.lora_B.weight": seeded(9, 2)},
        path,
    )
    with pytest.raises(ModelError, match=r"\(9, 7\) in this file"):
        fused(path)


def test_more_multipliers_than_files_are_refused(cache, tmp_path):
    with pytest.raises(UsageError, match="has 2 numbers, and `base_weights` 0 files"):
        plan_training(train_config(cache, tmp_path / "out", base_weights_multiplier=[1.0, 2.0]))


def test_two_experts_do_not_share_a_base_lora(cache, tmp_path):
    path = lora_file(tmp_path / "base.safetensors")
    with pytest.raises(UsageError, match="both experts"):
        plan_training(train_config(cache, tmp_path / "out", arch=TWO_EXPERTS, expert="both", base_weights=[path]))


@pytest.mark.parametrize("base", ["int8_base", "fp8_base", "nf4_base"])
def test_a_rounded_base_is_rounded_with_its_lora(cache, tmp_path, monkeypatch, with_package_of, base):
    with_package_of([base])
    path = lora_file(tmp_path / "base.safetensors")
    expected, seen = weights(fused(path)), []
    genuine = quantised.quantise
    monkeypatch.setattr(
        quantised, "quantise", lambda weight, storage: (seen.append(weight.clone()), genuine(weight, storage))[1]
    )
    run(train_config(cache, tmp_path / "out", base_weights=[path], max_train_steps=1, **{base: True}))
    assert seen
    assert all(any(torch.equal(weight, other) for other in expected.values()) for weight in seen)


def test_files_and_states_remember_the_base_weights(cache, tmp_path):
    first, other = lora_file(tmp_path / "a.safetensors"), lora_file(tmp_path / "b.safetensors", seed=50)
    options = {"base_weights": [first], "base_weights_multiplier": [0.8], "max_train_steps": 4}
    with pytest.raises(StoppedError):
        run(train_config(cache, tmp_path / "out", **options), stop_after=2)
    for others in ({**options, "base_weights": [other]}, {"max_train_steps": 4}):
        # Already in the plan, which loads no model.
        with pytest.raises(UsageError, match="made with another base model"):
            plan_training(train_config(cache, tmp_path / "out", **others))
    run(train_config(cache, tmp_path / "out", **options))
    (recorded,) = json.loads(read_metadata(tmp_path / "out" / "kyla.safetensors")["ss_base_weights"])
    assert (recorded["name"], recorded["multiplier"]) == ("a.safetensors", 0.8)


@pytest.mark.parametrize(("base", "tiny"), [("tiny-transformer-seed0", True), ("sampled-5eed", False)])
def test_a_miniature_with_base_weights_is_known_as_one(tmp_path, base, tiny):
    identity = fused_identity(base, [BaseLora(lora_file(tmp_path / "a.safetensors"), 1.0)])
    assert (identity != base, is_tiny_identity(identity)) == (True, tiny)


@pytest.mark.parametrize("rounded", [{}, {"nf4_base": True}], ids=["whole", "4 bits"])
def test_a_run_goes_on_exactly_with_its_base_weights(cache, tmp_path, with_package_of, rounded):
    with_package_of(rounded)
    path = lora_file(tmp_path / "base.safetensors")
    options = {"base_weights": [path], "max_train_steps": 4, **rounded}
    run(train_config(cache, tmp_path / "whole", **options))
    with pytest.raises(StoppedError):
        run(train_config(cache, tmp_path / "halves", **options), stop_after=2)
    run(train_config(cache, tmp_path / "halves", **options))
    run(train_config(cache, tmp_path / "plain", max_train_steps=4))
    whole, halves, plain = (tensors_of(tmp_path / name / "kyla.safetensors") for name in ("whole", "halves", "plain"))
    assert all(torch.equal(tensor, halves[key]) for key, tensor in whole.items())
    assert any(not torch.equal(tensor, plain[key]) for key, tensor in whole.items())
