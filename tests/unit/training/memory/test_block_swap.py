"""Swapped blocks come before they are needed, no more of them than three, from page-locked memory of their own size."""

import contextlib
import gc
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from blissmask.errors import MachineError
from blissmask.training.memory.host_memory import LockedMemory, flat_buffer
from blissmask.training.memory.offload import swap_blocks

CPU = torch.device("cpu")
BLOCKS = 6


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.frozen = nn.Linear(8, 8).requires_grad_(False)
        self.small = nn.Parameter(torch.randn(3, dtype=torch.bfloat16), requires_grad=False)
        self.trained = nn.Linear(8, 8)

    def forward(self, rows):
        return rows + self.frozen(rows).tanh() * self.small.float().sum() + self.trained(rows)


class Chain(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(BLOCKS + 1))

    def forward(self, rows):
        for block in self.blocks:
            rows = checkpoint(block, rows, use_reentrant=False) if torch.is_grad_enabled() else block(rows)
        return rows


class Denoiser:
    block_class_names = ("Block",)

    def __init__(self):
        torch.manual_seed(0)
        self.module = Chain()


class Gpu:
    """Stands for a GPU that does nothing until the host waits: what was not waited for may still be in use."""

    def __init__(self):
        self.queued = 0
        self.done = 0

    def record_event(self):
        gpu, place = self, self.queued

        class Event:
            def synchronize(self):
                gpu.done = max(gpu.done, place)

        return Event()

    def wait_event(self, event):
        pass


@pytest.fixture
def swapped(monkeypatch):
    """Return a chain of swapped blocks with what a GPU would see: the blocks fetched, and those in use at each fetch."""
    denoiser, gpu, seen = Denoiser(), Gpu(), {"fetched": [], "late": [], "in_use": []}
    swap = swap_blocks(denoiser, BLOCKS, device=CPU)
    swap._stream = gpu
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: gpu)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: None)
    genuine_fetch, genuine_enter = type(swap)._fetch, type(swap).enter
    uses = []

    def fetch(self, block):
        number = self._blocks.index(block)
        if block.present is None:
            seen["fetched"].append(number)
            still_used = {used for place, used in uses if place >= gpu.done}
            seen["in_use"].append(len(still_used | {number}))
        genuine_fetch(self, block)

    def enter(self, number):
        if self._blocks[number].present is None:
            seen["late"].append(number)
        uses.append((gpu.queued, number))
        genuine_enter(self, number)
        gpu.queued += 1

    monkeypatch.setattr(type(swap), "_fetch", fetch)
    monkeypatch.setattr(type(swap), "enter", enter)
    return denoiser.module, seen


def step(module):
    module(torch.randn(2, 8, requires_grad=True)).square().mean().backward()


def test_only_the_first_block_of_a_run_is_waited_for(swapped):
    module, seen = swapped
    for _ in range(2):
        with torch.no_grad():
            module(torch.randn(2, 8))
        step(module)
        step(module)
    assert seen["late"] == [0]


def test_where_a_pass_turns_its_last_block_is_not_fetched_again(swapped):
    module, seen = swapped
    step(module)
    step(module)
    up, down = list(range(BLOCKS)), list(reversed(range(BLOCKS - 1)))
    assert seen["fetched"] == [*up, *down, *up[1:], *down]


def test_no_more_than_three_blocks_are_on_the_device_however_far_the_host_is_ahead(swapped):
    module, seen = swapped
    for _ in range(3):
        step(module)
    assert max(seen["in_use"]) == 3


def test_a_block_that_was_kept_for_a_pass_that_did_not_come_is_let_go(swapped):
    module, seen = swapped
    module(torch.randn(2, 8, requires_grad=True))
    step(module)
    assert seen["fetched"][BLOCKS : BLOCKS + 2] == [0, 1]


def test_a_block_that_is_moved_away_leaves_nothing_on_the_device():
    denoiser = Denoiser()
    swap = swap_blocks(denoiser, BLOCKS, device=CPU)
    swap._fetch(swap._blocks[2])
    swap.place(denoiser.module, CPU, {})
    assert [block.present for block in swap._blocks] == [None] * BLOCKS


def test_swapped_blocks_compute_what_they_did_and_hold_nothing_while_they_rest():
    rows = torch.randn(2, 8)
    plain, denoiser = Denoiser(), Denoiser()
    swap_blocks(denoiser, BLOCKS, device=CPU)
    results = []
    for module in (plain.module, denoiser.module):
        out = module(rows)
        out.square().mean().backward()
        results.append([out, *(parameter.grad for parameter in module.parameters() if parameter.requires_grad)])
    assert all(torch.equal(first, second) for first, second in zip(*results, strict=True))
    assert all(
        parameter.numel() == 0 for parameter in denoiser.module.blocks[1:].parameters() if not parameter.requires_grad
    )


class Driver:
    """Stands for CUDA's runtime."""

    def __init__(self, code=0):
        self.code = code
        self.locked = []

    def register(self, pointer, size, flags):
        self.locked.append((pointer, size))
        return self.code

    def unregister(self, pointer):
        self.locked = [entry for entry in self.locked if entry[0] != pointer]
        return 0


@pytest.fixture
def driver(monkeypatch):
    made = Driver()
    runtime = SimpleNamespace(cudaHostRegister=made.register, cudaHostUnregister=made.unregister)
    monkeypatch.setattr(torch.cuda, "cudart", lambda: runtime)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    return made


def test_memory_is_locked_to_the_page_and_not_to_the_power_of_two(driver):
    size = (1 << 20) + 100
    buffer = flat_buffer(size)
    memory = LockedMemory()
    memory.add(buffer)
    ((pointer, locked),) = driver.locked
    assert pointer % 4096 == 0
    assert size <= locked < size + 4096
    assert locked == buffer.nbytes


def test_memory_is_unlocked_before_it_is_given_back(driver):
    memory = LockedMemory()
    memory.add(flat_buffer(5000))
    del memory
    gc.collect()
    assert driver.locked == []


def test_memory_that_cannot_be_locked_is_told(driver):
    driver.code = 2
    with pytest.raises(MachineError, match=r"cannot page-lock 0.0 GiB .* \(CUDA error 2\)"):
        LockedMemory().add(flat_buffer(1))
