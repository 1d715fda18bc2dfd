"""Frozen blocks that rest in CPU memory and come to the device only while they run.

The weights of a frozen block never change, so nothing is ever copied back: before a block runs its weights are copied in, after it they are
let go. In the backward pass gradient checkpointing runs each block again, which brings its weights in again; what autograd saved of them
lives just until the block's gradient is done. On a GPU the copy of the next block runs beside the computation of this one, from page-locked
memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from blissmask.archs.protocol import Denoiser
from blissmask.errors import UsageError
from blissmask.training.blocks import repeated_blocks

_FEWEST_RESIDENT = 1


@dataclass(slots=True)
class _Block:
    """One block's frozen parameters.

    Attributes:
        places: (module, name) of each.
        values: of each, in CPU memory.
        resting: empty parameters that take their places meanwhile.
        coming: values on their way to the device.
        arrived: the event of their arrival on a GPU.
    """

    places: list[tuple[nn.Module, str]]
    values: list[Tensor]
    resting: list[nn.Parameter]
    coming: list[Tensor] | None = None
    arrived: Any = None


@dataclass(slots=True)
class BlockSwap:
    """The blocks of one denoiser that rest in CPU memory.

    Attributes:
        device: where blocks run.
    """

    device: torch.device
    _blocks: list[_Block] = field(default_factory=list)
    _last: int = -1
    _stream: Any = None

    def place(self, module: nn.Module, device: torch.device) -> None:
        """Bring everything but the resting blocks to ``device``."""
        resting = {id(parameter) for block in self._blocks for parameter in block.resting}
        for parameter in module.parameters():
            if id(parameter) not in resting:
                parameter.data = parameter.data.to(device)
        for buffer in module.buffers():
            buffer.data = buffer.data.to(device)

    def enter(self, number: int) -> None:
        """Bring block ``number`` to the device, and begin with the one that comes after it: the next, or the one before on the way back."""
        block = self._blocks[number]
        self._fetch(block)
        if block.arrived is not None:
            torch.cuda.current_stream(self.device).wait_event(block.arrived)
        assert block.coming is not None
        for (owner, name), value in zip(block.places, block.coming, strict=True):
            # A new parameter each time: what autograd saves of it must outlive the block's turn.
            owner.register_parameter(name, nn.Parameter(value, requires_grad=False))
            if value.is_cuda:
                # The memory was taken on the copying stream; it must not be reused before this stream is done with it.
                value.record_stream(torch.cuda.current_stream(self.device))
        block.coming = block.arrived = None
        following = number + 1 if number > self._last else number - 1
        self._last = number
        if self._stream is not None and 0 <= following < len(self._blocks):
            self._fetch(self._blocks[following])

    def leave(self, number: int) -> None:
        """Let the weights of block ``number`` go."""
        block = self._blocks[number]
        for (owner, name), parameter in zip(block.places, block.resting, strict=True):
            owner.register_parameter(name, parameter)

    def _fetch(self, block: _Block) -> None:
        if block.coming is not None:
            return
        if self._stream is None:
            block.coming = [value.to(self.device) for value in block.values]
            return
        with torch.cuda.stream(self._stream):
            block.coming = [value.to(self.device, non_blocking=True) for value in block.values]
            block.arrived = self._stream.record_event()


def swap_blocks(denoiser: Denoiser, count: int, *, device: torch.device) -> BlockSwap:
    """Let the last ``count`` repeated blocks of ``denoiser`` rest in CPU memory; everything else goes to ``device``.

    Args:
        denoiser: in CPU memory, with LoRA, in the precision it is to be kept in, and with gradient checkpointing.
        count: >= 1.
        device: where it runs.

    Raises:
        UsageError: there are not that many blocks.
    """
    blocks = list(repeated_blocks(denoiser).values())
    most = len(blocks) - _FEWEST_RESIDENT
    if count > most:
        raise UsageError(f"`blocks_to_swap` is {count}, and this model can swap at most {most} of its {len(blocks)} blocks")
    on_gpu = device.type == "cuda"
    swap = BlockSwap(device)
    for number, module in enumerate(blocks[-count:]):
        swap._blocks.append(_take_out(module, device))
        swap.leave(number)
        module.register_forward_pre_hook(lambda _module, _inputs, number=number: swap.enter(number))
        # Recomputation ends a block early, by an exception, once it has what the backward pass needs.
        module.register_forward_hook(lambda _module, _inputs, _output, number=number: swap.leave(number), always_call=True)
    swap._stream = torch.cuda.Stream(device) if on_gpu else None  # type: ignore[no-untyped-call]
    swap.place(denoiser.module, device)
    return swap


def _take_out(module: nn.Module, device: torch.device) -> _Block:
    places = [
        (owner, name)
        for owner in module.modules()
        for name, parameter in owner.named_parameters(recurse=False)
        if not parameter.requires_grad
    ]
    tensors = [owner.get_parameter(name).data for owner, name in places]
    values = [tensor.pin_memory() if device.type == "cuda" else tensor for tensor in tensors]
    resting = [nn.Parameter(torch.empty(0, dtype=tensor.dtype, device=device), requires_grad=False) for tensor in tensors]
    return _Block(places, values, resting)
