"""The forward pass of a LoRA layer computes what peft's own computes, in the precision of its model."""

import pytest
import torch
from torch import nn

from blissmask.training.lora.layers.inject import inject_lora
from blissmask.training.lora.layers.lora import LoraShape, adapters_off
from blissmask.training.memory.quantised import INT8, quantise_blocks

ROWS = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(1))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 6)

    def forward(self, x):
        return self.linear(x)


class Toy:
    lora_targets = r"block\.linear"
    block_class_names = ("Block",)
    identity = "toy"

    def __init__(self, dtype):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.module = nn.ModuleDict({"block": Block()}).to(dtype)

    def original_name(self, module_name):
        return module_name


def adapted(dtype=torch.float32, *, storage=None, **shape):
    """Return a block, its LoRA with B that is not zero, and its one layer."""
    toy = Toy(dtype)
    lora = inject_lora(toy, LoraShape(**{"rank": 3, "alpha": 2.0, **shape}), seed=0)
    layer = lora.layers["block.linear"]
    nn.init.normal_(layer.lora_B["default"].weight, generator=torch.Generator().manual_seed(2))
    if storage is not None:
        quantise_blocks(toy, storage, device=torch.device("cpu"))
    return toy.module["block"], lora, layer


def everything(layer, forward, rows):
    """Return the output of ``forward`` and the gradients of inputs, A and B."""
    rows = rows.clone().requires_grad_()
    torch.manual_seed(3)
    out = forward(rows)
    weights = [layer.lora_A["default"].weight, layer.lora_B["default"].weight]
    return [out, *torch.autograd.grad(out.float().square().sum(), [rows, *weights])]


@pytest.mark.parametrize("storage", [None, INT8], ids=["whole", "int8"])
@pytest.mark.parametrize("shape", [{}, {"dropout": 0.5}, {"rank_stabilised": True}], ids=["plain", "dropout", "rs"])
def test_output_and_gradients_are_those_of_peft(shape, storage):
    _, _, layer = adapted(storage=storage, **shape)
    layer.train()
    ours = everything(layer, layer.forward, ROWS)
    # Dropout draws for the rows in their shape; the same numbers in the same order.
    theirs = everything(layer, lambda rows: type(layer).forward(layer, rows), ROWS)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-6)


def test_a_bfloat16_layer_is_as_near_to_float32_as_its_rounding():
    wide, narrow = adapted()[2], adapted(torch.bfloat16)[2]
    exact = everything(wide, wide.forward, ROWS)
    rounded = everything(narrow, narrow.forward, ROWS.bfloat16())
    assert [tensor.dtype for tensor in rounded] == [torch.bfloat16, torch.bfloat16, torch.float32, torch.float32]
    for one, other in zip(rounded, exact, strict=True):
        assert (one.float() - other).norm() < 0.02 * other.norm()


def test_without_its_adapter_a_layer_is_the_frozen_one_and_its_inputs_stay_as_they_are():
    block, lora, layer = adapted()
    frozen, rows = layer.get_base_layer()(ROWS), ROWS.clone()
    with adapters_off(lora):
        assert torch.equal(block(rows), frozen)
    assert not torch.equal(block(rows), frozen)
    assert torch.equal(rows, ROWS)
