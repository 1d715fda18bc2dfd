"""One optimiser step: the same for every model family, mask and mean.

B items, C channels, F latent frames, H and W latent rows and columns, R regions in the order of ``masks.tiers.TIERS``,
S subjects in the order of the rule.

A step has four parts:

1. :func:`_prepare` draws noise levels and decides how much each item counts. It needs the masks alone, so all processes
   agree on it before any forward pass.
2. :func:`_backward` runs once for each micro-batch and adds up gradients.
3. The optimiser moves the LoRA.
4. :func:`_totals` and :func:`_metrics` make the step's numbers for the logs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from blissmask.families.protocol import Batch
from blissmask.masks.tiers import TIERS
from blissmask.processes import ALONE, Processes
from blissmask.training.data.batches import MicroBatch
from blissmask.training.data.item_losses import ItemLosses
from blissmask.training.device import is_out_of_memory, send
from blissmask.training.experts import Learner
from blissmask.training.lora.layers import adapters_off, limit_norms
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
from blissmask.training.weighting.prior import PriorRule, TriggerFreeRule


@dataclass(frozen=True, slots=True)
class StepRule:
    """What a step does with its items.

    Attributes:
        seed: of the run; every draw is a function of it and the micro-batch's number.
        mean: see ``loss.item_coefficients``.
        area_beta: each item's loss is multiplied by its mean loss weight to this power. With ``mean="sample"``, 1 gives
            the plain mean of loss times weight.
        unmasked_probability: share of the steps that ignore masks.
        prior: None without prior preservation.
        trigger_free: None where captions without the trigger hold nothing.
        loss_type, huber_delta: see ``loss.error_map``.
        weighting: see ``timesteps.loss_factors``.
        strata: see ``timesteps.draw_levels``.
        max_grad_norm: 0 for no clipping.
        max_weight_norm: see ``lora.layers.limit_norms``; 0 for no limit.
        subjects: several, whose regions are told apart in the logs.
    """

    seed: int
    mean: MaskMean = "batch"
    area_beta: float = 0.0
    unmasked_probability: float = 0.0
    prior: PriorRule | None = None
    trigger_free: TriggerFreeRule | None = None
    loss_type: LossType = "mse"
    huber_delta: float = 1.0
    weighting: str = "none"
    strata: int = 0
    max_grad_norm: float = 1.0
    max_weight_norm: float = 0.0
    subjects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _PreparedBatch:
    """A micro-batch, its noise levels, and what the sums of each item are multiplied by; all on the CPU."""

    batch: MicroBatch
    levels_B: Tensor
    coefficients_B: Tensor
    prior_coefficients_B: Tensor
    class_coefficients_B: Tensor

    @property
    def packed(self) -> Tensor:
        """Return levels and all kinds of coefficients as one float32 tensor (4, B), so that one copy sends all."""
        coefficients = (self.coefficients_B, self.prior_coefficients_B, self.class_coefficients_B)
        return torch.stack([self.levels_B, *(each_B.float() for each_B in coefficients)])

    @property
    def has_prior(self) -> bool:
        """Whether the prior term holds any item to the base model."""
        return bool(self.prior_coefficients_B.any())

    @property
    def has_class(self) -> bool:
        """Whether any item is held to the base model with the class word in its caption."""
        return bool(self.class_coefficients_B.any())

    @property
    def asks_base(self) -> bool:
        """Whether the base model must predict, too: once, whoever needs it."""
        return self.has_prior or self.has_class

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to learn from."""
        return not self.asks_base and not bool(self.coefficients_B.any())


@dataclass(slots=True)
class _Sums:
    """Losses and errors summed over a step's micro-batches, on the device."""

    loss: Tensor
    prior: Tensor
    trigger_free: Tensor
    region_errors_R: Tensor
    subject_errors_SR: Tensor

    @classmethod
    def zeros(cls, device: torch.device, subjects: int) -> _Sums:
        return cls(
            loss=torch.zeros((), device=device),
            prior=torch.zeros((), device=device),
            trigger_free=torch.zeros((), device=device),
            region_errors_R=torch.zeros(len(TIERS), device=device),
            subject_errors_SR=torch.zeros(subjects, len(TIERS), device=device),
        )

    def over(self, processes: Processes) -> _Sums:
        """Return the sums over all processes; they travel as one tensor."""
        losses = torch.stack([self.loss, self.prior, self.trigger_free])
        errors = torch.cat([self.region_errors_R, self.subject_errors_SR.flatten()])
        summed = processes.sum(torch.cat([losses, errors]))
        of_all, of_subjects = summed[3 : 3 + len(TIERS)], summed[3 + len(TIERS) :]
        return _Sums(
            loss=summed[0],
            prior=summed[1],
            trigger_free=summed[2],
            region_errors_R=of_all,
            subject_errors_SR=of_subjects.reshape(self.subject_errors_SR.shape),
        )


def run_step(
    learner: Learner,
    window: Sequence[MicroBatch],
    rule: StepRule,
    *,
    step: int,
    device: torch.device,
    processes: Processes = ALONE,
    losses: ItemLosses | None = None,
    on_out_of_memory: Callable[[], None] | None = None,
) -> dict[str, Tensor | float]:
    """Train one optimiser step on ``window``.

    Args:
        learner: what is trained.
        window: the micro-batches of the step that this process has.
        rule: what to do with them.
        step: number of the step, from 0.
        device: of the denoiser.
        processes: that share the step.
        losses: take the loss of each item, once the step is made.
        on_out_of_memory: called when memory runs out before any weight was changed; the error is raised afterwards.

    Returns:
        The step's numbers, over all processes. Tensors among them are on the device still; reading one waits for it.
    """
    prepared = _prepare(learner, window, rule, step, processes)
    sums = _Sums.zeros(device, len(rule.subjects))
    seen: list[tuple[MicroBatch, Tensor]] = []
    # No forward pass is spent on micro-batches without anything to learn from. With a sharded model a process makes the
    # pass all the same where another process needs one, since each holds a part of the weights.
    learns = processes.passes([not part.is_empty for part in prepared])
    asks_base = processes.passes([part.asks_base for part in prepared])
    asks_class = processes.passes([part.has_class for part in prepared])
    try:
        for part, is_needed, base, of_class in zip(prepared, learns, asks_base, asks_class, strict=True):
            if is_needed:
                sums_B = _backward(learner, part, rule, sums, device, ask_base=base, ask_class=of_class)
                seen.append((part.batch, sums_B))
    except Exception as error:
        if is_out_of_memory(error):
            learner.optimizer.zero_grad(set_to_none=True)
            if on_out_of_memory is not None:
                on_out_of_memory()
        raise
    parameters = [parameter for _, parameter in learner.lora.named_parameters()]
    processes.sum_gradients(parameters)
    # An infinite limit clips nothing, and still gives the norm.
    norm = torch.nn.utils.clip_grad_norm_(parameters, rule.max_grad_norm or float("inf"))
    learning_rate = float(learner.scheduler.get_last_lr()[0])
    # Where every item was empty there are no gradients, and the optimiser leaves the weights as they are.
    learner.optimizer.step()
    learner.scheduler.step()
    learner.optimizer.zero_grad(set_to_none=True)
    weight_norms = limit_norms(learner.lora, rule.max_weight_norm) if rule.max_weight_norm else {}
    if learner.average is not None:
        learner.average.update()
    # Not in a step that ignores the masks: its losses are of the whole picture.
    if losses is not None and not is_unmasked(rule, step):
        for batch, sums_B in seen:
            losses.add(batch.positions, batch.masses_B, sums_B)
    metrics = _metrics(learner, _totals(prepared, rule, processes), sums.over(processes), rule)
    return {**metrics, "lr": learning_rate, "grad_norm": norm, **weight_norms}


def is_unmasked(rule: StepRule, step: int) -> bool:
    """Return whether step number ``step`` ignores the masks."""
    return _is_drawn(rule.seed, "unmasked", step, rule.unmasked_probability)


def holds_class(rule: StepRule, step: int) -> bool:
    """Return whether step number ``step`` holds captions without the trigger to the base model."""
    return rule.trigger_free is not None and _is_drawn(rule.seed, "trigger-free", step, rule.trigger_free.share)


def _is_drawn(seed: int, purpose: str, step: int, share: float) -> bool:
    return share > 0 and float(torch.rand((), generator=generator_for(seed, purpose, step))) < share


def _prepare(
    learner: Learner, window: Sequence[MicroBatch], rule: StepRule, step: int, processes: Processes
) -> list[_PreparedBatch]:
    """Draw the noise levels of every item, and decide how much it counts in the step's mean."""
    batches = list(window)
    if is_unmasked(rule, step):
        batches = [batch.without_masks() for batch in window]
    masses = [batch.masses_B for batch in batches]
    outside_masses = [batch.outside_masses_B for batch in batches]
    # Of all items, also in steps that hold none of them: whether an item is held must not move the others.
    class_masses = [batch.class_masses for batch in batches]
    counts = processes.sum(torch.stack([mass_counts(masses), mass_counts(outside_masses), mass_counts(class_masses)]))
    coefficients = item_coefficients(masses, mean=rule.mean, counts=counts[0])
    outside_coefficients = item_coefficients(outside_masses, mean=rule.mean, counts=counts[1])
    class_coefficients = item_coefficients(class_masses, mean=rule.mean, counts=counts[2])
    trigger_free = rule.trigger_free if holds_class(rule, step) else None
    prepared = []
    for batch, coefficients_B, outside_B, class_B in zip(
        batches, coefficients, outside_coefficients, class_coefficients, strict=True
    ):
        levels_B = _draw_levels_of(batch, learner, rule)
        area_B = batch.mean_weights**rule.area_beta
        prior_B = 0.0 if rule.prior is None else rule.prior.strengths(levels_B, step=step)
        trigger_free_B = 0.0 if trigger_free is None else trigger_free.strengths(levels_B)
        prepared.append(
            _PreparedBatch(
                batch=batch,
                levels_B=levels_B,
                coefficients_B=coefficients_B * area_B * loss_factors(levels_B, rule.weighting),
                prior_coefficients_B=outside_B * prior_B,
                class_coefficients_B=class_B * trigger_free_B,
            )
        )
    return prepared


def _draw_levels_of(batch: MicroBatch, learner: Learner, rule: StepRule) -> Tensor:
    rows, columns = batch.latents_BCFHW.shape[-2:]
    return draw_levels(
        learner.noise((int(rows), int(columns))),
        len(batch.names),
        seed=rule.seed,
        micro_batch=batch.number,
        strata=rule.strata,
        first=batch.first_draw,
    )


def _backward(
    learner: Learner,
    part: _PreparedBatch,
    rule: StepRule,
    sums: _Sums,
    device: torch.device,
    *,
    ask_base: bool,
    ask_class: bool,
) -> Tensor:
    """Add the gradients of one micro-batch to the parameters, and its losses to ``sums``.

    Returns:
        The weighted sum of errors of each item, (B,), on the device.
    """
    batch = part.batch.to(device)
    levels_B, coefficients_B, prior_coefficients_B, class_coefficients_B = send(part.packed, device).unbind()
    target_BCFHW, inputs = noise_batch(batch, levels_B, seed=rule.seed, device=device)
    class_inputs = inputs
    if rule.trigger_free is not None and batch.class_conditioning is not None:
        class_inputs = replace(inputs, conditioning=batch.class_conditioning)
    base_BCFHW = None
    if ask_base:
        # One pass for both terms: the base model does not know the trigger, and reads the class word in its place.
        with adapters_off(learner.lora):
            base_BCFHW = learner.denoiser.predict(class_inputs)
    _seed_dropout(learner, rule, "dropout", batch)
    pred_BCFHW = batch.predicted(learner.denoiser.predict(inputs))
    errors_B1FHW = error_map(
        pred_BCFHW,
        batch.predicted(target_BCFHW),
        loss_type=rule.loss_type,
        huber_delta=rule.huber_delta,
        subcells=batch.subcells,
    )
    sums_B = weighted_sums(errors_B1FHW, batch.weights_B1FHW)
    loss = (sums_B * coefficients_B).sum()
    sums.loss += loss.detach()
    if base_BCFHW is not None:
        drift_B1FHW = error_map(pred_BCFHW, batch.predicted(base_BCFHW), subcells=batch.subcells)
        prior_loss = (weighted_sums(drift_B1FHW, batch.outside_B1FHW) * prior_coefficients_B).sum()
        sums.prior += prior_loss.detach()
        loss = loss + prior_loss
    loss.backward()  # type: ignore[no-untyped-call]
    if ask_class and base_BCFHW is not None:
        # After the graph of the first pass is gone, so that the activations of one pass are in memory at a time.
        _seed_dropout(learner, rule, "dropout of the class", batch)
        class_BCFHW = batch.predicted(learner.denoiser.predict(class_inputs))
        drift_B1FHW = error_map(class_BCFHW, batch.predicted(base_BCFHW), subcells=batch.subcells)
        class_loss = (weighted_sums(drift_B1FHW, batch.weights_B1FHW) * class_coefficients_B).sum()
        sums.trigger_free += class_loss.detach()
        class_loss.backward()  # type: ignore[no-untyped-call]
    # A pass that only another process needed shows nothing: see _shown_masses.
    if batch.regions_B4FHW is not None and not part.is_empty:
        errors_R = region_sums(errors_B1FHW.detach(), batch.regions_B4FHW)
        sums.region_errors_R += errors_R
        if batch.subject in rule.subjects:
            sums.subject_errors_SR[rule.subjects.index(batch.subject)] += errors_R
    return sums_B.detach()


def _seed_dropout(learner: Learner, rule: StepRule, purpose: str, batch: MicroBatch) -> None:
    """Make what a pass drops a function of the micro-batch, so that a resumed run drops the same.

    Dropout, and peft's LoKr and LoHa in every forward pass, draw from the global generator.
    """
    if learner.lora.shape.dropout or learner.lora.shape.kind != "lora":
        torch.manual_seed(derive_seed(rule.seed, purpose, batch.number))


def noise_batch(batch: MicroBatch, levels_B: Tensor, *, seed: int, device: torch.device) -> tuple[Tensor, Batch]:
    """Return the target, noise minus latents, and the model's input, ``(1 - t) * latents + t * noise``.

    Args:
        batch: on ``device``.
        levels_B: noise level t of each item.
        seed: of the run; the noise is a function of it and the micro-batch's number.
        device: where the noise is drawn; a GPU draws other numbers than a CPU.
    """
    latents_BCFHW = batch.latents_BCFHW
    generator = generator_for(seed, "noise", batch.number, device=device)
    noise_BCFHW = torch.randn(latents_BCFHW.shape, generator=generator, device=device)
    levels_B = send(levels_B, device)
    t_B1111 = levels_B.reshape(-1, 1, 1, 1, 1)
    inputs = Batch((1 - t_B1111) * latents_BCFHW + t_B1111 * noise_BCFHW, levels_B, batch.conditioning)
    return noise_BCFHW - latents_BCFHW, inputs


def _totals(prepared: Sequence[_PreparedBatch], rule: StepRule, processes: Processes) -> dict[str, float]:
    """Return what the step's items add up to over all processes; these facts are known without the device.

    Keys: ``items``; ``cells``, the predicted numbers of all items; ``level``, the sum of the noise levels; ``mass``;
    ``empty`` items; ``masked`` and ``learned`` micro-batches; ``prior`` and ``class`` items that are held to the base
    model; ``region/NAME``, the mass of each region that was shown; and ``region/SUBJECT/NAME``, that of each subject's.
    """
    totals = dict.fromkeys(("items", "cells", "level", "mass", "empty", "masked", "learned", "prior", "class"), 0.0)
    for part in prepared:
        batch = part.batch
        totals["items"] += len(batch.names)
        totals["cells"] += len(batch.names) * batch.numbers_per_item
        totals["level"] += float(part.levels_B.sum())
        totals["mass"] += float(batch.masses_B.sum())
        totals["empty"] += 0 if batch.prior_only else int((batch.masses_B <= EMPTY_MASS).sum())
        totals["masked"] += batch.weights_B1FHW is not None
        totals["learned"] += bool(part.coefficients_B.any())
        totals["prior"] += int((part.prior_coefficients_B > 0).sum())
        totals["class"] += int((part.class_coefficients_B > 0).sum())
    totals |= _named("region", _shown_masses(prepared))
    for subject in rule.subjects:
        totals |= _named(
            f"region/{subject}", _shown_masses([part for part in prepared if part.batch.subject == subject])
        )
    summed = processes.sum(torch.tensor(list(totals.values()), dtype=torch.float64)).tolist()
    return dict(zip(totals, summed, strict=True))


def _metrics(learner: Learner, totals: Mapping[str, float], sums: _Sums, rule: StepRule) -> dict[str, Tensor | float]:
    """Return the numbers that the logs show, in the order in which they show them."""
    metrics: dict[str, Tensor | float] = {}
    # A step of empty items has no loss; 0 would read as a very good one.
    if totals["learned"]:
        metrics["loss"] = sums.loss
        if learner.name:
            metrics[f"loss/{learner.name}"] = sums.loss
    metrics["timestep"] = totals["level"] / totals["items"]
    if totals["masked"]:
        metrics["mask/weight"] = totals["mass"] / totals["cells"]
        metrics["mask/empty"] = totals["empty"]
    if rule.prior is not None:
        metrics["prior/loss"] = sums.prior
        metrics["prior/items"] = totals["prior"]
    if rule.trigger_free is not None:
        metrics["trigger_free/loss"] = sums.trigger_free
        metrics["trigger_free/items"] = totals["class"]
    metrics |= _region_losses("", sums.region_errors_R, totals)
    for subject, errors_R in zip(rule.subjects, sums.subject_errors_SR, strict=True):
        metrics |= _region_losses(f"{subject}/", errors_R, totals)
    return metrics


def _region_losses(whose: str, errors_R: Tensor, totals: Mapping[str, float]) -> dict[str, Tensor | float]:
    """Return the plain mean error of each region that was shown.

    Args:
        whose: a subject and a slash; empty for all of them.
        errors_R: summed.
        totals: hold the masses.
    """
    masses = [totals[f"region/{whose}{tier.value}"] for tier in TIERS]
    return {
        f"loss/{whose}{tier.value}": errors / mass
        for tier, errors, mass in zip(TIERS, errors_R, masses, strict=True)
        if mass > 0
    }


def _named(prefix: str, masses_R: Tensor) -> dict[str, float]:
    return {f"{prefix}/{tier.value}": mass for tier, mass in zip(TIERS, masses_R.tolist(), strict=True)}


def _shown_masses(prepared: Sequence[_PreparedBatch]) -> Tensor:
    """Return the mass of each region in the items that were predicted, (R,) float32; 0 for regions not shown."""
    masses_R = torch.zeros(len(TIERS))
    for part in prepared:
        if not part.is_empty and part.batch.regions_B4FHW is not None:
            masses_R += region_masses(part.batch.regions_B4FHW, part.batch.channels_of_a_weight)
    return masses_R
