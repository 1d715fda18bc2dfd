"""The repeated blocks of a denoiser, which are rounded, swapped, sharded and compiled one by one.

This file finds them, looks for a compiler, and spreads them over processes.
"""

from __future__ import annotations

import os
import shutil
import warnings

import torch
from torch import nn

from blissmask.errors import MachineError, UsageError
from blissmask.families.protocol import Denoiser

_CPP_COMPILERS = ("g++", "clang++", "c++", "cl")


def repeated_blocks(denoiser: Denoiser) -> dict[str, nn.Module]:
    """Return the repeated blocks, module name -> block, in the order in which they run."""
    names = set(denoiser.block_class_names)
    # All ancestors count, because sharding replaces a block's class by a subclass of another name.
    return {
        name: module
        for name, module in denoiser.module.named_modules()
        if names & {kind.__name__ for kind in type(module).__mro__}
    }


def check_compiler(backend: str, *, device: torch.device) -> None:
    """Check that blocks can be compiled.

    Args:
        backend: as ``torch.compile`` names it.
        device: where the blocks run.

    Raises:
        UsageError: there is no such backend.
        MachineError: the backend needs a compiler that this machine lacks.
    """
    if backend not in torch.compiler.list_backends(exclude_tags=()):
        raise UsageError(
            f"there is no compiler `{backend}`",
            where=[", ".join(torch.compiler.list_backends())],
            fix="use one of these",
        )
    # On a CPU inductor generates C++.
    if backend == "inductor" and device.type == "cpu" and not has_cpp_compiler():
        raise MachineError(
            "`compile` with inductor needs a C++ compiler on a CPU, and there is none",
            fix="install one, such as g++, or leave `compile` out",
        )


def has_cpp_compiler() -> bool:
    """Return whether this machine has a compiler of C++, by the name it is called by or by ``CXX``."""
    return bool(os.environ.get("CXX")) or any(shutil.which(name) for name in _CPP_COMPILERS)


def shard_base(denoiser: Denoiser, *, device: torch.device) -> None:
    """Leave this process its shard of the frozen weights; every process must call it, after they joined.

    PyTorch's FSDP2 gathers a whole block only while it runs, in the forward pass and again in the backward pass. Every
    pass gathers from all processes, so all must make the same passes: see ``Processes.lockstep``.

    FSDP2 gets the frozen weights alone. The LoRA is small and stays whole in every process, where
    ``Processes.sum_gradients`` adds up its gradients; so a step comes out as without shards.

    Args:
        denoiser: in CPU memory, with LoRA, in the precision in which it is kept; its ``module`` is changed in place.
        device: where this process runs.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    if device.type == "cuda" and device.index is not None:
        # The device mesh takes the current GPU of each process.
        torch.cuda.set_device(device)
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    trained = {parameter for parameter in denoiser.module.parameters() if parameter.requires_grad}
    for parameter in trained:
        parameter.data = parameter.data.to(device)
    # The weights outside the blocks are few, and are gathered for a whole pass.
    for module in (*repeated_blocks(denoiser).values(), denoiser.module):
        fully_shard(module, mesh=mesh, ignored_params=trained, reshard_after_forward=True)
    # FSDP2 warns of predictions that are views, since changing them in place would break it; nothing does.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
