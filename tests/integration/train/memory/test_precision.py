"""Adapters of a bfloat16 model compute in bfloat16; what they learn from it is as good as in float32."""

import pytest
import torch

from blissmask.cachefile.read_entry import load_entry
from blissmask.cachefile.read_headers import list_headers
from blissmask.training.data.items import make_item
from blissmask.training.data.micro_batch import collate
from blissmask.training.lora.layers.inject import inject_lora
from blissmask.training.lora.layers.lora import LoraShape, adapters_off
from blissmask.training.step.run_step import noise_batch
from tests.builders.cached_families import write_cache
from tests.builders.families import PLAIN, TASKS, family_of, tiny_denoiser

CPU = torch.device("cpu")
SHAPES = {
    "lora": LoraShape(rank=4, alpha=4.0),
    "lokr": LoraShape(rank=4, alpha=4.0, kind="lokr"),
    "loha": LoraShape(rank=4, alpha=4.0, kind="loha"),
    "dora": LoraShape(rank=4, alpha=4.0, dora=True),
}


def adapted(name, task, shape, dtype):
    """Return a miniature with adapters that are no longer zero."""
    denoiser = tiny_denoiser(name, task, expert=-1, dtype=dtype)
    lora = inject_lora(denoiser, shape, seed=0)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for _, parameter in lora.named_parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    denoiser.module.train()
    return denoiser, lora


def inputs_of(folder, name, task):
    family = family_of(name, task)
    write_cache(folder, family)
    options = {"rule": None, "prior": None, "latent": family.latent}
    batch = collate(
        [make_item(header, load_entry(header), **options) for header in list_headers(folder, family.cache_suffix)], 0
    )
    return noise_batch(batch, torch.tensor([0.3, 0.7]), seed=1, device=CPU)


def gradient(name, task, folder, *, shape, dtype, computes_in_float32=False):
    target, inputs = inputs_of(folder, name, task)
    denoiser, lora = adapted(name, task, shape, dtype)
    if computes_in_float32:
        for layer in lora.layers.values():
            layer.cast_input_dtype_enabled = True
            layer.__dict__.pop("forward", None)
    (denoiser.predict(inputs) - target).square().mean().backward()
    return torch.cat(
        [torch.zeros(p.numel()) if p.grad is None else p.grad.flatten() for _, p in lora.named_parameters()]
    )


@pytest.mark.slow
@pytest.mark.parametrize(("name", "task"), TASKS, ids=lambda value: value)
def test_the_gradient_is_as_near_to_that_of_a_float32_model_as_with_adapters_in_float32(tmp_path, name, task):
    options = {"shape": SHAPES["lora"]}
    exact = gradient(name, task, tmp_path, dtype=torch.float32, **options)
    wide = gradient(name, task, tmp_path, dtype=torch.bfloat16, computes_in_float32=True, **options)
    ours = gradient(name, task, tmp_path, dtype=torch.bfloat16, **options)
    assert not torch.equal(ours, wide)
    assert (ours - exact).norm() < 1.3 * (wide - exact).norm()


@pytest.mark.parametrize("kind", ["lora", "lokr", "loha"])
def test_what_an_adapter_keeps_of_its_input_for_the_backward_pass_is_in_bfloat16(tmp_path, kind):
    _, inputs = inputs_of(tmp_path, PLAIN, "t2v")
    denoiser, lora = adapted(PLAIN, "t2v", SHAPES[kind], torch.bfloat16)
    layer = lora.layers["blocks.0.attn1.to_q"]
    kept = []
    rows = torch.randn(2, 6, layer.get_base_layer().in_features, dtype=torch.bfloat16, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: (kept.append(tensor), tensor)[1], lambda tensor: tensor
    ):
        out = layer(rows)
    assert out.dtype == torch.bfloat16
    assert {tensor.dtype for tensor in kept if tensor.numel() == rows.numel()} <= {torch.bfloat16}
    denoiser.predict(inputs).square().mean().backward()
    assert {parameter.grad.dtype for _, parameter in lora.named_parameters() if parameter.grad is not None} == {
        torch.float32
    }
    assert {parameter.dtype for _, parameter in lora.named_parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("kind", "dtype"), [("lokr", torch.float32), ("dora", torch.bfloat16), ("lora", torch.float16)]
)
def test_adapters_that_compute_in_float32_stay_as_peft_made_them(kind, dtype):
    _, lora = adapted(PLAIN, "t2v", SHAPES[kind], dtype)
    assert all("forward" not in layer.__dict__ and layer.cast_input_dtype_enabled for layer in lora.layers.values())


def test_the_base_model_predicts_the_same_with_its_adapters_off(tmp_path):
    _, inputs = inputs_of(tmp_path, PLAIN, "t2v")
    denoiser, lora = adapted(PLAIN, "t2v", SHAPES["lora"], torch.bfloat16)
    bare = tiny_denoiser(PLAIN, dtype=torch.bfloat16)
    with adapters_off(lora):
        assert torch.equal(denoiser.predict(inputs), bare.predict(inputs))


@pytest.mark.parametrize("kind", SHAPES)
def test_adapters_that_learnt_nothing_yet_leave_a_bfloat16_model_as_it_was(tmp_path, kind):
    _, inputs = inputs_of(tmp_path, PLAIN, "t2v")
    denoiser, bare = (tiny_denoiser(PLAIN, dtype=torch.bfloat16) for _ in range(2))
    inject_lora(denoiser, SHAPES[kind], seed=0)
    assert torch.equal(denoiser.predict(inputs), bare.predict(inputs))
