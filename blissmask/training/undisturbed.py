"""Use the denoisers of a training in between, and leave no trace: what comes after is what would have come without."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from blissmask.training.experts import Learner
from blissmask.training.optimizer import set_training_mode


@contextlib.contextmanager
def undisturbed(learners: Sequence[Learner], device: torch.device) -> Iterator[None]:
    """Let the denoisers predict as they will be used: without dropout, a schedule-free optimiser's weights averaged.

    Afterwards the weights, their modes and the random state of the process are what they were, bit by bit.

    Args:
        learners: whose denoisers are used.
        device: whose random state is kept, beside the CPU's.
    """
    modules = [learner.denoiser.module for learner in learners]
    modes = [(part, part.training) for module in modules for part in module.modules()]
    # Schedule-free optimisers compute one version of the weights from the other, and back with an error of rounding.
    switching = [learner for learner in learners if hasattr(learner.optimizer, "eval")]
    # On the CPU, since the device may be full.
    weights = [(weight, weight.detach().to("cpu", copy=True)) for learner in switching for _, weight in learner.lora.named_parameters()]
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            for learner in learners:
                learner.denoiser.module.eval()
                set_training_mode(learner.optimizer, training=False)
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        for learner in learners:
            set_training_mode(learner.optimizer, training=True)
        with torch.no_grad():
            for weight, kept in weights:
                weight.copy_(kept)
        for part, mode in modes:
            part.training = mode
