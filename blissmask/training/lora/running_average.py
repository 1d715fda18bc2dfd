"""A running average of the LoRA over the steps (EMA), float32 beside the weights that are trained.

After step n each averaged weight becomes ``d * average + (1 - d) * weight``, with d the smaller of the decay and
``(1 + n) / (10 + n)``: the start, where B is zero, is soon forgotten. TensorFlow's ExponentialMovingAverage
(``num_updates``) and diffusers' EMAModel use the same rule.

The average never enters the training: a run with it trains the same weights, bit by bit, as one without.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from blissmask.training.lora.layers.lora import Lora


class RunningAverage:
    """The averaged weights of one LoRA, and how many steps are in them.

    Args:
        lora: it starts from the weights that this has now.
        decay: largest share of the average that stays after a step, (0, 1).
    """

    def __init__(self, lora: Lora, decay: float) -> None:
        self._lora = lora
        self._decay = decay
        self.restart()

    @property
    def decay(self) -> float:
        """Return the largest share of the average that stays after a step."""
        return self._decay

    def update(self) -> None:
        """Take the weights of now into the average."""
        self.updates += 1
        share = min(self._decay, (1 + self.updates) / (10 + self.updates))
        weights = []
        for name, parameter in self._lora.named_parameters():
            weights.append(parameter.detach())
            if self._averages[name].device != parameter.device:
                # Experts that take turns move to the CPU and back.
                self._averages[name] = self._averages[name].to(parameter.device)
        averages = [self._averages[name] for name, _ in self._lora.named_parameters()]
        get_ema_multi_avg_fn(share)(averages, weights, self.updates)  # type: ignore[no-untyped-call]

    def tensors(self) -> dict[str, Tensor]:
        """Return the averaged weights by the names of the LoRA's parameters; writing into them changes the average."""
        return dict(self._averages)

    def restart(self) -> None:
        """Begin anew with the weights of now."""
        self._averages = {name: parameter.detach().clone() for name, parameter in self._lora.named_parameters()}
        self.updates = 0

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the LoRA be the average; afterwards its weights are what they were, bit by bit."""
        named = self._lora.named_parameters()
        trained = [parameter.data for _, parameter in named]
        for name, parameter in named:
            parameter.data = self._averages[name].to(parameter.device)
        try:
            yield
        finally:
            for (_, parameter), weight in zip(named, trained, strict=True):
                parameter.data = weight
