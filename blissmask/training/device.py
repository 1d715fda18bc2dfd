"""The device that training runs on, the precision that suits it, and the memory that is free."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import torch

from blissmask.config.network import Precision
from blissmask.networks import device as networks
from blissmask.training.processes import local_place


def find_device(name: str) -> torch.device:
    """Return the device called ``name``; ``auto`` takes a GPU when there is one, each process on a machine its own.

    Raises:
        UsageError: no such name.
        MachineError: the device is not there.
    """
    if name in ("auto", "cuda") and torch.cuda.is_available() and local_place()[1] > 1:
        name = f"cuda:{local_place()[0]}"
    return networks.find_device(name)


def denoiser_dtype(name: Precision | None, device: torch.device) -> torch.dtype:
    """Return the precision of the frozen denoiser: as named, else bfloat16 on a GPU and float32 on a CPU."""
    return networks.find_dtype(name or "auto", device, on_gpu="bfloat16")


def free_memory(device: torch.device) -> int:
    """Return how many bytes are free on ``device`` now."""
    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else free_cpu_memory()


def release_memory(device: torch.device) -> None:
    """Give back what nobody holds any more: Python's circles, and on a GPU the blocks that PyTorch keeps for later."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def free_cpu_memory() -> int:
    """Return how many bytes of this machine's memory are free now."""
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        for line in meminfo.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    if "SC_AVPHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    # Neither is known on Windows and macOS: a value that most LoRA data sets fit and most machines have.
    return 8 << 30
