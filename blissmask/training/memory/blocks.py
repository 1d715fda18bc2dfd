"""The repeated blocks of a denoiser: what is rounded, swapped, sharded and compiled one by one."""

from __future__ import annotations

import os
import shutil

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
