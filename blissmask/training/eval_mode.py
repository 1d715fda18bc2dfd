"""Use the denoisers of a training in between, and leave no trace: what comes after is what would have come without."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from blissmask.training.experts import Learner
from blissmask.training.optim.optimizer import set_training_mode


@contextlib.contextmanager
def as_used(learners: Sequence[Learner]) -> Iterator[None]:
    """Let the weights be those that a LoRA file holds; only schedule-free optimisers tell them from those that are trained.

    Afterwards training goes on from the very weights it had: such an optimiser computes one from the other, and back
    with an error of rounding, so a run with more saves would end elsewhere.
    """
    switching = [learner for learner in learners if hasattr(learner.optimizer, "eval")]
    # On the CPU, since the device may be full.
    weights = [
        (weight, weight.detach().to("cpu", copy=True))
        for learner in switching
        for _, weight in learner.lora.named_parameters()
    ]
    try:
        for learner in switching:
            set_training_mode(learner.optimizer, training=False)
        yield
    finally:
        for learner in switching:
            set_training_mode(learner.optimizer, training=True)
        with torch.no_grad():
            for weight, kept in weights:
                weight.copy_(kept)


@contextlib.contextmanager
def undisturbed(learners: Sequence[Learner], device: torch.device) -> Iterator[None]:
    """Let the denoisers predict as they will be used: without dropout, with the weights of :func:`as_used`.

    Afterwards the weights, their modes and the random state of the process are what they were, bit by bit.

    Args:
        learners: whose denoisers are used.
        device: whose random state is kept, beside the CPU's.
    """
    modules = [learner.denoiser.module for learner in learners]
    modes = [(part, part.training) for module in modules for part in module.modules()]
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), as_used(learners):
            for module in modules:
                module.eval()
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        for part, mode in modes:
            part.training = mode
