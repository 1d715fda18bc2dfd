"""One optimiser step: the same for every model family, mask and mean.

B items, C channels, F latent frames, H and W latent rows and columns, R regions in the order of ``masks.tiers.TIERS``.

A step has four parts:

1. ``prepared_batch.prepare`` draws noise levels and decides how much each item counts. It needs the masks
   alone, so all processes agree on it before any forward pass.
2. :func:`_backward` runs once for each micro-batch and adds up gradients.
3. The optimiser moves the LoRA.
4. ``step_numbers.numbers_of`` makes the step's numbers for the logs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from blissmask.families.protocol import Batch
from blissmask.processes import ALONE, Processes
from blissmask.training.data.micro_batch import MicroBatch
from blissmask.training.device import is_out_of_memory, send
from blissmask.training.experts import Learner
from blissmask.training.lora.layers.lora import adapters_off
from blissmask.training.lora.layers.norm_limit import limit_norms
from blissmask.training.record.item_losses import ItemLosses
from blissmask.training.seeds import derive_seed, generator_for
from blissmask.training.step.prepared_batch import PreparedBatch, prepare
from blissmask.training.step.step_numbers import StepSums, numbers_of
from blissmask.training.step.step_rule import StepRule, is_unmasked
from blissmask.training.weighting.loss import error_map, region_sums, weighted_sums


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
    prepared = prepare(learner, window, rule, step, processes)
    # No forward pass is spent on micro-batches without anything to learn from. With a sharded model a process makes the
    # pass all the same where another process needs one, since each holds a part of the weights.
    learns = processes.passes([not part.is_empty for part in prepared])
    asks_base = processes.passes([part.asks_base for part in prepared])
    asks_class = processes.passes([part.has_class for part in prepared])

    def make_passes() -> tuple[StepSums, list[tuple[MicroBatch, Tensor]]]:
        sums = StepSums.zeros(device, len(rule.subjects))
        seen = []
        for part, is_needed, base, of_class in zip(prepared, learns, asks_base, asks_class, strict=True):
            if is_needed:
                sums_B = _backward(learner, part, rule, sums, device, ask_base=base, ask_class=of_class)
                seen.append((part.batch, sums_B))
        return sums, seen

    try:
        sums, seen = learner.run(make_passes, undo=partial(learner.optimizer.zero_grad, set_to_none=True))
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
    numbers = numbers_of(learner, prepared, sums, rule, processes)
    return {**numbers, "lr": learning_rate, "grad_norm": norm, **weight_norms}


def _backward(
    learner: Learner,
    part: PreparedBatch,
    rule: StepRule,
    sums: StepSums,
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
    if base_BCFHW is not None and part.has_prior:
        drift_B1FHW = error_map(pred_BCFHW, batch.predicted(base_BCFHW), subcells=batch.subcells)
        prior_loss = (weighted_sums(drift_B1FHW, batch.outside_B1FHW) * prior_coefficients_B).sum()
        sums.prior += prior_loss.detach()
        loss = loss + part.prior_factor * prior_loss
    loss.backward()  # type: ignore[no-untyped-call]
    if ask_class and base_BCFHW is not None:
        # After the graph of the first pass is gone, so that the activations of one pass are in memory at a time.
        _seed_dropout(learner, rule, "dropout of the class", batch)
        class_BCFHW = batch.predicted(learner.denoiser.predict(class_inputs))
        drift_B1FHW = error_map(class_BCFHW, batch.predicted(base_BCFHW), subcells=batch.subcells)
        class_loss = (weighted_sums(drift_B1FHW, batch.weights_B1FHW) * class_coefficients_B).sum()
        sums.trigger_free += class_loss.detach()
        class_loss.backward()  # type: ignore[no-untyped-call]
    # A pass that only another process needed shows nothing: see ``step_numbers``.
    if batch.regions_B4FHW is not None and not part.is_empty:
        errors_R = region_sums(errors_B1FHW.detach(), batch.regions_B4FHW)
        sums.region_errors_R += errors_R
        for number, subject in enumerate(rule.subjects):
            own_B4FHW = batch.regions_of(subject)
            if own_B4FHW is batch.regions_B4FHW:
                sums.subject_errors_SR[number] += errors_R
            elif own_B4FHW is not None:
                sums.subject_errors_SR[number] += region_sums(errors_B1FHW.detach(), own_B4FHW)
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
