"""Frozen weights in 8 and 4 bits: how far they are off, what trains, and what the backward pass keeps."""

import pytest
import torch
from torch import nn

from blissmask.errors import ModelError
from blissmask.training.lora.layers.inject import inject_lora
from blissmask.training.lora.layers.lora import LoraShape
from blissmask.training.memory.quantised import (
    FLOAT8,
    INT8,
    NF4,
    QuantisedLinear,
    dequantise,
    quantise,
    quantise_blocks,
)
from tests.builders.training import seeded

CPU = torch.device("cpu")


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.adapted, self.other = nn.Linear(8, 8), nn.Sequential(nn.Linear(8, 8))

    def forward(self, x):
        return self.other(self.adapted(x))


class Toy:
    lora_targets = r"blocks\.\d\.adapted"
    block_class_names = ("Block",)
    identity = "toy"

    def __init__(self):
        self.module = nn.Sequential()
        self.module.blocks = nn.Sequential(Block(), Block())
        self.module.head = nn.Linear(8, 8)

    def original_name(self, module_name):
        return module_name


@pytest.mark.parametrize("size", [1e-3, 0.02, 300.0])
def test_int8_is_off_by_half_a_level_at_most_and_float8_by_a_sixteenth(size):
    weight = seeded(64, 32) * size
    stored, scale = quantise(weight, INT8)
    assert (stored.dtype, scale.shape) == (torch.int8, (64, 1))
    assert ((dequantise(stored, scale) - weight).abs() <= scale * 0.501).all()
    stored, scale = quantise(weight, FLOAT8)
    # Three bits of mantissa, or half of the smallest number's step.
    assert ((dequantise(stored, scale) - weight).abs() <= (weight.abs() / 16).maximum(scale * 2**-10) * 1.001).all()


@pytest.mark.parametrize("storage", [INT8, FLOAT8])
def test_bfloat16_weights_lose_nothing_to_the_rounding_of_their_scale(storage):
    weight = (seeded(256, 64) * 0.02).bfloat16()
    kept, own = dequantise(*quantise(weight, storage)), dequantise(*quantise(weight.float(), storage))
    error, least = (kept.float() - weight.float()).norm(), (own - weight.float()).norm()
    assert error < 1.1 * least


@pytest.mark.parametrize("shape", [(64, 96), (3, 34)], ids=["blocks across outputs", "a last block that is not full"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nf4_is_off_by_half_the_gap_of_its_levels_at_most(with_package_of, shape, dtype):
    with_package_of(["nf4_base"])
    weight = (seeded(*shape) * 0.02).to(dtype)
    stored, scale = quantise(weight, NF4)
    kept = dequantise(stored, scale)
    assert (stored.shape, stored.dtype, kept.shape, kept.dtype) == ((shape[0], shape[1] // 2), NF4, shape, dtype)
    blocks = zip((kept - weight).flatten().float().split(64), weight.flatten().float().split(64), strict=True)
    # The widest gap is that of the lowest two levels, -1 and -0.6962.
    assert all(off.abs().max() <= 0.153 * block.abs().max() for off, block in blocks)
    # Of normal weights: QLoRA's levels are their quantiles.
    assert shape != (64, 96) or (kept - weight).norm() < 0.1 * weight.norm()


@pytest.mark.parametrize("storage", [INT8, FLOAT8])
def test_outputs_without_weights_stay_zero_and_the_largest_weight_stays_finite(storage):
    weight = torch.stack([torch.zeros(4), torch.tensor([1e30, -1e30, 0.0, 0.0])])
    kept = dequantise(*quantise(weight, storage))
    assert torch.equal(kept[0], torch.zeros(4))
    assert torch.allclose(kept[1], weight[1], rtol=1e-3)


def test_the_layer_computes_with_the_rounded_weight_forwards_and_backwards():
    linear, inputs = nn.Linear(8, 4), seeded(3, 8).requires_grad_()
    layer = QuantisedLinear(linear, INT8)
    result = layer(inputs)
    result.sum().backward()
    assert torch.equal(result, nn.functional.linear(inputs, layer.weight, linear.bias))
    assert torch.equal(inputs.grad, torch.ones(3, 4) @ layer.weight)
    assert all(parameter.grad is None for name, parameter in layer.named_parameters() if name != "bias")


@pytest.mark.parametrize("storage", [INT8, FLOAT8])
def test_between_the_passes_a_weight_is_kept_in_8_bits_only(storage):
    layer = QuantisedLinear(nn.Linear(64, 64).requires_grad_(False), storage)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor) or tensor, lambda tensor: tensor):
        layer(seeded(2, 64).requires_grad_())
    assert sorted(tensor.numel() * tensor.element_size() for tensor in saved) == [64 * 4, 64 * 64]


def test_nf4_computes_with_the_rounded_weight_and_keeps_4_bits_between_the_passes(with_package_of):
    with_package_of(["nf4_base"])
    layer, inputs = QuantisedLinear(nn.Linear(64, 64).requires_grad_(False), NF4), seeded(2, 64).requires_grad_()
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor) or tensor, lambda tensor: tensor):
        result = layer(inputs)
    assert sorted(tensor.numel() * tensor.element_size() for tensor in saved) == [64 * 4, 64 * 64 // 2]
    result.sum().backward()
    assert torch.equal(result, nn.functional.linear(inputs, layer.weight, layer.bias))
    assert torch.equal(inputs.grad, torch.ones(2, 64) @ layer.weight)


def test_a_layer_whose_weights_do_not_pair_up_stays_whole_in_nf4(with_package_of):
    with_package_of(["nf4_base"])
    toy = Toy()
    toy.module.blocks[0].other[0] = nn.Linear(7, 8)
    quantise_blocks(toy, NF4, device=CPU)
    assert type(toy.module.blocks[0].other[0]) is nn.Linear
    assert type(toy.module.blocks[1].other[0]) is QuantisedLinear


def test_only_the_frozen_layers_of_the_blocks_are_rounded_and_only_the_lora_trains():
    toy = Toy()
    lora = inject_lora(toy, LoraShape(rank=2, alpha=2.0), seed=0)
    quantise_blocks(toy, INT8, device=CPU)
    kinds = {name: type(module) for name, module in toy.module.named_modules()}
    rounded = {name for name, kind in kinds.items() if kind is QuantisedLinear}
    assert rounded == {f"blocks.{n}.{name}" for n in range(2) for name in ("adapted.base_layer", "other.0")}
    assert kinds["head"] is kinds["blocks.0.adapted.lora_A.default"] is nn.Linear
    toy.module.blocks(seeded(3, 8)).sum().backward()
    trained = {name for name, parameter in toy.module.named_parameters() if parameter.grad is not None}
    assert trained == {name for name, _ in lora.named_parameters()}


@pytest.mark.parametrize("storage", [INT8, FLOAT8, NF4])
def test_a_weight_that_is_not_finite_is_named_and_not_rounded_to_something(with_package_of, storage):
    with_package_of(["nf4_base"] if storage == NF4 else [])
    toy = Toy()
    with torch.no_grad():
        toy.module.blocks[1].other[0].weight[2, 3] = float("nan")
    with pytest.raises(ModelError, match=r"`blocks\.1\.other\.0\.weight` holds NaN or infinity"):
        quantise_blocks(toy, storage, device=CPU)
