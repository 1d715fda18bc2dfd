"""The processes of a run, as ``torchrun`` or ``accelerate launch`` starts them: who this one is, what they exchange.

The only reader of the launchers' variables (``RANK``, ``WORLD_SIZE``, ``LOCAL_RANK``, ``LOCAL_WORLD_SIZE``), and the
only place that connects the processes. PyTorch is imported when they exchange something, so the command line can ask
for the rank before it is loaded. accelerate's ``PartialState`` cannot do that: it connects as soon as it exists, for a
dry run too, and without a GPU it connects none of the processes unless it is told to ignore GPUs everywhere.

The processes of a job array (``RANK`` and ``WORLD_SIZE``, but no ``MASTER_ADDR``) do not reach each other; all commands
but `train` share their items all the same.

In training each process predicts its own micro-batches; masses are summed before the forward pass and gradients after
the backward pass, so a step is the same as one process with all of its micro-batches. Only the LoRA is trained, so a
sum over a few million numbers is all that travels. In caching every process makes the same plan and writes its share
of the files.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from blissmask.errors import MachineError, UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

ItemT = TypeVar("ItemT")

_PATIENCE = timedelta(days=2)
"""How long a process waits for the others. PyTorch's own half an hour (ten minutes on GPUs) would end a run whose first
process draws long previews, or whose shares of a cache take unequally long. The launcher ends all when one fails."""


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes of a run.

    Attributes:
        rank: number of this one, from 0; process 0 writes what is written once, and prints.
        count: of all, >= 1.
        local_rank: number of this one on its machine, from 0.
        local_count: of those on this machine, >= 1.
        lockstep: whether all must make the same passes through the model, as with a base in shards.
        apart: whether they do not reach each other: a job array names no address where they could meet.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1
    lockstep: bool = False
    apart: bool = False

    @property
    def first(self) -> bool:
        """Return whether this is the process that writes what is written once, and prints."""
        return self.rank == 0

    @property
    def locks(self) -> bool:
        """Return whether this process holds the locks of the output folders.

        The first one holds them for all. Those of a job array, which may start at any time, hold none: they write
        different files.
        """
        return self.first and not self.apart

    @property
    def speaks(self) -> bool:
        """Return whether this process prints: the first one, or each where nobody could print for it."""
        return self.first or self.apart

    def own_file(self, path: Path) -> Path:
        """Return the file that this process writes where ``path`` was asked for.

        The processes of a job array see their own items alone: the fourth one writes ``sheet.3.html`` instead of
        ``sheet.html``, so that none replaces what another one wrote.
        """
        return path.with_stem(f"{path.stem}.{self.rank}") if self.apart else path

    def own_device(self, name: str, *, gpu_count: int) -> str:
        """Return the device that this process uses where the user named ``name``.

        Args:
            name: ``auto`` and ``cuda`` mean a GPU of one's own where several processes run; another name is kept.
            gpu_count: GPUs of this machine. Processes share them in turn where there are fewer.
        """
        if self.count == 1 or gpu_count == 0 or name not in ("auto", "cuda"):
            return name
        return f"cuda:{self.local_rank % gpu_count}"

    def micro_batches(self, step: int, accumulation: int) -> range:
        """Return the numbers of this process's micro-batches in step ``step``; no two processes and steps share one."""
        begin = (step * self.count + self.rank) * accumulation
        return range(begin, begin + accumulation)

    def share(self, items: Sequence[ItemT], *, together: Callable[[ItemT], Hashable] | None = None) -> list[ItemT]:
        """Return this process's items; over all processes each item comes exactly once.

        Args:
            items: the same in every process.
            together: what one process must get all of, e.g. the video that clips are cut from, so that it is decoded
                once. Each new one goes to the process that has the fewest items so far. None shares single items.
        """
        if together is None or self.count == 1:
            return list(items[self.rank :: self.count])
        sizes = Counter(map(together, items))
        loads = [0] * self.count
        mine = set()
        for key, size in sizes.items():
            rank = loads.index(min(loads))
            loads[rank] += size
            if rank == self.rank:
                mine.add(key)
        return [item for item in items if together(item) in mine]

    def wait(self) -> None:
        """Wait until every process has come here."""
        self.gather(None)

    def gather(self, mine: ItemT) -> list[ItemT]:
        """Return what every process gave, in the order of their ranks; waits for all of them.

        Args:
            mine: anything that can be pickled; it comes from processes of this run only.
        """
        if self.count == 1:
            return [mine]
        import torch.distributed as dist

        gathered = [mine] * self.count
        with _exchanging():
            dist.all_gather_object(gathered, mine)
        return gathered

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum of ``tensor`` over all processes, in all of them; ``tensor`` may be changed."""
        if self.count > 1:
            import torch.distributed as dist

            with _exchanging():
                dist.all_reduce(tensor)
        return tensor

    def highest(self, number: int) -> int:
        """Return the highest ``number`` of all processes."""
        if self.count == 1:
            return number
        return max(self._highest([number]))

    def passes(self, needed: Sequence[bool]) -> list[bool]:
        """Return which of the next passes to make: the ``needed`` ones, and in lockstep those that any process needs.

        Args:
            needed: as many in every process.
        """
        if not self.lockstep or self.count == 1:
            return list(needed)
        return [bool(count) for count in self._highest([int(need) for need in needed])]

    def _highest(self, numbers: Sequence[int]) -> list[int]:
        """Return the highest of each number over all processes."""
        import torch
        import torch.distributed as dist

        highest = torch.tensor(numbers)
        with _exchanging():
            dist.all_reduce(highest, op=dist.ReduceOp.MAX)
        return [int(number) for number in highest.tolist()]

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Add up the gradients of all processes in one message.

        A parameter that has no gradient in any process stays without one.
        """
        if self.count == 1:
            return
        import torch

        present = self.sum(torch.tensor([float(parameter.grad is not None) for parameter in parameters]))
        moving = [parameter for parameter, count in zip(parameters, present.tolist(), strict=True) if count]
        if not moving:
            return
        gradients = [torch.zeros_like(parameter) if parameter.grad is None else parameter.grad for parameter in moving]
        whole = self.sum(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = torch.split(whole, [parameter.numel() for parameter in moving])
        for parameter, part in zip(moving, parts, strict=True):
            parameter.grad = part.view_as(parameter)


_MOST_PROCESSES = 1_000_000
"""More than any cluster has; a share takes a few bytes for each of them."""
_MOST_DIGITS = 20
"""Characters of a launcher's number that are read and shown."""

ALONE = Processes()
"""A run of one process."""


def this_process() -> Processes:
    """Return which of how many processes this is, by the variables that launchers set; the only one without them.

    Raises:
        UsageError: a variable is no number, or no number that a process can have: some items would be nobody's.
    """
    count = _number("WORLD_SIZE", 1, least=1, most=_MOST_PROCESSES)
    if count == 1:
        return ALONE
    if not os.environ.get("RANK"):
        what = f"`WORLD_SIZE` is {count} and `RANK` is not set, so that it is not known which items are this process's"
        raise UsageError(what, fix=f"set `RANK`, 0 to {count - 1}; or unset `WORLD_SIZE`, and one process does all")
    return Processes(
        rank=_number("RANK", 0, least=0, most=count - 1),
        count=count,
        local_rank=_number("LOCAL_RANK", 0, least=0, most=count - 1),
        local_count=_number("LOCAL_WORLD_SIZE", 1, least=1, most=count),
        apart="MASTER_ADDR" not in os.environ,
    )


def _number(name: str, default: int, *, least: int, most: int) -> int:
    """Return the whole number in a launcher's variable. Raises UsageError as :func:`this_process`."""
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    is_whole = len(text) <= _MOST_DIGITS and text.isascii() and text.isdigit()
    if not is_whole or not least <= int(text) <= most:
        shown = text if len(text) <= _MOST_DIGITS else f"{text[:_MOST_DIGITS]}..."
        fix = "unset the variables, and one process does all"
        if name == "RANK":
            fix = f"a job array that counts from 1 takes 1 off; or {fix}"
        raise UsageError(f"the environment variable `{name}` must be {least} to {most}, got `{shown}`", fix=fix)
    return int(text)


@contextlib.contextmanager
def _exchanging() -> Iterator[None]:
    """Raise MachineError when another process is gone: the launcher shows that one's own error."""
    try:
        yield
    except RuntimeError as error:
        from torch import OutOfMemoryError

        # It is a RuntimeError too, and has a message of its own.
        if isinstance(error, OutOfMemoryError):
            raise
        raise MachineError(
            "another process of this run has ended",
            where=[str(error).partition("\n")[0]],
            fix="see its error above; running the same command again continues",
        ) from error


@contextlib.contextmanager
def connected(processes: Processes) -> Iterator[None]:
    """Connect the processes of a run, and end the connection after it; with one process there is nothing to do.

    Args:
        processes: from :func:`this_process`.

    Raises:
        MachineError: the processes cannot reach each other.
    """
    if processes.count == 1:
        yield
        return
    import torch
    import torch.distributed as dist

    # Its functions have the group of all processes as a default, taken when it is imported (torch 2.13), and diffusers
    # imports it. Imported while the processes are connected, it would hold the group for ever: gloo's threads would
    # outlive the connection and meet the closing sockets of the others while Python ends, which can abort a process
    # that has done its work (-6).
    import torch.distributed.nn.functional

    # Numbers of the masks and Python objects are on the CPU, gradients where the model is.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        dist.init_process_group(backend, timeout=_PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise MachineError(
            f"the {processes.count} processes cannot reach each other: {error}", fix="start them with `torchrun`"
        ) from error
    try:
        yield
    finally:
        dist.destroy_process_group()
