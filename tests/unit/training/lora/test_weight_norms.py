"""The size of a LoRA update, and its limit."""

import pytest
import torch
from torch import nn

from blissmask.training.lora.layers.inject import inject_lora
from blissmask.training.lora.layers.lora import ADAPTER, LoraShape
from blissmask.training.lora.layers.norm_limit import limit_norms
from blissmask.training.lora.norms import product_norm
from tests.builders.training import seeded


class TwoLayers:
    lora_targets = r"\d"
    block_class_names = ()
    identity = "toy"

    def __init__(self):
        self.module = nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 8))

    def original_name(self, module_name):
        return module_name


@pytest.fixture
def lora():
    """Return a LoRA whose first update is of norm 4 and whose second is of norm 0.25."""
    made = inject_lora(TwoLayers(), LoraShape(rank=2, alpha=1.0), seed=0)
    for number, ((_, layer), norm) in enumerate(zip(sorted(made.layers.items()), (4.0, 0.25), strict=True)):
        layer.lora_A[ADAPTER].weight.data = seeded(*layer.lora_A[ADAPTER].weight.shape, seed=number)
        layer.lora_B[ADAPTER].weight.data = seeded(*layer.lora_B[ADAPTER].weight.shape, seed=10 + number)
        layer.lora_B[ADAPTER].weight.data *= norm / update(made, number).norm()
    return made


def update(lora, number):
    a, b = lora.matrices()[str(number)]
    return lora.shape.scaling * b @ a


def test_the_norm_of_the_product_is_found_without_the_product():
    a, b = seeded(3, 50, seed=1), seeded(40, 3, seed=2)
    assert product_norm(a, b).item() == pytest.approx((b @ a).norm().item(), rel=1e-5)


def test_an_update_that_is_too_large_shrinks_to_the_limit_and_keeps_its_direction(lora):
    before = update(lora, 0)
    limit_norms(lora, 1.0)
    assert update(lora, 0).norm().item() == pytest.approx(1.0, rel=1e-5)
    assert torch.allclose(update(lora, 0), before / 4, atol=1e-6)


def test_both_matrices_shrink_alike(lora):
    before = [matrix.norm().item() for matrix in lora.matrices()["0"]]
    limit_norms(lora, 1.0)
    assert [matrix.norm().item() for matrix in lora.matrices()["0"]] == pytest.approx([norm / 2 for norm in before])


def test_an_update_below_the_limit_keeps_every_bit(lora):
    before = [matrix.clone() for matrix in lora.matrices()["1"]]
    limit_norms(lora, 1.0)
    assert all(torch.equal(now, then) for now, then in zip(lora.matrices()["1"], before, strict=True))


def test_the_numbers_are_of_the_updates_as_they_are_afterwards(lora):
    numbers = {name: value.item() for name, value in limit_norms(lora, 1.0).items()}
    assert numbers == pytest.approx({"norm/mean": (1.0 + 0.25) / 2, "norm/max": 1.0, "norm/limited": 1})


def test_a_lora_that_has_not_moved_yet_stays_zero_and_finite():
    fresh = inject_lora(TwoLayers(), LoraShape(rank=2, alpha=1.0), seed=0)
    numbers = limit_norms(fresh, 1.0)
    assert numbers["norm/max"] == 0
    assert all(torch.isfinite(parameter).all() for _, parameter in fresh.named_parameters())
