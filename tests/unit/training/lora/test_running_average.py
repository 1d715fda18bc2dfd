"""The running average of a LoRA: its rule, and that it never touches what is trained."""

import pytest
import torch
from torch import nn

from blissmask.training.lora.layers.inject import inject_lora
from blissmask.training.lora.layers.lora import LoraShape
from blissmask.training.lora.running_average import RunningAverage


class OneLayer:
    lora_targets = r"0"
    block_class_names = ()
    identity = "toy"

    def __init__(self):
        self.module = nn.Sequential(nn.Linear(4, 3))

    def original_name(self, module_name):
        return module_name


@pytest.fixture
def lora():
    return inject_lora(OneLayer(), LoraShape(rank=2, alpha=2.0), seed=0)


def set_all(lora, value):
    with torch.no_grad():
        for _, parameter in lora.named_parameters():
            parameter.fill_(value)


def test_the_first_steps_count_by_their_number_and_later_ones_by_the_decay(lora):
    set_all(lora, 0.0)
    average = RunningAverage(lora, 0.2)
    expected = 0.0
    # (1 + 1) / (10 + 1) = 0.18 is below the decay, (1 + 2) / (10 + 2) = 0.25 above it.
    for value, share in ((1.0, 2 / 11), (3.0, 0.2), (5.0, 0.2)):
        set_all(lora, value)
        average.update()
        expected = share * expected + (1 - share) * value
    for averaged in average.tensors().values():
        assert torch.allclose(averaged, torch.full_like(averaged, expected), rtol=1e-6)
    assert average.updates == 3


def test_the_lora_is_the_average_in_place_and_itself_again_afterwards(lora):
    set_all(lora, 1.0)
    average = RunningAverage(lora, 0.9)
    set_all(lora, 2.0)
    kept = [(parameter, parameter.data_ptr()) for _, parameter in lora.named_parameters()]
    with average.in_place():
        assert all(bool((parameter == 1.0).all()) for _, parameter in lora.named_parameters())
    assert all(bool((parameter == 2.0).all()) for _, parameter in lora.named_parameters())
    # The optimiser knows the parameters by identity; their memory is the same, too.
    assert [(parameter, parameter.data_ptr()) for _, parameter in lora.named_parameters()] == kept


def test_an_error_in_place_leaves_the_lora_as_it_was(lora):
    set_all(lora, 1.0)
    average = RunningAverage(lora, 0.9)
    set_all(lora, 2.0)
    with pytest.raises(ValueError, match="inside"), average.in_place():
        raise ValueError("inside")
    assert all(bool((parameter == 2.0).all()) for _, parameter in lora.named_parameters())


def test_it_begins_anew_with_the_weights_of_now(lora):
    average = RunningAverage(lora, 0.5)
    set_all(lora, 4.0)
    average.update()
    average.restart()
    assert average.updates == 0
    assert all(bool((averaged == 4.0).all()) for averaged in average.tensors().values())
