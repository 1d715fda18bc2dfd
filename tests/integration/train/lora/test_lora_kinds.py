"""LoKr and LoHa: trained by the same loop, written in the names of LyCORIS, and back exactly."""

import pytest
import torch

from blissmask.cachefile.read_file import read_tensors
from blissmask.errors import ModelError, StoppedError, UsageError
from blissmask.tasks.train.plan import plan as plan_training
from blissmask.training.lora.file import load_lora
from blissmask.training.lora.layers.inject import inject_lora
from blissmask.training.lora.layers.lora import ADAPTER, LoraShape
from tests.builders.families import PLAIN, tiny_denoiser
from tests.builders.lora_file import save_lora
from tests.builders.training import run, seeded, train_config


def inject(kind, *, seed=0, alpha=1.0, rank=2):
    return inject_lora(tiny_denoiser(PLAIN), LoraShape(rank=rank, alpha=alpha, kind=kind), seed=seed)


def updates(lora):
    return {name: layer.get_delta_weight(ADAPTER).detach() for name, layer in lora.layers.items()}


def lycoris_update(tensors, name):
    """Return what LyCORIS adds to a weight, written out from its formula."""

    def of(part):
        return tensors.get(f"diffusion_model.{name}.{part}")

    if of("hada_w1_a") is not None:
        scale = of("alpha") / of("hada_w1_b").shape[0]
        return scale * (of("hada_w1_a") @ of("hada_w1_b")) * (of("hada_w2_a") @ of("hada_w2_b"))
    first = of("lokr_w1") if of("lokr_w1") is not None else of("lokr_w1_a") @ of("lokr_w1_b")
    whole = of("lokr_w2")
    scale = 1.0 if whole is not None else of("alpha") / of("lokr_w2_b").shape[0]
    return scale * torch.kron(first, whole if whole is not None else of("lokr_w2_a") @ of("lokr_w2_b"))


@pytest.mark.parametrize("file_format", ["native", "kohya"])
@pytest.mark.parametrize("kind", ["lokr", "loha"])
def test_a_file_comes_back_exactly_and_means_what_lycoris_reads(tmp_path, kind, file_format):
    lora = inject(kind)
    for number, (_, parameter) in enumerate(lora.named_parameters()):
        parameter.data = seeded(*parameter.shape, seed=number)
    path = tmp_path / "kyla.safetensors"
    save_lora(path, lora, {}, file_format=file_format)
    fresh = inject(kind, seed=1)
    load_lora(path, fresh)
    expected, loaded = updates(lora), updates(fresh)
    assert all(torch.equal(expected[name], loaded[name]) for name in expected)
    if file_format == "native":
        theirs = lycoris_update(read_tensors(path), "blocks.0.self_attn.q")
        assert torch.allclose(theirs, expected["blocks.0.attn1.to_q"], atol=1e-5)


def test_a_lokr_means_the_same_to_the_diffusers_model(tmp_path):
    lora = inject("lokr")
    for number, (_, parameter) in enumerate(lora.named_parameters()):
        parameter.data = seeded(*parameter.shape, seed=number) * 0.1
    save_lora(tmp_path / "kyla.safetensors", lora, {})
    # diffusers' pipelines read the factors of other families only; its models read them of any, by module name.
    stored = {
        key.removeprefix("diffusion_model."): value
        for key, value in read_tensors(tmp_path / "kyla.safetensors").items()
    }
    split = {
        (name.rpartition(".")[0], name.rpartition(".")[2]): value
        for name, value in stored.items()
        if not name.endswith(".alpha")
    }
    theirs = tiny_denoiser(PLAIN)
    theirs.module.load_lora_adapter(
        {f"{lora.modules()[name]}.{part}": value for (name, part), value in split.items()}, prefix=None
    )
    loaded = {name: layer for name, layer in theirs.module.named_modules() if hasattr(layer, "lokr_w1")}
    expected = updates(lora)
    assert loaded.keys() == expected.keys()
    for name, layer in loaded.items():
        (adapter,) = layer.active_adapters
        assert torch.allclose(layer.get_delta_weight(adapter), expected[name], atol=1e-6)


@pytest.mark.parametrize(("rank", "scale"), [(999, 1.0), (2, 1.0 / 2)])
def test_alpha_has_no_effect_where_both_factors_are_whole_as_in_lycoris(tmp_path, rank, scale):
    lora = inject("lokr", rank=rank)
    for number, (_, parameter) in enumerate(lora.named_parameters()):
        parameter.data = seeded(*parameter.shape, seed=number)
    name = next(name for name in lora.layers if name.endswith("attn1.to_q"))
    layer = lora.layers[name]
    second = layer.lokr_w2[ADAPTER] if rank == 999 else layer.lokr_w2_a[ADAPTER] @ layer.lokr_w2_b[ADAPTER]
    expected = scale * torch.kron(layer.lokr_w1[ADAPTER], second.contiguous())
    torch.testing.assert_close(layer.get_delta_weight(ADAPTER), expected)
    save_lora(tmp_path / "kyla.safetensors", lora, {})
    theirs = lycoris_update(read_tensors(tmp_path / "kyla.safetensors"), lora.original_name(name))
    torch.testing.assert_close(theirs, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["lokr", "loha"])
def test_training_moves_it_and_a_stopped_run_ends_with_the_same_weights(cache, tmp_path, kind):
    options = {"network_type": kind, "use_mask_loss": True, "prior_preservation_weight": 0.5, "max_train_steps": 4}
    run(train_config(cache, tmp_path / "whole", **options))
    with pytest.raises(StoppedError):
        run(train_config(cache, tmp_path / "parts", **options), stop_after=2)
    run(train_config(cache, tmp_path / "parts", **options))
    whole, parts = (read_tensors(tmp_path / name / "kyla.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    started_at_zero = [value for key, value in whole.items() if key.endswith(("lokr_w1", "hada_w2_b"))]
    assert started_at_zero
    assert all(value.abs().max() > 0 for value in started_at_zero)


def test_a_file_of_another_kind_or_rank_is_refused_by_what_it_holds(tmp_path):
    save_lora(tmp_path / "loha.safetensors", inject("loha"), {})
    with pytest.raises(ModelError, match=r"holds hada_w1_a .* needs lokr_w1"):
        load_lora(tmp_path / "loha.safetensors", inject("lokr"))
    with pytest.raises(ModelError, match=r"holds hada_w1_a \(128, 2\).* needs hada_w1_a \(128, 4\)"):
        load_lora(tmp_path / "loha.safetensors", inject("loha", rank=4))


@pytest.mark.parametrize(
    "options",
    [
        {"use_dora": True},
        {"network_dropout": 0.1},
        {"lora_format": "diffusers"},
        {"loraplus_lr_ratio": 4.0},
        {"scale_weight_norms": 1.0},
    ],
)
def test_options_that_only_lora_has_are_refused_by_name(cache, tmp_path, options):
    with pytest.raises(UsageError, match=next(iter(options))):
        plan_training(train_config(cache, tmp_path / "out", network_type="lokr", **options))
