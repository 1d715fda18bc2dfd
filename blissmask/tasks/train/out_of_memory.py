"""What a user is told when a training does not fit: the commonest failure of all, and no mistake of ours."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

from blissmask.config.model import Config
from blissmask.errors import MachineError
from blissmask.tasks.train.plan import TrainPlan
from blissmask.training.device import is_out_of_memory


@contextlib.contextmanager
def told_when_full(plan: TrainPlan) -> Iterator[None]:
    """Turn an allocation that failed into a MachineError that says what makes the training smaller."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise _refusal(plan) from error


def _refusal(plan: TrainPlan) -> MachineError:
    sizes = ((cached.batch_size, *header.latent_shape[1:]) for cached in plan.sets for header in cached.headers)
    batch_size, frames, rows, columns = max(sizes, key=math.prod)
    where = f"the largest micro-batch: {batch_size} x {frames} x {rows} x {columns} latent cells (items, frames, rows, columns)"
    return MachineError(
        "the training does not fit into the memory", where=[where], fix=_ways_out(plan.config, batch_size)
    )


def _ways_out(config: Config, batch_size: int) -> str:
    """Name what is not used yet, the cheapest first."""
    memory = config.memory
    ways = [
        *([] if memory.gradient_checkpointing else ["`--gradient-checkpointing`"]),
        *(["`--offload-inactive-dit`"] if config.train.expert == "both" and not memory.offload_inactive_dit else []),
        *([] if memory.int8_base or memory.fp8_base else ["`--int8-base`"]),
        *([] if memory.blocks_to_swap else ["`--blocks-to-swap N`"]),
        *(["a smaller `batch_size`"] if batch_size > 1 else []),
        "a smaller `resolution`",
    ]
    first, *others = ways
    told = f"use {first}" + (f", then {', '.join(others)}" if others else "")
    return f"{told};\nwhat was saved is kept, and the same command goes on from there"
