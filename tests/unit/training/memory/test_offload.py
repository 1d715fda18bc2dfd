"""A denoiser goes to its device and back to rest; what is frozen is copied one way."""

import pytest
import torch
from torch import nn

from blissmask.training.memory.offload import move_weights

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def module():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).requires_grad_(False)


class Devices:
    """Stands for a machine with a GPU: its memory is ordinary memory that is marked."""

    def __init__(self):
        self.copies = []
        self._on_gpu = {}

    def to(self, tensor, device):
        if (device.type == "cuda") == self.has(tensor):
            return tensor
        self.copies.append((device.type, tensor.numel()))
        copy = tensor.clone()
        if device.type == "cuda":
            self._on_gpu[copy.data_ptr()] = copy
        return copy

    def has(self, tensor):
        return tensor.data_ptr() in self._on_gpu


@pytest.fixture
def devices(monkeypatch):
    made = Devices()
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, device: made.to(tensor, device))
    return made


def test_frozen_weights_come_back_to_rest_without_a_copy(module, devices):
    cpu_weights, before = (
        {},
        {name: (parameter.data_ptr(), parameter.detach().clone()) for name, parameter in module.named_parameters()},
    )
    for device in (CPU, GPU, CPU, GPU):
        move_weights(module, device, cpu_weights)
        assert all(devices.has(parameter) == (device == GPU) for parameter in module.parameters())
    move_weights(module, CPU, cpu_weights)
    assert {name: parameter.data_ptr() for name, parameter in module.named_parameters()} == {
        name: at for name, (at, _) in before.items()
    }
    assert all(torch.equal(parameter, before[name][1]) for name, parameter in module.named_parameters())
    weights = 12 + 4 + 4 + 4
    assert sum(count for device, count in devices.copies if device == "cuda") == 2 * (weights + 9)
    assert sum(count for device, count in devices.copies if device == "cpu") == 2 * 9


def test_what_is_trained_travels_both_ways(module, devices):
    module[0].requires_grad_()
    cpu_weights = {}
    move_weights(module, CPU, cpu_weights)
    move_weights(module, GPU, cpu_weights)
    with torch.no_grad():
        module[0].weight.add_(1.0)
    trained = module[0].weight.detach().clone()
    move_weights(module, CPU, cpu_weights)
    assert torch.equal(module[0].weight, trained)
    assert not devices.has(module[0].weight)
    assert sorted(cpu_weights) == ["1.bias", "1.weight"]


def test_a_denoiser_that_never_rests_keeps_nothing_in_cpu_memory(module, devices):
    cpu_weights = {}
    move_weights(module, GPU, cpu_weights)
    assert cpu_weights == {}


def test_parameters_put_aside_stay_where_they_are(module, devices):
    move_weights(module, GPU, {}, aside={id(module[0].weight)})
    assert not devices.has(module[0].weight)
    assert devices.has(module[0].bias)
