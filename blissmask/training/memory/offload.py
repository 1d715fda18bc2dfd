"""Frozen weights that rest in CPU memory: those of a whole expert, and single blocks of a denoiser (block swap).

Frozen weights never change, so they are copied one way, from CPU memory to the device. Going back to rest copies
nothing; each time that two 14B experts take turns, this saves a copy of 28 GB.

**Experts.** :func:`move_weights` brings a denoiser to the device while it trains or draws, and lets it rest in between.

**Blocks.** :func:`swap_blocks` keeps the last blocks of a denoiser in CPU memory. Before a block runs, its weights are
copied to the device in one piece; afterwards they are let go. In the backward pass gradient checkpointing runs each
block again, which brings its weights in again. What autograd saved of them lives until the block's gradient is done.
The last block of a forward pass is the first of the backward pass, so it stays on the device in between.

On a GPU, the next block is copied while the present one is computed, from page-locked memory. The host must not run
ahead: the memory of a block that was let go is free only when the GPU is past that block, so a host that ran ahead
would fill the device with blocks. Before each copy it therefore waits until the GPU has come to the previous block. At
most three blocks are on the device then: one is computed, one waits for its turn, and one is being copied.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from blissmask.errors import UsageError
from blissmask.families.protocol import Denoiser
from blissmask.training.memory.blocks import repeated_blocks
from blissmask.training.memory.host_memory import LockedMemory, flat_buffer

CpuWeights = dict[str, Tensor]
"""Name -> frozen weight in CPU memory. Filled when a denoiser first rests; empty for one that never does."""


def move_weights(
    module: nn.Module, device: torch.device, cpu_weights: CpuWeights, *, aside: Collection[int] = ()
) -> None:
    """Bring ``module`` to ``device``: trained weights are copied both ways, frozen ones to the device alone.

    Args:
        module: frozen but for the LoRA layers.
        device: where the module is to be.
        cpu_weights: those of this module; changed in place.
        aside: ids (as ``id()`` gives them) of parameters to leave where they are.
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


MOST_PRESENT = 3
"""Swapped blocks that are on the device together, at most; the top of this file says why."""
_FEWEST_RESIDENT = 1
"""Blocks that always stay on the device."""
_ALIGNMENT = 512
"""Each parameter of a block begins at a multiple of this many bytes, as in PyTorch's allocator for GPUs.

Kernels read aligned weights faster.
"""


@dataclass(frozen=True, slots=True)
class _Part:
    """One parameter of a block.

    Attributes:
        owner: the module that has it.
        name: in ``owner``.
        start: where it begins in the block's buffer, in bytes.
        dtype, shape: of the parameter.
    """

    owner: nn.Module
    name: str
    start: int
    dtype: torch.dtype
    shape: torch.Size

    def view_of(self, buffer: Tensor) -> Tensor:
        """Return the parameter's place in ``buffer``, as a view of its dtype and shape."""
        end = self.start + self.shape.numel() * self.dtype.itemsize
        return buffer[self.start : end].view(self.dtype).view(self.shape)


@dataclass(slots=True)
class _Block:
    """One block's frozen parameters.

    Attributes:
        parts: where each parameter lies in the buffers.
        stored: all parameters as bytes in CPU memory.
        resting: empty parameters that stand in the modules while the block rests.
        present: the copy of ``stored`` on the device, or on its way there; None while the block rests.
        arrived: the CUDA event at the end of that copy; None when it is done, or was not asynchronous.
    """

    parts: list[_Part]
    stored: Tensor
    resting: list[nn.Parameter]
    present: Tensor | None = None
    arrived: Any = None


@dataclass(slots=True)
class BlockSwap:
    """The swapped blocks of one denoiser, by their number among the swapped ones.

    Attributes:
        device: where blocks run.
        _next: the block that is expected to run next.
        _stream: the CUDA stream of the copies; None where the device is no GPU, and copies are made when needed.
        _earlier: the CUDA event at which the previous block began.
        _locked: keeps the stored weights page-locked.
    """

    device: torch.device
    _blocks: list[_Block] = field(default_factory=list)
    _next: int = 0
    _stream: Any = None
    _earlier: Any = None
    _locked: LockedMemory | None = None

    def place(self, module: nn.Module, device: torch.device, cpu_weights: CpuWeights) -> None:
        """Bring everything but the swapped blocks to ``device``; see :func:`move_weights`."""
        resting = set()
        for block in self._blocks:
            block.present = block.arrived = None
            resting |= {id(parameter) for parameter in block.resting}
        move_weights(module, device, cpu_weights, aside=resting)

    def enter(self, number: int) -> None:
        """Bring block ``number`` to the device before it runs, and begin to copy the block that runs after it."""
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
            part.owner.register_parameter(part.name, nn.Parameter(part.view_of(block.present), requires_grad=False))
        expected, self._next = self._next, self._following(number)
        if expected not in (number, self._next):
            # Drop the block that was copied ahead: the pass that would have used it never ran.
            self._blocks[expected].present = self._blocks[expected].arrived = None
        if self._stream is not None:
            self._fetch(self._blocks[self._next])

    def leave(self, number: int) -> None:
        """Let the weights of block ``number`` go after it ran, unless the same block runs next."""
        block = self._blocks[number]
        for part, parameter in zip(block.parts, block.resting, strict=True):
            part.owner.register_parameter(part.name, parameter)
        if self._stream is None or number != self._next:
            block.present = None

    @contextlib.contextmanager
    def readable(self) -> Iterator[None]:
        """Let the modules of resting blocks show their weights in CPU memory: to be read, not to be computed with."""
        for block in self._blocks:
            for part in block.parts:
                part.owner.register_parameter(part.name, nn.Parameter(part.view_of(block.stored), requires_grad=False))
        try:
            yield
        finally:
            for number in range(len(self._blocks)):
                self.leave(number)

    def _following(self, number: int) -> int:
        """Return the block that runs after ``number``."""
        # PyTorch (2.7 to 2.13) has no public way to ask whether a backward pass is running; torch.utils.checkpoint asks
        # in this way, too. A change there shows in tests/unit/training/memory/test_block_swap.py: blocks would come too
        # late.
        is_backward = torch._C._current_graph_task_id() != -1
        if is_backward:
            return max(0, number - 1)
        if number + 1 < len(self._blocks):
            return number + 1
        # After a forward pass with gradients comes the backward pass, which begins with the last block; after one
        # without gradients comes another forward pass.
        return number if torch.is_grad_enabled() else 0

    def _wait_for_gpu(self) -> None:
        """Wait until the GPU has come to the previous block; the memory of all blocks before that one is free then."""
        if self._stream is None:
            return
        previous_began = self._earlier
        self._earlier = torch.cuda.current_stream(self.device).record_event()
        if previous_began is not None:
            previous_began.synchronize()

    def _fetch(self, block: _Block) -> None:
        """Copy a block's weights to the device, or begin to; nothing happens when they are there."""
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
        denoiser: in CPU memory, with LoRA and gradient checkpointing, in the precision in which it is kept.
        count: of blocks, >= 1.
        device: where the denoiser runs.

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
        _hook_block(module, swap, number)
    swap.place(denoiser.module, device, {})
    return swap


def _hook_block(module: nn.Module, swap: BlockSwap, number: int) -> None:
    """Bring the weights in before ``module`` runs, and let them go afterwards."""

    def enter(_module: nn.Module, _inputs: Any) -> None:
        swap.enter(number)

    def leave(_module: nn.Module, _inputs: Any, _output: Any) -> None:
        swap.leave(number)

    module.register_forward_pre_hook(enter)
    # `always_call`: recomputation ends a block early, by an exception, once it has what the backward pass needs.
    module.register_forward_hook(leave, always_call=True)


def _take_out(module: nn.Module, device: torch.device) -> _Block:
    """Put the frozen parameters of ``module`` into one buffer, which is then the only place that holds them."""
    frozen = [
        (owner, name, parameter.data)
        for owner in module.modules()
        for name, parameter in owner.named_parameters(recurse=False)
        if not parameter.requires_grad
    ]
    parts, end = [], 0
    for owner, name, tensor in frozen:
        parts.append(_Part(owner=owner, name=name, start=end, dtype=tensor.dtype, shape=tensor.shape))
        end += math.ceil(tensor.nbytes / _ALIGNMENT) * _ALIGNMENT
    stored = flat_buffer(end)
    for part, (_, _, tensor) in zip(parts, frozen, strict=True):
        part.view_of(stored).copy_(tensor)
    resting = [nn.Parameter(torch.empty(0, dtype=part.dtype, device=device), requires_grad=False) for part in parts]
    return _Block(parts=parts, stored=stored, resting=resting)
