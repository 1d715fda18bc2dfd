"""How much memory a training will need, told from the headers of the model file, and which options make it fit.

A formula, not a measurement. Activations are those of Korthikanti et al., "Reducing Activation Recomputation in Large Transformer Models"
(2022): 34 bytes per token, width and block in 16 bits, 2 with checkpointing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from blissmask.archs.checkpoint import open_checkpoint
from blissmask.config.training import ModelSection, TrainSection

_BLOCK = re.compile(r"((?:^|\.)\w*blocks\.\d+)\.")
_BYTES_PER_TRAINED = 16
"""float32: the weight, its gradient and two moments of AdamW."""
_ACTIVATION_BYTES, _CHECKPOINT_BYTES = 34, 2
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
    """What a step brings.

    Attributes:
        tokens: of the largest micro-batch.
        weight_bytes: of the frozen precision.
        swaps: whether blocks can be swapped; on a GPU only.
        processes: that share the run.
    """

    tokens: int
    weight_bytes: int
    swaps: bool
    processes: int = 1


def denoiser_files(model: ModelSection) -> list[Path]:
    """Return the files of one denoiser that are on this machine; empty for a hub id or ``tiny``."""
    if model.dit is not None:
        return [model.dit] if model.dit.is_file() else []
    folder = Path(model.model or "") / "transformer"
    return sorted(folder.glob("*.safetensors")) if model.model and folder.is_dir() else []


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
        found = _BLOCK.search(name)
        if found is None:
            outside += count
            continue
        blocks.add(found[1])
        inside += count
        if len(shape) == 2:
            widths[shape[1]] += 1
            per_rank += sum(shape)
    return ModelSize(len(blocks), inside, outside, widths.most_common(1)[0][0] if widths else 0, per_rank)


def estimate(size: ModelSize, section: TrainSection, load: Load) -> int:
    """Return about how many bytes the device needs."""
    block_bytes = size.block_weights * (1 if section.fp8_base or section.int8_base else load.weight_bytes)
    # The block that runs and the one that comes next are on the device beside those, or the parts of those, that stay.
    if section.blocks_to_swap and size.blocks:
        block_bytes = block_bytes * min(size.blocks, size.blocks - section.blocks_to_swap + 2) // size.blocks
    if section.fsdp and size.blocks:
        block_bytes = min(block_bytes, block_bytes // load.processes + 2 * block_bytes // size.blocks)
    weights = block_bytes + size.other_weights * load.weight_bytes
    per_block = load.tokens * size.width * load.weight_bytes // 2
    activations = (
        per_block * (_CHECKPOINT_BYTES * size.blocks + _ACTIVATION_BYTES)
        if section.gradient_checkpointing
        else per_block * _ACTIVATION_BYTES * size.blocks
    )
    return weights + size.lora_per_rank * section.network_dim * _BYTES_PER_TRAINED + activations + _CONTEXT


def choose_options(size: ModelSize, section: TrainSection, load: Load, *, free: int) -> tuple[TrainSection, bool]:
    """Return the mildest options that fit into ``free`` bytes, and whether they do.

    In this order, from no cost to the most: as given; checkpointing (slower, exact); half of the blocks swapped (slower, exact); int8
    (rounds the frozen weights); int8 with as many blocks swapped as it takes. What the user gave stays, float8 too.
    """
    options = section
    for options in _stages(size, section, load):
        if estimate(size, options, load) <= free * _USABLE:
            return options, True
    return options, False


def _stages(size: ModelSize, section: TrainSection, load: Load) -> Iterable[TrainSection]:
    yield section
    checkpointed = section.model_copy(update={"gradient_checkpointing": True})
    yield checkpointed
    most = size.blocks - 1 if load.swaps and not section.compile else 0
    exact = range(section.blocks_to_swap + 1, most // 2 + 1)
    yield from (checkpointed.model_copy(update={"blocks_to_swap": count}) for count in exact)
    rounded = checkpointed.model_copy(update={"int8_base": not section.fp8_base})
    yield rounded
    yield from (rounded.model_copy(update={"blocks_to_swap": count}) for count in range(section.blocks_to_swap + 1, most + 1))


def describe(section: TrainSection) -> str:
    """Return the memory options in words, for the plan."""
    names = [name for name in ("gradient_checkpointing", "int8_base", "fp8_base") if getattr(section, name)]
    if section.blocks_to_swap:
        names.append(f"blocks_to_swap = {section.blocks_to_swap}")
    return ", ".join(names) or "nothing is needed"
