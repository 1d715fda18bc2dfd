"""Which expert a step trains, on which noise, and with what."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from blissmask.cachefile.read_file import read_metadata
from blissmask.families.protocol import Denoiser, Expert
from blissmask.training.lora.layers.lora import Lora
from blissmask.training.lora.running_average import RunningAverage
from blissmask.training.memory.block_compiler import BlockCompiler, Result
from blissmask.training.memory.offload import BlockSwap, CpuWeights, move_weights
from blissmask.training.timesteps import NoiseOf

# `kyla-low`, `kyla-low-step00000500`, `kyla_HighNoise_v2`; "high" alone may belong to a subject.
_IN_NAME = re.compile(r"(high|low)[-_ ]?noise|[-_. ](high|low)(?:[-_ ]ema)?(?:[-_ ](?:step|e|v)?\d+)?$")
_COUNTED_AT_ONCE = 1_000_000
"""Steps that are counted at once: 8 MB."""
_HUMP = re.compile(r"(?<=[a-z\d])(?=[A-Z])")
"""Where a word begins in `kylaHigh`."""
_FILE_ENDINGS = re.compile(r"\.(safetensors|ckpt|pth?|gguf)$", re.IGNORECASE)
"""Of model files; what else stands behind a dot belongs to the name, as in `wan2.2-kyla-low`."""
_SAY = ("modelspec.title", "ss_output_name", "ss_sd_model_name")
"""Metadata that keep a name: the title and the name given to the LoRA, and the model file that it was trained on."""


def expert_in_name(name: str) -> str | None:
    """Return the expert that the name of a LoRA file says it is of, ``high`` or ``low``; None where it says none."""
    found = _IN_NAME.search(_HUMP.sub("_", name).lower())
    return None if found is None else found[1] or found[2]


def expert_of(path: Path) -> str | None:
    """Return the expert that a LoRA file says it is of, by its name or, where it was renamed, by its metadata.

    The files of both experts fit both, and nothing but names tells them apart.

    Raises:
        CacheError: the name does not say it, and the file cannot be read.
    """
    by_name = expert_in_name(path.stem)
    if by_name is not None:
        return by_name
    metadata = read_metadata(path)
    return next(filter(None, (expert_in_name(_FILE_ENDINGS.sub("", metadata.get(key, ""))) for key in _SAY)), None)


@dataclass(slots=True)
class Learner:
    """A denoiser with what trains it.

    Experts with a shared LoRA have the same ``lora`` parameters, optimiser, scheduler and average.

    Attributes:
        name: ``""`` for the only expert, else ``high`` or ``low``.
        denoiser: frozen but for the LoRA layers.
        lora: its trainable weights.
        noise: noise levels it is trained on.
        optimizer, scheduler: over ``lora``.
        swap: the blocks that rest in CPU memory; None when all stay on the device.
        cpu_weights: see :func:`offload.move_weights`.
        average: of ``lora`` over the steps; None when none is kept.
        compiler: of the denoiser's blocks; None when they are not compiled.
    """

    name: str
    denoiser: Denoiser
    lora: Lora
    noise: NoiseOf
    optimizer: Optimizer
    scheduler: LRScheduler
    swap: BlockSwap | None = None
    cpu_weights: CpuWeights = field(default_factory=dict)
    average: RunningAverage | None = None
    compiler: BlockCompiler | None = None

    def run(self, passes: Callable[[], Result], *, undo: Callable[[], None] = lambda: None) -> Result:
        """Make passes; see :meth:`BlockCompiler.run`."""
        return passes() if self.compiler is None else self.compiler.run(passes, undo=undo)

    def to(self, device: torch.device) -> None:
        """Move the denoiser to ``device``, but for the blocks that rest in CPU memory."""
        _move(self.denoiser, self.swap, device, self.cpu_weights)

    def readable(self) -> contextlib.AbstractContextManager[None]:
        """Return a context in which all weights can be read, also those of blocks that rest in CPU memory."""
        return contextlib.nullcontext() if self.swap is None else self.swap.readable()


@dataclass(frozen=True, slots=True)
class FrozenExpert:
    """An expert that is not trained, and draws previews with those that are, or in the place of one.

    Attributes as in :class:`Learner`; ``lora`` is None for an expert that draws without.
    """

    name: str
    denoiser: Denoiser
    lora: Lora | None = None
    swap: BlockSwap | None = None
    cpu_weights: CpuWeights = field(default_factory=dict)

    def to(self, device: torch.device) -> None:
        """As :meth:`Learner.to`."""
        _move(self.denoiser, self.swap, device, self.cpu_weights)


def _move(denoiser: Denoiser, swap: BlockSwap | None, device: torch.device, cpu_weights: CpuWeights) -> None:
    if swap is None:
        move_weights(denoiser.module, device, cpu_weights)
    else:
        swap.place(denoiser.module, device, cpu_weights)


@dataclass(frozen=True, slots=True)
class StepSchedule:
    """Which learner each step trains: long runs of one, then of the other, so that weights move rarely.

    Attributes:
        shares: share of the steps of each learner, in order; sums to 1.
        total: steps of the run, >= 1.
        rounds: how often the learners take turns in these steps.
    """

    shares: tuple[float, ...]
    total: int = 1
    rounds: int = 1

    def learner_at(self, step: int) -> int:
        """Return the position of the learner that step ``step`` (from 0) trains."""
        return int(self._learners_at(np.array([step]))[0])

    def steps_of(self, position: int) -> int:
        """Return how many steps train the learner at ``position``."""
        if len(self.shares) == 1:
            return self.total
        starts = range(0, self.total, _COUNTED_AT_ONCE)
        chunks = (np.arange(start, min(start + _COUNTED_AT_ONCE, self.total)) for start in starts)
        return sum(int((self._learners_at(steps_N) == position).sum()) for steps_N in chunks)

    def _learners_at(self, steps_N: NDArray[np.int64]) -> NDArray[np.intp]:
        places_N = ((steps_N + 0.5) * self.rounds / self.total) % 1.0
        # The shares sum to 1 but for rounding.
        return np.searchsorted(np.cumsum(self.shares)[:-1], places_N, side="right")


def schedule_steps(shares: Sequence[float], *, run_length: int, total: int) -> StepSchedule:
    """Spread the steps by ``shares``.

    Args:
        shares: > 0 each, any sum.
        run_length: steps in a row that the rarest learner gets, about.
        total: steps of the run; short runs have shorter turns, so that every learner gets its share.
    """
    whole = sum(shares)
    parts = tuple(share / whole for share in shares)
    return StepSchedule(parts, total, max(1, round(total * min(parts) / run_length)))


def wanted_experts(experts: Sequence[Expert], wanted: str | None) -> list[Expert]:
    """Return the experts to train, the high-noise one first.

    Args:
        experts: of the family; where there is one, it is trained.
        wanted: ``high``, ``low`` or ``both``; None is ``low``.
    """
    if len(experts) == 1:
        return list(experts)
    names = ("high", "low") if wanted == "both" else (wanted or "low",)
    return [expert for name in names for expert in experts if expert.name == name]
