"""The device that training runs on, the precision that suits it, the memory that is free, and how tensors get there."""

from __future__ import annotations

import gc
from typing import Literal

import torch
from torch import Tensor

from blissmask.free_memory import free_cpu_memory
from blissmask.networks import torch_device
from blissmask.processes import this_process

_CPU_WORDS = "can't allocate memory"
"""What PyTorch says, as a plain RuntimeError, when the memory of the machine itself is full."""


def find_device(name: str) -> torch.device:
    """Return the device called ``name``; ``auto`` takes a GPU when there is one, several processes one each.

    Raises:
        UsageError: no such name.
        MachineError: the device is not there.
    """
    gpu_count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return torch_device.find_device(this_process().own_device(name, gpu_count=gpu_count))


def denoiser_dtype(name: Literal["float32", "bfloat16"] | None, device: torch.device) -> torch.dtype:
    """Return the precision of the frozen denoiser: as named, else bfloat16 on a GPU and float32 on a CPU."""
    return torch_device.find_dtype(name or "auto", device, on_gpu="bfloat16")


def free_memory(device: torch.device) -> int:
    """Return how many bytes are free on ``device`` now."""
    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else free_cpu_memory()


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether ``error`` is that of an allocation that failed, on a GPU or in the machine's own memory."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and _CPU_WORDS in str(error)
    )


def release_memory(device: torch.device) -> None:
    """Give back what nobody holds any more: Python's circles, and on a GPU the blocks that PyTorch keeps for later."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def pins(device: torch.device) -> bool:
    """Return whether ``device`` copies from page-locked memory while the host computes."""
    return device.type == "cuda"


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Return ``tensor`` on ``device`` without waiting for what the device still has to do.

    A copy from ordinary memory begins once the GPU has done all that it was given. The host waits for it, and the GPU
    then has nothing to go on with.
    """
    if tensor.device.type == "cpu" and pins(device):
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
