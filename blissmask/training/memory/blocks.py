"""The repeated blocks of a denoiser: what is rounded, swapped, sharded and compiled one by one."""

from __future__ import annotations

import os
import shutil
import warnings

import torch
from torch import nn

from blissmask.errors import MachineError, UsageError
from blissmask.families.protocol import Denoiser

_CPP_COMPILERS = ("g++", "clang++", "c++", "cl")
_COMPILATIONS = 64
"""Of the blocks of one kind: one for each kind of pass and class of shapes.

Past the limit PyTorch runs them uncompiled, with no more than
a line in its log; pictures and clips in batches of two sizes reach its own limit of 8."""


def repeated_blocks(denoiser: Denoiser) -> dict[str, nn.Module]:
    """Return module name -> block, in the order in which they run."""
    names = set(denoiser.block_class_names)
    # By all ancestors: sharding gives a block a class of its own, below the one it had.
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
        MachineError: it needs a compiler that this machine lacks.
    """
    if backend not in torch.compiler.list_backends(exclude_tags=()):
        raise UsageError(
            f"there is no compiler `{backend}`",
            where=[", ".join(torch.compiler.list_backends())],
            fix="use one of these",
        )
    if (
        backend == "inductor"
        and device.type == "cpu"
        and not (os.environ.get("CXX") or any(map(shutil.which, _CPP_COMPILERS)))
    ):
        raise MachineError(
            "`compile` with inductor needs a C++ compiler on a CPU, and there is none",
            fix="install one, such as g++, or leave `compile` out",
        )


def compile_blocks(denoiser: Denoiser, backend: str) -> None:
    """Compile each repeated block on its own: one compilation serves all blocks of a kind.

    Args:
        denoiser: as it will run; its blocks are changed in place.
        backend: one that :func:`check_compiler` lets pass.
    """
    import torch._dynamo.config as compiler

    compiler.recompile_limit = max(compiler.recompile_limit, _COMPILATIONS)
    for block in repeated_blocks(denoiser).values():
        block.compile(backend=backend)


def shard_base(denoiser: Denoiser, *, device: torch.device) -> None:
    """Leave this process its shard of the frozen weights; call in every process, after they joined.

    From then on every pass gathers from all processes, so all of them must make the same passes: see
    ``Processes.lockstep``.

    Args:
        denoiser: in CPU memory, with LoRA, in the precision it is to be kept in; its ``module`` is changed in place.
        device: where this process runs.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    if device.type == "cuda" and device.index is not None:
        # The mesh takes each process's current GPU.
        torch.cuda.set_device(device)
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    trained = {parameter for parameter in denoiser.module.parameters() if parameter.requires_grad}
    for parameter in trained:
        parameter.data = parameter.data.to(device)
    # What is outside the blocks is small, and is gathered for a whole pass.
    for module in (*repeated_blocks(denoiser).values(), denoiser.module):
        fully_shard(module, mesh=mesh, ignored_params=trained, reshard_after_forward=True)
    # Predictions may be views; nothing changes them in place.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
