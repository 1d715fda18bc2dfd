"""Use the denoisers of a running training for previews, validation and files without changing the training.

After each of these, training continues as if it had not happened: bit by bit the same.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from blissmask.training.experts import Learner
from blissmask.training.optim.optimizer import set_training_mode


@contextlib.contextmanager
def inference_weights(learners: Sequence[Learner]) -> Iterator[None]:
    """Give the learners the weights that a LoRA file holds.

    Only schedule-free optimisers keep other weights for training than for inference. They compute each from the other
    with an error of rounding, so the training weights are kept and put back afterwards; otherwise a run that saves more
    often would end with another LoRA.
    """
    switching = [learner for learner in learners if hasattr(learner.optimizer, "eval")]
    # The copies go to CPU memory, since the device may be full.
    kept = [
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
            for weight, before in kept:
                weight.copy_(before)


@contextlib.contextmanager
def evaluation_mode(learners: Sequence[Learner], device: torch.device) -> Iterator[None]:
    """Let the denoisers predict as at inference: without dropout and with :func:`inference_weights`.

    Afterwards the weights, the mode of every module and the process's random state are what they were, bit by bit.

    Args:
        learners: whose denoisers are used.
        device: its random state is kept, beside the CPU's.
    """
    modules = [learner.denoiser.module for learner in learners]
    modes = [(part, part.training) for module in modules for part in module.modules()]
    python_state, numpy_state = random.getstate(), np.random.get_state()
    gpus = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=gpus), inference_weights(learners):
            for module in modules:
                module.eval()
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        for part, mode in modes:
            part.training = mode
