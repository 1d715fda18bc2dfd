"""Share a run among the processes that ``torchrun`` or ``accelerate launch`` started, on one machine or several.

Every process makes the same plan and does its share of it; no file has two writers. What was counted is gathered at the
end, so counts are exact over all of them.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

ItemT = TypeVar("ItemT")


@dataclass(frozen=True, slots=True)
class Shard:
    """This process's part.

    Attributes:
        rank: its number among all processes, from 0.
        count: how many processes there are.
        local_rank: its number on this machine.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0

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

    def device(self, name: str) -> str:
        """Return which device to use: ``auto`` becomes this process's own GPU where processes share a machine."""
        import torch

        own_gpu = name == "auto" and self.count > 1 and torch.cuda.is_available()
        return f"cuda:{self.local_rank % torch.cuda.device_count()}" if own_gpu else name

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

        if not dist.is_initialized():
            # Gloo also where there are GPUs: only small Python objects travel.
            dist.init_process_group("gloo", rank=self.rank, world_size=self.count)
        gathered = [mine] * self.count
        dist.all_gather_object(gathered, mine)
        return gathered

    def leave(self) -> None:
        """End the connection to the other processes; a process that ends with it open may be aborted after all is done."""
        if self.count == 1:
            return
        import torch.distributed as dist

        if dist.is_initialized():
            dist.destroy_process_group()


def this_shard() -> Shard:
    """Return this process's part, from the environment that launchers set; the whole where there is none."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count <= 1:
        return Shard()
    return Shard(int(os.environ["RANK"]), count, int(os.environ.get("LOCAL_RANK", "0")))
