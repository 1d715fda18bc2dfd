"""The frozen weights in shards, one for each process: a block is whole only while it runs, in the forward pass and again in the backward.

Done by PyTorch's FSDP2. It is given the frozen weights alone: the LoRA is small, stays whole in every process, and its
gradients are added up by :mod:`processes`, so a step comes out as without shards.
"""

from __future__ import annotations

import warnings

import torch

from blissmask.families.protocol import Denoiser
from blissmask.training.memory.blocks import repeated_blocks


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
