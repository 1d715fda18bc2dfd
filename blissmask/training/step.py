"""One optimiser step: the same for every model family, mask and mean.

B items, C channels, F latent frames, H and W latent rows and columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from blissmask.families.protocol import Batch
from blissmask.masks.tiers import TIERS
from blissmask.training.data.batches import MicroBatch
from blissmask.training.device import is_out_of_memory, send
from blissmask.training.experts import Learner
from blissmask.training.lora.layers import adapters_off, limit_norms
from blissmask.training.processes import ALONE, Processes
from blissmask.training.seeds import derive_seed, generator_for
from blissmask.training.timesteps import draw_levels, loss_factors
from blissmask.training.weighting.loss import (
    EMPTY_MASS,
    LossType,
    MaskMean,
    error_map,
    item_coefficients,
    mass_counts,
    region_masses,
    region_sums,
    weighted_sums,
)
from blissmask.training.weighting.prior import PriorRule


@dataclass(frozen=True, slots=True)
class StepRule:
    """What a step does with its items.

    Attributes:
        seed: of the run; every draw is a function of it and the micro-batch's number.
        mean: see ``loss.item_coefficients``.
        area_beta: an item's loss is multiplied by its mean loss weight to this power; 1 with ``sample`` is the plain
            mean of loss times weight.
        unmasked_probability: share of the steps that ignore masks.
        prior: None without prior preservation.
        loss_type, huber_delta: see ``loss.error_map``.
        weighting: see ``timesteps.loss_factors``.
        strata: see ``timesteps.draw_levels``.
        max_grad_norm: 0 for no clipping.
        max_weight_norm: see ``weight_norms.limit_norms``; 0 for no limit.
    """

    seed: int
    mean: MaskMean = "batch"
    area_beta: float = 0.0
    unmasked_probability: float = 0.0
    prior: PriorRule | None = None
    loss_type: LossType = "mse"
    huber_delta: float = 1.0
    weighting: str = "none"
    strata: int = 0
    max_grad_norm: float = 1.0
    max_weight_norm: float = 0.0


@dataclass(slots=True)
class _Tally:
    """Sums over a step's micro-batches, on the device."""

    loss: Tensor
    prior: Tensor
    region_errors_R: Tensor


@dataclass(frozen=True, slots=True)
class _Weighed:
    """A micro-batch with its noise levels and what each item's sums are multiplied by; all on the CPU."""

    batch: MicroBatch
    levels_B: Tensor
    coefficients_B: Tensor
    prior_coefficients_B: Tensor

    @property
    def numbers(self) -> Tensor:
        """Return levels and both kinds of coefficients as one tensor (3, B), float32, so that they travel together."""
        return torch.stack([self.levels_B, self.coefficients_B.float(), self.prior_coefficients_B.float()])

    @property
    def held(self) -> bool:
        """Say whether the base model is asked, too."""
        return bool(self.prior_coefficients_B.any())

    @property
    def idle(self) -> bool:
        """Say whether there is nothing to learn from."""
        return not self.held and not bool(self.coefficients_B.any())


def run_step(
    learner: Learner,
    window: Sequence[MicroBatch],
    rule: StepRule,
    *,
    step: int,
    device: torch.device,
    processes: Processes = ALONE,
    on_out_of_memory: Callable[[], None] | None = None,
) -> dict[str, Tensor | float]:
    """Train one optimiser step on ``window`` and return its numbers; tensors among them are still on the device.

    Args:
        learner: what is trained.
        window: the micro-batches of the step that this process has.
        rule: how.
        step: number of the step, from 0.
        device: of the denoiser.
        processes: that share the step; the numbers are of all of them.
        on_out_of_memory: called when memory runs out before any weight was changed; the error goes on from there.
    """
    weighed = _weigh(learner, window, rule, step, processes)
    tally = _Tally(
        torch.zeros((), device=device), torch.zeros((), device=device), torch.zeros(len(TIERS), device=device)
    )
    # No pass is spent on what there is nothing to learn from, unless another process cannot make its own without this
    # one.
    learning, asking = (
        processes.passes([not part.idle for part in weighed]),
        processes.passes([part.held for part in weighed]),
    )
    try:
        for part, learns, asks in zip(weighed, learning, asking, strict=True):
            if learns:
                _backward(learner, part, rule, tally, device, ask_base=asks)
    except Exception as error:
        if is_out_of_memory(error):
            learner.optimizer.zero_grad(set_to_none=True)
            if on_out_of_memory is not None:
                on_out_of_memory()
        raise
    parameters = [parameter for _, parameter in learner.lora.named_parameters()]
    processes.sum_gradients(parameters)
    norm = torch.nn.utils.clip_grad_norm_(parameters, rule.max_grad_norm or float("inf"))
    learning_rate = float(learner.scheduler.get_last_lr()[0])
    # Where every item was empty there are no gradients, and the optimiser leaves the weights as they are.
    learner.optimizer.step()
    learner.scheduler.step()
    learner.optimizer.zero_grad(set_to_none=True)
    sizes = limit_norms(learner.lora, rule.max_weight_norm) if rule.max_weight_norm else {}
    totals = _totals(weighed, tally, processes)
    return {**_numbers(learner, totals, rule), "lr": learning_rate, "grad_norm": norm, **sizes}


def is_unmasked(rule: StepRule, step: int) -> bool:
    """Say whether step ``step`` ignores the masks."""
    if not rule.unmasked_probability:
        return False
    return float(torch.rand((), generator=generator_for(rule.seed, "unmasked", step))) < rule.unmasked_probability


def _weigh(
    learner: Learner, window: Sequence[MicroBatch], rule: StepRule, step: int, processes: Processes
) -> list[_Weighed]:
    """Decide what every item of the step counts, before any forward pass."""
    unmasked = is_unmasked(rule, step)
    batches = [batch.without_masks() for batch in window] if unmasked else list(window)
    levels = [
        draw_levels(
            learner.noise(_grid(batch)),
            len(batch.names),
            seed=rule.seed,
            micro_batch=batch.number,
            strata=rule.strata,
            first=batch.first_draw,
        )
        for batch in batches
    ]
    masses, outside_masses = [batch.masses_B for batch in batches], [batch.outside_masses_B for batch in batches]
    counts = processes.sum(torch.stack([mass_counts(masses), mass_counts(outside_masses)]))
    coefficients = item_coefficients(masses, mean=rule.mean, counts=counts[0])
    outside = item_coefficients(outside_masses, mean=rule.mean, counts=counts[1])
    return [
        _Weighed(
            batch,
            levels_B,
            coefficients_B * batch.mean_weights**rule.area_beta * loss_factors(levels_B, rule.weighting),
            outside_B * (rule.prior.strengths(levels_B) if rule.prior else 0.0),
        )
        for batch, levels_B, coefficients_B, outside_B in zip(batches, levels, coefficients, outside, strict=True)
    ]


def _backward(
    learner: Learner, part: _Weighed, rule: StepRule, tally: _Tally, device: torch.device, *, ask_base: bool
) -> None:
    batch = part.batch.to(device)
    levels_B, coefficients_B, prior_coefficients_B = send(part.numbers, device).unbind()
    target_BCFHW, inputs = noise_batch(batch, levels_B, seed=rule.seed, device=device)
    teacher_BCFHW = None
    if ask_base:
        with adapters_off(learner.lora):
            teacher_BCFHW = learner.denoiser.predict(inputs)
    if learner.lora.shape.dropout or learner.lora.shape.kind != "lora":
        # Dropout, and peft's LoKr and LoHa always, draw from the global generator; this makes it a function of the
        # micro-batch, so a resumed run drops the same.
        torch.manual_seed(derive_seed(rule.seed, "dropout", batch.number))
    pred_BCFHW = batch.predicted(learner.denoiser.predict(inputs))
    errors_B1FHW = error_map(
        pred_BCFHW, batch.predicted(target_BCFHW), loss_type=rule.loss_type, huber_delta=rule.huber_delta
    )
    loss = (weighted_sums(errors_B1FHW, batch.weights_B1FHW) * coefficients_B).sum()
    tally.loss += loss.detach()
    if teacher_BCFHW is not None:
        drift_B1FHW = error_map(pred_BCFHW, batch.predicted(teacher_BCFHW))
        prior_loss = (weighted_sums(drift_B1FHW, batch.outside_B1FHW) * prior_coefficients_B).sum()
        tally.prior += prior_loss.detach()
        loss = loss + prior_loss
    loss.backward()  # type: ignore[no-untyped-call]
    if batch.regions_B4FHW is not None and not part.idle:
        tally.region_errors_R += region_sums(errors_B1FHW.detach(), batch.regions_B4FHW)


def noise_batch(batch: MicroBatch, levels_B: Tensor, *, seed: int, device: torch.device) -> tuple[Tensor, Batch]:
    """Return the target, noise minus latents, and the model's input, ``(1 - t) * latents + t * noise``.

    Args:
        batch: on ``device``.
        levels_B: noise level t of each item.
        seed: of the run; the noise is a function of it and the micro-batch's number.
    """
    latents_BCFHW = batch.latents_BCFHW
    noise_BCFHW = torch.randn(
        latents_BCFHW.shape, generator=generator_for(seed, "noise", batch.number, device=device), device=device
    )
    levels_B = send(levels_B, device)
    t_B1111 = levels_B.reshape(-1, 1, 1, 1, 1)
    inputs = Batch((1 - t_B1111) * latents_BCFHW + t_B1111 * noise_BCFHW, levels_B, batch.conditioning)
    return noise_BCFHW - latents_BCFHW, inputs


@dataclass(frozen=True, slots=True)
class _Totals:
    """What a step comes to over all processes; the first three are on the device."""

    loss: Tensor
    prior: Tensor
    region_errors_R: Tensor
    region_masses_R: list[float]
    items: float
    cells: float
    level: float
    mass: float
    empty: float
    masked: bool
    learned: bool
    prior_items: float


def _totals(weighed: Sequence[_Weighed], tally: _Tally, processes: Processes) -> _Totals:
    facts = [
        sum(len(part.batch.names) for part in weighed),
        sum(len(part.batch.names) * part.batch.numbers_per_item for part in weighed),
        sum(float(part.levels_B.sum()) for part in weighed),
        sum(float(part.batch.masses_B.sum()) for part in weighed),
        sum(int((part.batch.masses_B <= EMPTY_MASS).sum()) for part in weighed),
        sum(part.batch.weights_B1FHW is not None for part in weighed),
        sum(bool(part.coefficients_B.any()) for part in weighed),
        sum(int((part.prior_coefficients_B > 0).sum()) for part in weighed),
    ]
    summed = processes.sum(
        torch.cat([torch.tensor(facts, dtype=torch.float64), _shown_masses(weighed).double()])
    ).tolist()
    items, cells, level, mass, empty, masked, learned, prior_items = summed[: len(facts)]
    errors = processes.sum(torch.cat([tally.loss.reshape(1), tally.prior.reshape(1), tally.region_errors_R]))
    return _Totals(
        *(errors[0], errors[1], errors[2:], summed[len(facts) :]),
        *(items, cells, level, mass, empty, masked > 0, learned > 0, prior_items),
    )


def _numbers(learner: Learner, totals: _Totals, rule: StepRule) -> dict[str, Tensor | float]:
    values: dict[str, Tensor | float] = {
        # A step of empty items has no loss; 0 would read as a very good one.
        **({"loss": totals.loss} if totals.learned else {}),
        **({f"loss/{learner.name}": totals.loss} if totals.learned and learner.name else {}),
        "timestep": totals.level / totals.items,
    }
    if totals.masked:
        values["mask/weight"] = totals.mass / totals.cells
        values["mask/empty"] = totals.empty
    if rule.prior is not None:
        values["prior/loss"] = totals.prior
        values["prior/items"] = totals.prior_items
    shown = totals.region_masses_R
    return values | {
        f"loss/{tier.value}": totals.region_errors_R[at] / shown[at] for at, tier in enumerate(TIERS) if shown[at] > 0
    }


def _shown_masses(weighed: Sequence[_Weighed]) -> Tensor:
    """Return the mass of each region in the items that were predicted, (R,); 0 where the step did not show it."""
    masses_R = torch.zeros(len(TIERS))
    for part in weighed:
        if not part.idle and part.batch.regions_B4FHW is not None:
            masses_R += region_masses(part.batch.regions_B4FHW, part.batch.latents_BCFHW.shape[1])
    return masses_R


def _grid(batch: MicroBatch) -> tuple[int, int]:
    rows, columns = batch.latents_BCFHW.shape[-2:]
    return int(rows), int(columns)
