"""Try out an optimiser's restored state before the training goes on from it.

The files of a training state may be whole and still not ours: written by another program, or changed together with
their manifest. What a state must hold depends on the optimiser, on its options and on what it has seen, so it is not
compared with a list; each parameter takes a step on a copy.
"""

from __future__ import annotations

import copy
import dataclasses

import torch
from torch import Tensor
from torch.optim import Optimizer

from blissmask.errors import CacheError, first_line
from blissmask.training.device import is_out_of_memory
from blissmask.training.optim.optimizer import OptimizerOptions, build_optimizer, set_training_mode


def refuse_unusable_state(optimizer: Optimizer, options: OptimizerOptions) -> None:
    """Let a copy of every parameter take a step with a copy of its restored state; nothing of ``optimizer`` changes.

    Args:
        optimizer: with its state restored.
        options: it was made with.

    Raises:
        CacheError: a step fails, or the state holds parameters that there are not.
    """
    if any(not isinstance(parameter, Tensor) for parameter in optimizer.state):
        raise misfit("it remembers parameters that are not there")
    alone = dataclasses.replace(options, loraplus_lr_ratio=None)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            scratch = torch.nn.Parameter(parameter.detach().clone())
            scratch.grad = torch.ones_like(scratch)
            rehearsal = build_optimizer([("lora_A", scratch)], alone)
            try:
                others = {name: value for name, value in group.items() if name != "params"}
                rehearsal.param_groups[0] = {**copy.deepcopy(others), "params": [scratch]}
                if parameter in optimizer.state:
                    rehearsal.state[scratch] = copy.deepcopy(optimizer.state[parameter])
                set_training_mode(rehearsal, training=True)
                rehearsal.step()
            except Exception as error:
                # Any class that the user names may be behind it.
                if is_out_of_memory(error):
                    raise
                raise misfit(first_line(error)) from error


def misfit(what: str) -> CacheError:
    """Return the error for a state that the optimiser cannot go on from."""
    return CacheError(f"the training state does not fit the optimiser: {what}")
