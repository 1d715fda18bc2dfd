"""The numbers of a step for the logs: what its items add up to, their losses, and the error of each region.

R regions in the order of ``masks.tiers.TIERS``, S subjects in the order of the rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from blissmask.masks.tiers import TIERS
from blissmask.processes import Processes
from blissmask.training.experts import Learner
from blissmask.training.step.prepared_batch import PreparedBatch
from blissmask.training.step.step_rule import StepRule
from blissmask.training.weighting.loss import EMPTY_MASS, region_masses


@dataclass(slots=True)
class StepSums:
    """Losses and errors summed over a step's micro-batches, on the device.

    Attributes:
        loss: of what is learned.
        prior, trigger_free: of the two terms that hold items to the base model; see ``weighting.prior``.
        region_errors_R: plain errors of each region, of all items that were shown.
        subject_errors_SR: the same of the regions of each subject.
    """

    loss: Tensor
    prior: Tensor
    trigger_free: Tensor
    region_errors_R: Tensor
    subject_errors_SR: Tensor

    @classmethod
    def zeros(cls, device: torch.device, subjects: int) -> StepSums:
        """Return sums of nothing yet.

        Args:
            device: of the denoiser.
            subjects: how many are told apart.
        """
        return cls(
            loss=torch.zeros((), device=device),
            prior=torch.zeros((), device=device),
            trigger_free=torch.zeros((), device=device),
            region_errors_R=torch.zeros(len(TIERS), device=device),
            subject_errors_SR=torch.zeros(subjects, len(TIERS), device=device),
        )

    def over(self, processes: Processes) -> StepSums:
        """Return the sums over all processes; they travel as one tensor."""
        losses = torch.stack([self.loss, self.prior, self.trigger_free])
        errors = torch.cat([self.region_errors_R, self.subject_errors_SR.flatten()])
        summed = processes.sum(torch.cat([losses, errors]))
        of_all, of_subjects = summed[3 : 3 + len(TIERS)], summed[3 + len(TIERS) :]
        return StepSums(
            loss=summed[0],
            prior=summed[1],
            trigger_free=summed[2],
            region_errors_R=of_all,
            subject_errors_SR=of_subjects.reshape(self.subject_errors_SR.shape),
        )


def numbers_of(
    learner: Learner, prepared: Sequence[PreparedBatch], sums: StepSums, rule: StepRule, processes: Processes
) -> dict[str, Tensor | float]:
    """Return the numbers of a step over all processes; those from ``sums`` stay on the device.

    Args:
        learner: that was trained.
        prepared: the micro-batches of this process.
        sums: over them.
        rule: of the step.
        processes: that share the step.
    """
    return _metrics(learner, _totals(prepared, rule, processes), sums.over(processes), rule)


def _totals(prepared: Sequence[PreparedBatch], rule: StepRule, processes: Processes) -> dict[str, float]:
    """Return what the step's items add up to over all processes; these facts are known without the device.

    Keys: ``items``; ``cells``, the predicted numbers of all items; ``level``, the sum of the noise levels; ``mass``;
    ``empty`` items; ``masked`` and ``learned`` micro-batches; ``prior`` and ``class`` items that are held to the base
    model; ``let_go``, those that other steps hold; ``region/NAME``, the mass of each region that was shown; and
    ``region/SUBJECT/NAME``, that of each subject's.
    """
    totals = dict.fromkeys(("items", "cells", "level", "mass", "empty", "masked", "learned"), 0.0)
    totals |= dict.fromkeys(("prior", "let_go", "class"), 0.0)
    for part in prepared:
        batch = part.batch
        totals["items"] += len(batch.names)
        totals["cells"] += len(batch.names) * batch.numbers_per_item
        totals["level"] += float(part.levels_B.sum())
        totals["mass"] += float(batch.masses_B.sum())
        totals["empty"] += 0 if batch.prior_only else int((batch.masses_B <= EMPTY_MASS).sum())
        totals["masked"] += batch.weights_B1FHW is not None
        totals["learned"] += bool(part.coefficients_B.any())
        totals["prior" if part.prior_factor else "let_go"] += int((part.prior_coefficients_B > 0).sum())
        totals["class"] += int((part.class_coefficients_B > 0).sum())
    totals |= _named("region", _shown_masses(prepared))
    for subject in rule.subjects:
        totals |= _named(f"region/{subject}", _shown_masses(prepared, subject))
    summed = processes.sum(torch.tensor(list(totals.values()), dtype=torch.float64)).tolist()
    return dict(zip(totals, summed, strict=True))


def _metrics(
    learner: Learner, totals: Mapping[str, float], sums: StepSums, rule: StepRule
) -> dict[str, Tensor | float]:
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
        # Of a part of the items it would be the loss of those that are only held, and not to be compared.
        metrics |= _held("prior", sums.prior, totals["prior"], is_whole=not totals["let_go"])
    if rule.trigger_free is not None:
        metrics |= _held("trigger_free", sums.trigger_free, totals["class"])
    metrics |= _region_losses("", sums.region_errors_R, totals)
    for subject, errors_R in zip(rule.subjects, sums.subject_errors_SR, strict=True):
        metrics |= _region_losses(f"{subject}/", errors_R, totals)
    return metrics


def _held(term: str, loss: Tensor, items: float, *, is_whole: bool = True) -> dict[str, Tensor | float]:
    """Return how many items a term holds to the base model, and their loss where there are any: 0 would say nothing."""
    losses = {f"{term}/loss": loss} if items and is_whole else {}
    return {**losses, f"{term}/items": items}


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


def _shown_masses(prepared: Sequence[PreparedBatch], subject: str | None = None) -> Tensor:
    """Return the mass of each region in the items that were predicted, (R,) float32; 0 for regions not shown.

    Args:
        prepared: the micro-batches.
        subject: whose regions; None for those of all.
    """
    masses_R = torch.zeros(len(TIERS))
    for part in prepared:
        batch = part.batch
        regions_B4FHW = batch.regions_B4FHW if subject is None else batch.regions_of(subject)
        if not part.is_empty and regions_B4FHW is not None:
            masses_R += region_masses(regions_B4FHW, batch.channels_of_a_weight)
    return masses_R
