"""LoRA files as peft itself saves them: keys begin with `base_model.model.`, alpha stands in a file beside them."""

import json

import pytest
import torch
from peft import LoKrConfig, LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from blissmask.cachefile.read_file import read_metadata
from blissmask.errors import ModelError
from blissmask.tasks.run.plan import Action
from blissmask.training.lora.file import read_lora
from blissmask.training.lora.formats import split_key
from blissmask.training.lora.names import layer_names
from blissmask.training.lora.peft_files import alpha_warnings
from tests.builders.families import PLAIN, family_of, tiny_denoiser
from tests.builders.lora_conversion import convert
from tests.builders.training import seeded, tensors_of

FILE, CONFIG = "adapter_model.safetensors", "adapter_config.json"
FIRST = "base_model.model.blocks.0.attn1.to_q"


@pytest.fixture
def saved(tmp_path):
    """Return what saves a LoRA of rank 2 with peft, and the update of the first layer of the model that it changes."""

    def save(**options):
        module = tiny_denoiser(PLAIN).module
        model = get_peft_model(module, LoraConfig(r=2, target_modules=["to_q", "to_k"], **options))
        for number, (name, parameter) in enumerate(model.named_parameters()):
            if "lora_" in name:
                parameter.data = seeded(*parameter.shape, seed=number)
        model.save_pretrained(tmp_path / "peft")
        layer = model.get_submodule(FIRST)
        return tmp_path / "peft" / FILE, layer.get_delta_weight("default").detach()

    return save


def update_of(path, name="diffusion_model.blocks.0.self_attn.q"):
    tensors = tensors_of(path)
    a, b = tensors[f"{name}.lora_A.weight"], tensors[f"{name}.lora_B.weight"]
    return b @ a * tensors.get(f"{name}.alpha", torch.tensor(2.0)) / a.shape[0]


@pytest.mark.parametrize(
    "options",
    [
        {"lora_alpha": 3},
        {"lora_alpha": 3, "use_rslora": True},
        {"lora_alpha": 3, "alpha_pattern": {"blocks.0.attn1.to_q": 5}},
        {"lora_alpha": 3, "alpha_pattern": {"to_k": 5}},
    ],
)
def test_the_update_is_the_one_that_peft_computes(tmp_path, saved, options):
    path, update = saved(**options)
    plan, _ = convert(path, "native", tmp_path / "kyla.safetensors", arch=PLAIN)
    assert plan.warnings == []
    torch.testing.assert_close(update_of(tmp_path / "kyla.safetensors"), update)


def test_without_the_configuration_alpha_is_the_rank_and_that_is_told(tmp_path, saved):
    path, update = saved(lora_alpha=3)
    config = path.with_name(CONFIG).rename(tmp_path / CONFIG)
    output = tmp_path / "kyla.safetensors"
    [told] = convert(path, "native", output, arch=PLAIN)[0].warnings
    assert told.what.startswith("alpha is taken as the rank, a scale of 1")
    assert told.where == (str(path),)
    torch.testing.assert_close(update_of(output), update * 2 / 3)
    # Whoever does what the warning says need not force anything: the file is made of something else now.
    config.rename(path.with_name(CONFIG))
    plan, _ = convert(path, "native", output, arch=PLAIN)
    assert [item.action for item in plan.items] == [Action.WRITE]
    torch.testing.assert_close(update_of(output), update)
    assert [item.action for item in convert(path, "native", output, arch=PLAIN)[0].items] == [Action.SKIP]


@pytest.mark.parametrize(
    ("begins", "metadata"),
    [
        ("transformer.", {"transformer.lora_alpha": 3, "transformer.r": 2, "text_encoder.lora_alpha": 9}),
        ("transformer.", {"transformer.lora_alpha": 9, "transformer.alpha_pattern": {"^blocks.0.attn1.to_q": 3}}),
        ("", {"lora_alpha": 3}),
    ],
)
def test_the_alpha_that_diffusers_writes_into_the_metadata_counts(tmp_path, saved, begins, metadata):
    path, update = saved(lora_alpha=3)
    tensors = {key.replace("base_model.model.", begins): tensor for key, tensor in load_file(path).items()}
    save_file(tensors, tmp_path / "theirs.safetensors", {"lora_adapter_metadata": json.dumps(metadata)})
    output = tmp_path / "kyla.safetensors"
    convert(tmp_path / "theirs.safetensors", "native", output, arch=PLAIN)
    torch.testing.assert_close(update_of(output), update)
    # It is in B by now, so that a reader of the metadata would apply it twice.
    assert "lora_adapter_metadata" not in read_metadata(output)


@pytest.mark.parametrize("text", ["{", "[]", '{"transformer.r": 2}', "[" * 100_000, " " * 2**21])
def test_odd_metadata_of_diffusers_is_named(tmp_path, text):
    path = tmp_path / FILE
    tensors = {"lora_A.weight": torch.ones(2, 4), "lora_B.weight": torch.ones(4, 2)}
    save_file(
        {f"transformer.q.{part}": value for part, value in tensors.items()}, path, {"lora_adapter_metadata": text}
    )
    with pytest.raises(ModelError, match="peft's configuration") as caught:
        read_lora(path)
    assert caught.value.problems[0].where == (str(path), "`lora_adapter_metadata` in its metadata")


def test_a_model_of_the_original_repository_that_peft_trained_has_its_names(tmp_path, saved):
    path, update = saved(lora_alpha=3)
    names = {module: original for original, module in layer_names(family_of(PLAIN), block_count=4).modules.items()}
    tensors = {}
    for key, tensor in load_file(path).items():
        module, part = split_key(key.removeprefix("base_model.model."))
        tensors[f"base_model.model.{names[module]}.{part}"] = tensor
    save_file(tensors, path)
    for file_format in ("native", "diffusers"):
        convert(path, file_format, tmp_path / f"{file_format}.safetensors", arch=PLAIN)
    torch.testing.assert_close(update_of(tmp_path / "native.safetensors"), update)
    torch.testing.assert_close(update_of(tmp_path / "diffusers.safetensors", "transformer.blocks.0.attn1.to_q"), update)


def test_names_of_adapters_and_norms_are_read_too(tmp_path, saved):
    path, _ = saved(lora_alpha=3, use_dora=True)
    plain = read_lora(path)
    assert any(key == "transformer.blocks.0.attn1.to_q.lora_magnitude_vector" for key in plain)
    named = {}
    for key, tensor in load_file(path).items():
        named[
            key.replace("lora_magnitude_vector", "lora_magnitude_vector.weight").replace(".weight", ".kyla.weight")
        ] = tensor
    save_file(named, path)
    again = read_lora(path)
    assert again.keys() == plain.keys()
    assert all(torch.equal(tensor, plain[key]) for key, tensor in again.items())


def test_diffusers_files_of_it_are_another_spelling_and_not_refused(tmp_path, saved):
    path, _ = saved(lora_alpha=3)
    convert(path, "diffusers", tmp_path / "kyla.safetensors", arch=PLAIN)
    assert "transformer.blocks.0.attn1.to_q.lora_A.weight" in tensors_of(tmp_path / "kyla.safetensors")


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "is no JSON object"),
        ("{}", "no `lora_alpha` above 0"),
        ('{"lora_alpha": true}', "no `lora_alpha` above 0"),
        ('{"lora_alpha": NaN}', "no `lora_alpha` above 0"),
        (f'{{"lora_alpha": 1{"0" * 400}}}', "no `lora_alpha` above 0"),
        ('{"lora_alpha": 1, "alpha_pattern": {"(a+)+$": 1}}', "`alpha_pattern` must hold names"),
    ],
)
def test_a_configuration_that_says_no_alpha_is_named(tmp_path, config, told):
    path = tmp_path / FILE
    save_file({f"{FIRST}.lora_A.weight": torch.ones(2, 4), f"{FIRST}.lora_B.weight": torch.ones(4, 2)}, path)
    path.with_name(CONFIG).write_text(config)
    with pytest.raises(ModelError, match=told) as caught:
        read_lora(path)
    assert caught.value.problems[0].where == (str(tmp_path / CONFIG),)


def test_factors_of_peft_are_refused_for_what_they_are(tmp_path):
    save_file({f"{FIRST}.lokr_w1": torch.ones(2, 2), f"{FIRST}.lokr_w2": torch.ones(2, 2)}, tmp_path / FILE)
    with pytest.raises(ModelError, match="peft's spelling of LoKr or LoHa"):
        read_lora(tmp_path / FILE)


def test_factors_that_diffusers_saves_have_their_scale_in_the_metadata_and_are_refused(tmp_path):
    module = tiny_denoiser(PLAIN).module
    module.add_adapter(LoKrConfig(r=4, alpha=16, target_modules=["blocks.0.attn1.to_q"], init_weights=False))
    module.save_lora_adapter(tmp_path, weight_name=FILE)
    with pytest.raises(ModelError, match="peft's spelling of LoKr or LoHa"):
        read_lora(tmp_path / FILE)


def test_files_of_others_have_no_warning(tmp_path):
    save_file({"transformer.blocks.0.attn1.to_q.lora_A.weight": torch.ones(2, 4)}, tmp_path / FILE)
    assert alpha_warnings([tmp_path / FILE]) == []
