"""The device that training runs on, and the precision that suits it."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from blissmask.errors import MachineError, UsageError
from blissmask.training.processes import local_place

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def find_device(name: str) -> torch.device:
    """Return the device called ``name``; ``auto`` takes a GPU when there is one, each process on a machine its own.

    Raises:
        UsageError: no such name.
        MachineError: the device is not there.
    """
    if name in ("auto", "cuda") and torch.cuda.is_available() and local_place()[1] > 1:
        name = f"cuda:{local_place()[0]}"
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"--device must be auto, cpu, cuda or cuda:N, got {name}") from error
    if device.type == "cuda" and not (torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()):
        raise MachineError(f"there is no device `{name}`", where=[f"{torch.cuda.device_count()} CUDA devices"], fix="use `--device cpu`")
    return device


def denoiser_dtype(name: str | None, device: torch.device) -> torch.dtype:
    """Return the precision of the frozen denoiser: as named, else bfloat16 on a GPU and float32 on a CPU."""
    return _DTYPES[name] if name else torch.bfloat16 if device.type == "cuda" else torch.float32


def free_memory(device: torch.device) -> int:
    """Return how many bytes are free on ``device`` now."""
    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else free_cpu_memory()


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
