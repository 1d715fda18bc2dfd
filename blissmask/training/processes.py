"""Several processes that train one LoRA together, as ``torchrun`` starts them.

Each process predicts its own micro-batches; masses are summed before the forward pass and gradients after the backward
pass, so a step is the same as one process with all of its micro-batches. Only the LoRA is trained, so a sum over a few
million numbers is all that travels.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from blissmask.errors import MachineError


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes of a run.

    Attributes:
        rank: number of this one, from 0; process 0 writes and speaks.
        count: of all, >= 1.
        lockstep: whether all must make the same passes through the model, as with a base in shards.
    """

    rank: int = 0
    count: int = 1
    lockstep: bool = False

    @property
    def first(self) -> bool:
        """Say whether this is the process that writes."""
        return self.rank == 0

    def micro_batches(self, step: int, accumulation: int) -> range:
        """Return the numbers of this process's micro-batches in step ``step``; no two processes and steps share one."""
        begin = (step * self.count + self.rank) * accumulation
        return range(begin, begin + accumulation)

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum of ``tensor`` over all processes, in all of them; ``tensor`` may be changed."""
        if self.count > 1:
            dist.all_reduce(tensor)
        return tensor

    def highest(self, number: int) -> int:
        """Return the highest ``number`` of all processes."""
        if self.count == 1:
            return number
        numbers = torch.tensor(number)
        dist.all_reduce(numbers, op=dist.ReduceOp.MAX)
        return int(numbers)

    def passes(self, needed: Sequence[bool]) -> list[bool]:
        """Return which of the next passes to make: the ``needed`` ones, and in lockstep those that any process needs.

        Args:
            needed: as many in every process.
        """
        if not self.lockstep:
            return list(needed)
        made = torch.tensor([int(need) for need in needed])
        dist.all_reduce(made, op=dist.ReduceOp.MAX)
        return [bool(count) for count in made.tolist()]

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Add up the gradients of all processes in one message; a parameter without one in every process stays without."""
        if self.count == 1:
            return
        present = self.sum(torch.tensor([float(parameter.grad is not None) for parameter in parameters]))
        moving = [parameter for parameter, count in zip(parameters, present.tolist(), strict=True) if count]
        if not moving:
            return
        gradients = [torch.zeros_like(parameter) if parameter.grad is None else parameter.grad for parameter in moving]
        whole = self.sum(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = torch.split(whole, [parameter.numel() for parameter in moving])
        for parameter, part in zip(moving, parts, strict=True):
            parameter.grad = part.view_as(parameter)


ALONE = Processes()


def this_process() -> Processes:
    """Return which of how many processes this is, by the variables that ``torchrun`` sets; the only one without them."""
    return Processes(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))


def local_place() -> tuple[int, int]:
    """Return (number of this process on this machine, how many there are on it)."""
    return int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


@contextlib.contextmanager
def joined(processes: Processes, *, start: int) -> Iterator[None]:
    """Connect the processes of a run; with one there is nothing to do.

    Args:
        processes: from :func:`this_process`.
        start: step that this process goes on from.

    Raises:
        MachineError: the processes cannot reach each other, or found different training states.
    """
    if processes.count == 1:
        yield
        return
    try:
        # Numbers of the masks are on the CPU, gradients where the model is.
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    except (RuntimeError, ValueError) as error:
        raise MachineError(
            f"the {processes.count} processes cannot reach each other: {error}", fix="start them with `torchrun`"
        ) from error
    try:
        if processes.highest(start) != -processes.highest(-start):
            raise MachineError(
                f"the processes found different training states (this one goes on from step {start})",
                fix="let all machines see the same `output_dir`",
            )
        yield
    finally:
        dist.destroy_process_group()
