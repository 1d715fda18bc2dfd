"""Compile the repeated blocks of a run, and go on without where nobody asked for it and the compiler fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import nn

from blissmask.errors import BlissmaskError, MachineError, Problem, first_line
from blissmask.families.protocol import Denoiser
from blissmask.training.memory.blocks import repeated_blocks

_COMPILATIONS = 64
"""How often the blocks of one kind may be compiled: once for each kind of pass and class of shapes.

Past its limit PyTorch runs blocks uncompiled and only writes a line to its log. Pictures and clips in batches of two
sizes reach PyTorch's own limit of 8.
"""
_COMPILERS = ("torch._dynamo", "torch._inductor", "torch._functorch", "triton")
"""Where the errors of PyTorch's compilers are defined."""

Result = TypeVar("Result")


class BlockCompiler:
    """Compiles the blocks of all denoisers of a run.

    PyTorch compiles late: a forward or a backward pass compiles what it needs when it meets shapes for the first time,
    and some errors of a kernel show only when it runs. PyTorch's own ``suppress_errors`` covers the forward pass alone,
    and prints a traceback. So passes are made inside :meth:`run`.

    Args:
        backend: one that ``check_compiler`` lets pass.
        asked: whether the user asked for it. Then an error of the compiler is an error.
        warn: told once, where nobody asked, that blocks run uncompiled from now on.
    """

    def __init__(self, backend: str, *, asked: bool, warn: Callable[[Problem], None]) -> None:
        self._backend = backend
        self._asked = asked
        self._warn = warn
        self._blocks: list[nn.Module] = []
        self.is_on = True

    def compile(self, denoiser: Denoiser) -> None:
        """Compile each repeated block on its own: one compilation serves all blocks of a kind.

        Args:
            denoiser: as it will run; its blocks are changed in place.
        """
        import torch._dynamo.config as compiler

        compiler.recompile_limit = max(compiler.recompile_limit, _COMPILATIONS)
        for block in repeated_blocks(denoiser).values():
            block.compile(backend=self._backend)
            self._blocks.append(block)

    def run(self, passes: Callable[[], Result], *, undo: Callable[[], None]) -> Result:
        """Make passes; where they fail and nobody asked for compiled blocks, make them once more, uncompiled.

        Which errors are the compiler's cannot be told by their class: those of a backward pass come as they are. An
        error that is not the compiler's comes again, and is raised.

        Args:
            passes: makes them from the beginning; communicates with no other process.
            undo: takes back what passes that failed half-way have changed.

        Raises:
            MachineError: the compiler failed, and the user had asked for it.
        """
        try:
            return passes()
        except Exception as error:
            if not self.is_on or isinstance(error, BlissmaskError):
                raise
            if self._asked:
                if _is_of_compiler(error):
                    raise MachineError(
                        f"the compiler `{self._backend}` failed", where=[_said(error)], fix="leave `--compile` out"
                    ) from error
                raise
            said = _said(error)
        # Here, since the error holds on to the activations of the passes that failed.
        undo()
        self._uncompile()
        result = passes()
        self._warn(
            Problem("blocks cannot be compiled, so they run uncompiled from now on; only speed is lost", (said,))
        )
        return result

    def _uncompile(self) -> None:
        self.is_on = False
        for block in self._blocks:
            # PyTorch 2.13: `Module.compile` puts the compiled call here, and has no way back.
            block._compiled_call_impl = None


def _is_of_compiler(error: BaseException) -> bool:
    return type(error).__module__.startswith(_COMPILERS)


def _said(error: Exception) -> str:
    """Return the first line of an error, of the one inside where PyTorch wrapped it."""
    inner = getattr(error, "inner_exception", error)
    return f"{type(inner).__name__}: {first_line(inner)}"
