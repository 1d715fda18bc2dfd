"""The device a network runs on, and the precision that suits it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blissmask.config.sections.network import NetworkOptions, Precision
from blissmask.errors import MachineError, UsageError

if TYPE_CHECKING:
    import torch


def find_device(name: str) -> torch.device:
    """Return the device called ``name``; ``auto`` is a GPU when there is one.

    Raises:
        UsageError: no such name.
        MachineError: the machine has no such device.
    """
    import torch

    if name == "auto":
        return torch.device(_best_device())
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"--device must be auto, cpu, cuda or cuda:N, got {name}") from error
    if device.type == "cuda" and not (torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()):
        raise MachineError(
            f"there is no device `{name}`",
            where=[f"{torch.cuda.device_count()} CUDA devices"],
            fix="use `--device cpu`",
        )
    return device


def _best_device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if torch.backends.mps.is_available():
        return "mps"
    return "cpu"


def find_dtype(precision: Precision, device: torch.device, *, on_gpu: Precision) -> torch.dtype:
    """Return the named precision; for ``auto`` it is ``on_gpu`` on a GPU and float32 elsewhere."""
    import torch

    dtypes = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
    if precision == "auto":
        precision = on_gpu if device.type == "cuda" else "float32"
    return dtypes[precision]


def precision_note(options: NetworkOptions) -> str:
    """Return a suffix for identities of backends, empty for ``auto``.

    Masks that are made in another precision differ by a few pixels, so they must not pass for the same.
    """
    return "" if options.precision == "auto" else f"-{options.precision}"
