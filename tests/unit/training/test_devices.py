"""Which device and which precision: one rule for networks and training."""

import pytest
import torch

from blissmask.errors import MachineError, UsageError
from blissmask.networks.torch_device import find_device, find_dtype
from blissmask.training import device as training

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")


@pytest.fixture
def gpus(monkeypatch):
    """Return a function that makes torch believe in this many CUDA devices."""

    def pretend(count):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)

    return pretend


@pytest.mark.parametrize("find", [find_device, training.find_device])
def test_auto_is_a_gpu_where_there_is_one(find, gpus):
    gpus(0)
    assert find("auto") == CPU
    gpus(1)
    assert find("auto").type == "cuda"


@pytest.mark.parametrize("find", [find_device, training.find_device])
def test_device_that_is_not_there_is_refused(find, gpus):
    gpus(1)
    with pytest.raises(MachineError, match="there is no device `cuda:1`"):
        find("cuda:1")
    with pytest.raises(UsageError, match="got gpu"):
        find("gpu")


@pytest.mark.parametrize(("local_rank", "gpu"), [("0", "cuda:0"), ("1", "cuda:1"), ("2", "cuda:0")])
def test_processes_take_the_gpus_of_their_machine_in_turn(gpus, monkeypatch, local_rank, gpu):
    gpus(2)
    monkeypatch.setenv("WORLD_SIZE", "6")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("LOCAL_RANK", local_rank)
    assert training.find_device("auto") == training.find_device("cuda") == torch.device(gpu)
    assert training.find_device("cuda:1") == torch.device("cuda:1")
    assert training.find_device("cpu") == CPU


def test_the_only_process_takes_the_gpu_that_pytorch_calls_the_current_one(gpus):
    gpus(2)
    assert training.find_device("auto") == torch.device("cuda")


@pytest.mark.parametrize(
    ("precision", "device", "expected"),
    [
        ("auto", CPU, torch.float32),
        ("auto", GPU, torch.float16),
        ("bfloat16", GPU, torch.bfloat16),
        ("float16", CPU, torch.float16),
    ],
)
def test_precision_is_what_was_named_else_what_suits_the_device(precision, device, expected):
    assert find_dtype(precision, device, on_gpu="float16") is expected


def test_denoiser_is_bfloat16_on_a_gpu_unless_named():
    assert training.denoiser_dtype(None, GPU) is torch.bfloat16
    assert training.denoiser_dtype(None, CPU) is torch.float32
    assert training.denoiser_dtype("float32", GPU) is torch.float32
