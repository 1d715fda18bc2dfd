"""What would end a training only once its model is loaded, which takes minutes, and is known before."""

from __future__ import annotations

from blissmask.config.model import Config
from blissmask.processes import Processes
from blissmask.training.build import check_memory_options, check_network_options
from blissmask.training.device import find_device
from blissmask.training.lora.file import read_finite_lora
from blissmask.training.lora.layers import check_patterns
from blissmask.training.memory.blocks import check_compiler
from blissmask.training.optim.optimizer import check_optimizer
from blissmask.training.record.trackers import wanted_trackers


def check_options(config: Config, processes: Processes) -> None:
    """Refuse options that exclude each other or ask for what is not there.

    Raises:
        UsageError: they cannot work together, or one names nothing that there is.
        MachineError: no such device, or no compiler.
        MissingPackageError: a tracker that was asked for is not installed.
    """
    section, device = config.train, find_device(config.model.device)
    check_memory_options(section, processes)
    check_network_options(section)
    check_patterns([*section.include_patterns, *section.exclude_patterns])
    if section.compile:
        check_compiler(section.compile_backend, device=device)
    wanted_trackers(section)


def check_start(config: Config, fewest_steps: int, *, anew: bool) -> None:
    """Refuse an optimiser, a schedule or a LoRA file that training cannot start with.

    Args:
        config: names them.
        fewest_steps: of the optimisers of the run.
        anew: whether it does not go on from a training state; only then the LoRA file is read.

    Raises:
        UsageError: the optimiser or the schedule cannot be made as asked.
        MissingPackageError: the optimiser's package is not installed.
        ModelError: the LoRA file cannot be read, or holds NaN or infinity.
    """
    section = config.train
    check_optimizer(section, steps=fewest_steps, device=find_device(config.model.device))
    if anew and section.network_weights is not None:
        read_finite_lora(section.network_weights)
