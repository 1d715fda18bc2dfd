"""The device that training runs on, and the precision that suits it."""

from __future__ import annotations

import torch

from blissmask.errors import MachineError, UsageError

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def find_device(name: str) -> torch.device:
    """Return the device called ``name``; ``auto`` takes a GPU when there is one.

    Raises:
        UsageError: no such name.
        MachineError: the device is not there.
    """
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
