"""A step on a model small enough to check by hand: a linear map of the channels of each cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from blissmask.families.protocol import Batch
from blissmask.training.data.items import TrainingItem
from blissmask.training.data.micro_batch import MicroBatch
from blissmask.training.experts import Learner
from blissmask.training.lora.layers.inject import inject_lora
from blissmask.training.lora.layers.lora import LoraShape
from blissmask.training.step import prepared_batch
from blissmask.training.step import run_step as step_module
from blissmask.training.step.run_step import run_step
from blissmask.training.step.step_rule import StepRule
from blissmask.training.timesteps import uniform
from blissmask.training.weighting.loss import weight_masses

CPU = torch.device("cpu")


class MixChannels(nn.Module):
    """One linear layer, which LoRA adapts."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(4, 4, bias=False)
        with torch.no_grad():
            self.mix.weight.copy_(torch.randn(4, 4, generator=torch.Generator().manual_seed(0)))


class ToyDenoiser:
    """A linear map of the channels of each cell, to which a text adds its own four."""

    lora_targets = "mix"
    block_class_names: tuple[str, ...] = ()
    identity = "toy"

    def __init__(self) -> None:
        self.module = MixChannels()
        self.calls = 0

    def predict(self, batch: Batch) -> Tensor:
        self.calls += 1
        inputs_BCFHW = batch.noisy_BCFHW
        text_B4 = batch.conditioning.get("text")
        if isinstance(text_B4, Tensor):
            inputs_BCFHW = inputs_BCFHW + text_B4[:, :, None, None, None]
        mixed: Tensor = self.module.mix(inputs_BCFHW.movedim(1, -1)).movedim(-1, 1)
        return mixed

    def original_name(self, module_name: str) -> str:
        return module_name


def make_learner() -> Learner:
    """Return a learner whose LoRA already does something, trained by SGD with a rate of 1: it moves by the gradient."""
    denoiser = ToyDenoiser()
    lora = inject_lora(denoiser, LoraShape(rank=2, alpha=2.0), seed=0)
    parameters = [parameter for _, parameter in lora.named_parameters()]
    for parameter in parameters:
        parameter.data = parameter.data + 0.1
    optimizer = torch.optim.SGD(parameters, lr=1.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
    return Learner("", denoiser, lora, lambda _: uniform(), optimizer, scheduler)


def make_item(
    seed: int,
    *,
    weights: Tensor | None = None,
    outside: Tensor | None = None,
    text: Sequence[float] | None = None,
    class_text: Sequence[float] | None = None,
) -> TrainingItem:
    """Return an item of 2 x 3 cells; the latents are a function of the seed."""
    latents = torch.randn(4, 1, 2, 3, generator=torch.Generator().manual_seed(seed))
    mass = float(latents.numel()) if weights is None else float(weight_masses(weights.unsqueeze(0), 4))
    return TrainingItem(
        name=str(seed),
        latents_Cfhw=latents,
        weights_1fhw=weights,
        outside_1fhw=outside,
        regions_4fhw=None,
        conditioning={} if text is None else {"text": torch.tensor(text)},
        mass=mass,
        class_text=None if class_text is None else {"text": torch.tensor(class_text)},
    )


def rows(*values: float) -> Tensor:
    """Return weights (1, 1, 2, 3) with one value per row."""
    return torch.tensor(values).reshape(1, 1, 2, 1).expand(1, 1, 2, 3).contiguous()


def fix_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every item its own noise and one level, in whatever micro-batch it stands."""

    def noise_batch(batch: MicroBatch, levels_B: Tensor, *, seed: int, device: torch.device) -> tuple[Tensor, Batch]:
        noise = torch.stack(
            [torch.randn(4, 1, 2, 3, generator=torch.Generator().manual_seed(100 + int(n))) for n in batch.names]
        )
        level = torch.full((len(batch.names),), 0.5)
        noisy = 0.5 * batch.latents_BCFHW + 0.5 * noise
        return noise - batch.latents_BCFHW, Batch(noisy, level, batch.conditioning)

    monkeypatch.setattr(step_module, "noise_batch", noise_batch)
    monkeypatch.setattr(prepared_batch, "draw_levels", lambda noise, count, **_: torch.full((count,), 0.5))


def update_of(
    batches: Sequence[MicroBatch], rule: StepRule, *, step: int = 0
) -> tuple[Tensor, dict[str, Tensor | float]]:
    """Return what one step of SGD moves, as one vector, and the step's numbers."""
    learner = make_learner()
    before = torch.cat([parameter.detach().flatten() for _, parameter in learner.lora.named_parameters()])
    numbers = run_step(learner, batches, rule, step=step, device=CPU)
    after = torch.cat([parameter.detach().flatten() for _, parameter in learner.lora.named_parameters()])
    return after - before, numbers


def rule(**options: Any) -> StepRule:
    """Return the rule of a step without clipping."""
    return StepRule(**{"seed": 1, "max_grad_norm": 0.0, **options})
