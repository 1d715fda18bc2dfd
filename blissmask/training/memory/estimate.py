"""Estimate how much memory a training needs from the headers of the model files, and choose options that make it fit.

The estimate is a formula, not a measurement of the run. Its bytes per token and width were measured on one block of
each family with LoRA: what autograd keeps of a forward pass, and what the backward pass takes beside it. The numbers
here are those of Wan 1.3B, which are the highest; the blocks of other families keep two thirds to nine tenths of them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from blissmask.families.files.tensor_files import open_checkpoint
from blissmask.training.lora.layers.lora import LoraShape
from blissmask.training.memory.offload import MOST_PRESENT
from blissmask.training.memory.options import MemoryOptions
from blissmask.training.memory.quantised import NF4_BLOCK

_BLOCK = re.compile(r"(?:model\.|diffusion_model\.)*((?:\w*blocks|layers|\w+_refiner)\.\d+)\.")
"""A repeated block at the top of a model, by the names of its tensors, in any published layout of any family.

Blocks deeper inside refine text first; they are small and never swapped.
"""
_BYTES_PER_TRAINED = 8
"""float32: the weight and its gradient."""
_BYTES_PER_MOMENTS = 8
"""float32: two moments of AdamW."""
_KEPT = {2: 66, 4: 108}
"""Bytes per token and width that one block keeps for the backward pass, by the bytes of a weight."""
_KEPT_DORA = 177
"""The same with DoRA, whichever weights."""
_BESIDE = {2: 30, 4: 48}
"""Bytes per token and width that the backward pass takes at its height beside what is kept."""
_CONTEXT = 1 << 30
"""What the driver and the libraries take before the first tensor."""
_USABLE = 0.9
"""The part of the free memory to plan with; the rest is for fragments and what the formula leaves out."""


@dataclass(frozen=True, slots=True)
class ModelSize:
    """A denoiser, by its header.

    Attributes:
        blocks: repeated blocks.
        block_weights, other_weights: numbers of weights.
        width: of the tokens.
        lora_per_rank: numbers that LoRA of rank 1 adds to the blocks.
    """

    blocks: int
    block_weights: int
    other_weights: int
    width: int
    lora_per_rank: int


@dataclass(frozen=True, slots=True)
class Load:
    """What a training brings that no memory option changes.

    Attributes:
        tokens: of the largest micro-batch.
        weight_bytes: of the frozen precision.
        on_gpu: whether the device has memory of its own, and weights can rest outside of it.
        lora: what is trained.
        shared_lora: whether two experts share one LoRA.
        processes: that share the run.
    """

    tokens: int
    weight_bytes: int
    on_gpu: bool
    lora: LoraShape
    shared_lora: bool = False
    processes: int = 1


def measure_model(files: Iterable[Path]) -> ModelSize:
    """Read the headers of a denoiser's files. Raises ModelError when one is damaged."""
    return size_of((name, tensor.shape) for file in files for name, tensor in open_checkpoint(file).items())


def size_of(shapes: Iterable[tuple[str, Sequence[int]]]) -> ModelSize:
    """Return the size of the model with these tensors (name, shape)."""
    blocks: set[str] = set()
    widths: Counter[int] = Counter()
    inside = outside = per_rank = 0
    for name, shape in shapes:
        count = 1
        for side in shape:
            count *= side
        found = _BLOCK.match(name)
        if found is None:
            outside += count
            continue
        blocks.add(found[1])
        inside += count
        if len(shape) == 2:
            widths[shape[1]] += 1
            per_rank += sum(shape)
    return ModelSize(len(blocks), inside, outside, widths.most_common(1)[0][0] if widths else 0, per_rank)


@dataclass(frozen=True, slots=True)
class Forecast:
    """About how many bytes each part of a training takes on the device.

    Attributes:
        weights: frozen weights that are there at a time; what is swapped or takes its turn rests in CPU memory.
        lora: the trained numbers and their gradients.
        optimizer: the moments of AdamW.
        activations: what the forward pass keeps of the largest micro-batch, and the height of the backward pass.
        libraries: what the driver and the libraries take.
    """

    weights: int
    lora: int
    optimizer: int
    activations: int
    libraries: int = _CONTEXT

    @property
    def total(self) -> int:
        """Return the sum of the parts."""
        return self.weights + self.lora + self.optimizer + self.activations + self.libraries


def forecast(sizes: Sequence[ModelSize], options: MemoryOptions, load: Load) -> Forecast:
    """Return about how many bytes the device needs, part by part.

    Args:
        sizes: of the denoisers that are trained; all are on the device unless they take turns.
        options: those of the run.
        load: see :class:`Load`.
    """
    weights = [_on_device(size, options, load) for size in sizes]
    takes_turns = options.offload_inactive_dit and load.on_gpu
    trained = trained_numbers(sizes, load)
    return Forecast(
        weights=max(weights) if takes_turns else sum(weights),
        lora=trained * _BYTES_PER_TRAINED,
        optimizer=trained * _BYTES_PER_MOMENTS,
        activations=max(_activations(size, options, load) for size in sizes),
    )


def estimate(sizes: Sequence[ModelSize], options: MemoryOptions, load: Load) -> int:
    """Return about how many bytes the device needs; arguments as of :func:`forecast`."""
    return forecast(sizes, options, load).total


def trained_numbers(sizes: Sequence[ModelSize], load: Load) -> int:
    """Return about how many numbers are trained; experts that share their LoRA count once."""
    trained = [size.lora_per_rank * load.lora.rank for size in sizes]
    return trained[0] if load.shared_lora else sum(trained)


def resting_bytes(
    trained: Sequence[ModelSize], frozen_experts: Sequence[ModelSize], options: MemoryOptions, load: Load
) -> int:
    """Return about how many bytes of CPU memory the denoisers take that train there, rest there, or pass through it.

    Args:
        trained: sizes of the denoisers that are trained.
        frozen_experts: of those that only draw previews.
        options: those of the run.
        load: see :class:`Load`.
    """
    whole = [_frozen(size, options, load) for size in (*trained, *frozen_experts)]
    if not load.on_gpu:
        return estimate(trained, options, load) + sum(whole[len(trained) :])
    # What takes turns keeps a copy; see `offload`.
    keeps_copies = options.offload_inactive_dit or bool(frozen_experts)
    resting = sum(whole) if keeps_copies else sum(_swapped(size, options, load) for size in trained)
    passes_through = bool(options.blocks_to_swap or options.fsdp or options.rounds_base)
    unrounded = max(
        (size.block_weights + size.other_weights) * load.weight_bytes for size in (*trained, *frozen_experts)
    )
    return resting + (unrounded if passes_through else 0)


def _frozen(size: ModelSize, options: MemoryOptions, load: Load) -> int:
    return _block_bytes(size, options, load) + size.other_weights * load.weight_bytes


def _swapped(size: ModelSize, options: MemoryOptions, load: Load) -> int:
    """Return the bytes of the blocks that rest in CPU memory."""
    swapped = min(options.blocks_to_swap, size.blocks)
    return _block_bytes(size, options, load) * swapped // max(1, size.blocks)


def _block_bytes(size: ModelSize, options: MemoryOptions, load: Load) -> int:
    """Return the bytes of the frozen weights of all blocks."""
    if options.nf4_base:
        return size.block_weights // 2 + size.block_weights * load.weight_bytes // NF4_BLOCK
    return size.block_weights * (1 if options.rounds_base else load.weight_bytes)


def _on_device(size: ModelSize, options: MemoryOptions, load: Load) -> int:
    """Return the bytes of frozen weights that are on the device at a time."""
    block_bytes = _block_bytes(size, options, load)
    if options.blocks_to_swap and size.blocks and load.on_gpu:
        block_bytes = block_bytes * min(size.blocks, size.blocks - options.blocks_to_swap + MOST_PRESENT) // size.blocks
    if options.fsdp and size.blocks:
        # The block that runs and the one that comes next are whole.
        block_bytes = min(block_bytes, block_bytes // load.processes + 2 * block_bytes // size.blocks)
    return block_bytes + size.other_weights * load.weight_bytes


def _activations(size: ModelSize, options: MemoryOptions, load: Load) -> int:
    per_block = load.tokens * size.width
    kept = per_block * (_KEPT_DORA if load.lora.dora else _KEPT[load.weight_bytes])
    if load.lora.kind != "lora" and size.blocks:
        # The product of a layer's factors is as large as its weight, and is kept.
        kept += size.block_weights * load.weight_bytes // size.blocks
    beside = per_block * _BESIDE[load.weight_bytes]
    if options.gradient_checkpointing:
        # The input of each block, and all of the block that is computed again.
        return per_block * load.weight_bytes * size.blocks + kept + beside
    return kept * size.blocks + beside


def choose_options(
    sizes: Sequence[ModelSize], given: MemoryOptions, load: Load, *, free: int
) -> tuple[MemoryOptions, bool]:
    """Return the mildest options that fit into ``free`` bytes, and whether they do.

    In this order, from no cost to the most: as given; checkpointing (slower, exact); experts that take turns on the
    device (slower, exact); half of the blocks swapped (slower, exact); int8 (rounds the frozen weights); int8 with as
    many blocks swapped as it takes. What the user gave stays, float8 and NF4 too.
    """
    options = given
    for options in _from_mild_to_costly(sizes, given, load):
        if estimate(sizes, options, load) <= free * _USABLE:
            return options, True
    return options, False


def _from_mild_to_costly(sizes: Sequence[ModelSize], given: MemoryOptions, load: Load) -> Iterable[MemoryOptions]:
    yield given
    mild = replace(given, gradient_checkpointing=True)
    yield mild
    if len(sizes) > 1 and load.on_gpu and not given.fsdp:
        mild = replace(mild, offload_inactive_dit=True)
        yield mild
    most = min(size.blocks for size in sizes) - 1 if load.on_gpu and given.compile_backend is None else 0
    exact = range(given.blocks_to_swap + 1, most // 2 + 1)
    yield from (replace(mild, blocks_to_swap=count) for count in exact)
    rounded = replace(mild, int8_base=given.int8_base or not given.rounds_base)
    yield rounded
    yield from (replace(rounded, blocks_to_swap=count) for count in range(given.blocks_to_swap + 1, most + 1))
