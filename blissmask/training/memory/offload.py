"""Frozen blocks that rest in CPU memory and come to the device only while they run.

The weights of a frozen block never change, so nothing is ever copied back: before a block runs its weights are copied
in, all of them in one piece; after it they are let go. In the backward pass gradient checkpointing runs each block
again, which brings its weights in again; what autograd saved of them lives just until the block's gradient is done.
Where a pass turns, its last block is the next pass's first, and stays.

On a GPU the copy of the next block runs beside the computation of this one, from page-locked memory. Before it, the
host waits until the GPU has come to the block before this one: what is let go is free only once the GPU is past it, so
a host that ran ahead would fill the device with blocks. Three are there at most: one that is computed, one that waits
its turn and one on its way.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from blissmask.errors import UsageError
from blissmask.families.protocol import Denoiser
from blissmask.training.memory.blocks import repeated_blocks
from blissmask.training.memory.host_memory import LockedMemory, flat_buffer

CpuWeights = dict[str, Tensor]
"""Name -> frozen weight in CPU memory, from the first rest on; empty for a denoiser that never rests."""


def move_weights(
    module: nn.Module, device: torch.device, cpu_weights: CpuWeights, *, aside: Collection[int] = ()
) -> None:
    """Bring ``module`` to ``device``: what is trained is copied both ways, what is frozen one way.

    Args:
        module: frozen but for the LoRA layers.
        device: where it is to be.
        cpu_weights: of this module; changed in place.
        aside: ids of parameters to leave where they are.
    """
    for name, parameter in module.named_parameters():
        if id(parameter) in aside:
            continue
        if device.type == "cpu" and not parameter.requires_grad:
            if name not in cpu_weights:
                cpu_weights[name] = parameter.data.to(device)
            parameter.data = cpu_weights[name]
        else:
            parameter.data = parameter.data.to(device)
    for buffer in module.buffers():
        buffer.data = buffer.data.to(device)


_FEWEST_RESIDENT = 1
_ALIGNMENT = 512
"""Bytes between the parameters of a block, as in the device's own allocator: kernels read aligned weights faster."""


@dataclass(frozen=True, slots=True)
class _Part:
    """One parameter of a block: whose it is, and where in the block's buffer."""

    owner: nn.Module
    name: str
    start: int
    dtype: torch.dtype
    shape: torch.Size

    def of(self, buffer: Tensor) -> Tensor:
        """Return it as a view of ``buffer``."""
        return (
            buffer[self.start : self.start + self.shape.numel() * self.dtype.itemsize].view(self.dtype).view(self.shape)
        )


@dataclass(slots=True)
class _Block:
    """One block's frozen parameters.

    Attributes:
        parts: of each.
        stored: all of them, bytes in CPU memory.
        resting: empty parameters that take their places meanwhile.
        present: the copy on the device, or on its way there.
        arrived: the event of its arrival on a GPU.
    """

    parts: list[_Part]
    stored: Tensor
    resting: list[nn.Parameter]
    present: Tensor | None = None
    arrived: Any = None


@dataclass(slots=True)
class BlockSwap:
    """The blocks of one denoiser that rest in CPU memory; on the device are the one that runs and the next.

    Attributes:
        device: where blocks run.
    """

    device: torch.device
    _blocks: list[_Block] = field(default_factory=list)
    _next: int = 0
    _stream: Any = None
    _earlier: Any = None
    _locked: LockedMemory | None = None

    def place(self, module: nn.Module, device: torch.device, cpu_weights: CpuWeights) -> None:
        """Bring everything but the resting blocks to ``device``; see :func:`placement.move`."""
        for block in self._blocks:
            block.present = block.arrived = None
        move_weights(
            module, device, cpu_weights, aside={id(parameter) for block in self._blocks for parameter in block.resting}
        )

    def enter(self, number: int) -> None:
        """Bring block ``number`` to the device, and begin with the one that comes after it."""
        block = self._blocks[number]
        self._wait_for_gpu()
        self._fetch(block)
        assert block.present is not None
        if block.arrived is not None:
            stream = torch.cuda.current_stream(self.device)
            stream.wait_event(block.arrived)
            # The memory was taken on the copying stream; it must not be reused before this stream is done with it.
            block.present.record_stream(stream)
            block.arrived = None
        for part in block.parts:
            # A new parameter each time: what autograd saves of it must outlive the block's turn.
            part.owner.register_parameter(part.name, nn.Parameter(part.of(block.present), requires_grad=False))
        expected, self._next = self._next, self._following(number)
        if expected not in (number, self._next):
            # It came for a pass that did not.
            self._blocks[expected].present = self._blocks[expected].arrived = None
        if self._stream is not None:
            self._fetch(self._blocks[self._next])

    def leave(self, number: int) -> None:
        """Let the weights of block ``number`` go, unless it is the next to run, too."""
        block = self._blocks[number]
        for part, parameter in zip(block.parts, block.resting, strict=True):
            part.owner.register_parameter(part.name, parameter)
        if self._stream is None or number != self._next:
            block.present = None

    def _following(self, number: int) -> int:
        """Return the block that runs after ``number``: upwards in a forward pass, downwards in a backward pass, which begins at the top."""
        if torch._C._current_graph_task_id() != -1:
            return max(0, number - 1)
        last = len(self._blocks) - 1
        return number + 1 if number < last else last if torch.is_grad_enabled() else 0

    def _wait_for_gpu(self) -> None:
        """Wait until the GPU is done with the block before the last one; all that is to come then still has the last one before it."""
        if self._stream is None:
            return
        before, self._earlier = self._earlier, torch.cuda.current_stream(self.device).record_event()
        if before is not None:
            before.synchronize()

    def _fetch(self, block: _Block) -> None:
        if block.present is not None:
            return
        if self._stream is None:
            block.present = block.stored.to(self.device)
            return
        with torch.cuda.stream(self._stream):
            block.present = block.stored.to(self.device, non_blocking=True)
            block.arrived = self._stream.record_event()


def swap_blocks(denoiser: Denoiser, count: int, *, device: torch.device) -> BlockSwap:
    """Let the last ``count`` repeated blocks of ``denoiser`` rest in CPU memory; everything else goes to ``device``.

    Args:
        denoiser: in CPU memory, with LoRA, in the precision it is to be kept in, and with gradient checkpointing.
        count: >= 1.
        device: where it runs.

    Raises:
        UsageError: there are not that many blocks.
        MachineError: so much memory cannot be page-locked.
    """
    blocks = list(repeated_blocks(denoiser).values())
    most = len(blocks) - _FEWEST_RESIDENT
    if count > most:
        raise UsageError(
            f"`blocks_to_swap` is {count}, and this model can swap at most {most} of its {len(blocks)} blocks"
        )
    swap = BlockSwap(device)
    if device.type == "cuda":
        swap._stream, swap._locked = torch.cuda.Stream(device), LockedMemory()  # type: ignore[no-untyped-call]
    for number, module in enumerate(blocks[-count:]):
        swap._blocks.append(_take_out(module, device))
        if swap._locked is not None:
            swap._locked.add(swap._blocks[number].stored)
        swap.leave(number)
        module.register_forward_pre_hook(lambda _module, _inputs, number=number: swap.enter(number))
        # Recomputation ends a block early, by an exception, once it has what the backward pass needs.
        module.register_forward_hook(
            lambda _module, _inputs, _output, number=number: swap.leave(number), always_call=True
        )
    swap.place(denoiser.module, device, {})
    return swap


def _take_out(module: nn.Module, device: torch.device) -> _Block:
    """Put the frozen parameters of ``module`` into one buffer, one after the other."""
    frozen = [
        (owner, name, parameter.data)
        for owner in module.modules()
        for name, parameter in owner.named_parameters(recurse=False)
        if not parameter.requires_grad
    ]
    parts, end = [], 0
    for owner, name, tensor in frozen:
        parts.append(_Part(owner, name, end, tensor.dtype, tensor.shape))
        end += -(-tensor.nbytes // _ALIGNMENT) * _ALIGNMENT
    stored = flat_buffer(end)
    for part, (_, _, tensor) in zip(parts, frozen, strict=True):
        part.of(stored).copy_(tensor)
    resting = [nn.Parameter(torch.empty(0, dtype=part.dtype, device=device), requires_grad=False) for part in parts]
    return _Block(parts, stored, resting)
