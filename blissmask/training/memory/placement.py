"""Where the weights of a denoiser are: on the device while it is trained or draws, in CPU memory while it rests.

Frozen weights never change. What lies in CPU memory when a denoiser first rests stays there, and going back to rest
copies nothing: 28 GB of a 14B expert less, each time that experts take turns.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn

Home = dict[str, Tensor]
"""Name -> frozen weight in CPU memory, from the first rest on; empty for a denoiser that never rests."""


def move(module: nn.Module, device: torch.device, home: Home, *, aside: Collection[int] = ()) -> None:
    """Bring ``module`` to ``device``: what is trained is copied both ways, what is frozen one way.

    Args:
        module: frozen but for the LoRA layers.
        device: where it is to be.
        home: of this module; changed in place.
        aside: ids of parameters to leave where they are.
    """
    for name, parameter in module.named_parameters():
        if id(parameter) in aside:
            continue
        if device.type == "cpu" and not parameter.requires_grad:
            if name not in home:
                home[name] = parameter.data.to(device)
            parameter.data = home[name]
        else:
            parameter.data = parameter.data.to(device)
    for buffer in module.buffers():
        buffer.data = buffer.data.to(device)
