"""What a training will do, as tables for `--dry-run`."""

from __future__ import annotations

from collections.abc import Sequence

from blissmask.tasks.run.plan import Table
from blissmask.tasks.train.rules import caption_rule
from blissmask.tasks.train.train_plan import TrainPlan
from blissmask.training.data.mask_totals import tier_rows
from blissmask.training.weighting.rule import WeightRule


def overview(plan: TrainPlan, model_rows: Sequence[tuple[str, str]]) -> Table:
    """Return the facts of the training as a table for ``--dry-run``; ``model_rows`` are about the base model."""
    data, steps = plan.data, plan.steps
    rows = [("family", f"{plan.family.name}, {plan.family.task_name}")]
    experts = [expert.name for expert in steps.experts if expert.name]
    if experts:
        rows.append(("experts", ", ".join(experts)))
    rows += [("steps", line) for line in steps.expert_lines()]
    rows.append(("cache entries", str(len(data.order.items))))
    if data.left_out:
        rows.append(("left out, weight 0 everywhere", str(len(data.left_out))))
    if data.held_out:
        rows.append(("held out for validation", str(len(data.held_out))))
    rows.append(("micro-batches per epoch", str(steps.batches_per_epoch)))
    rows.append(("steps in all", str(steps.total)))
    rows.append(("epochs", f"{steps.epochs:.1f}"))
    if plan.processes.count > 1:
        rows.append(("processes", str(plan.processes.count)))
    rows.append(("mask loss", "on" if plan.config.mask_loss.use_mask_loss else "off"))
    captions = caption_rule(plan.config.datasets)
    if captions:
        rows.append(("captions", captions))
    if data.prior_only:
        rows.append(("only held to the base model", str(len(data.prior_only))))
    if plan.cost_of_step:
        rows.append(("cost of a step", plan.cost_of_step))
    if plan.previews is not None:
        rows.append(("previews", plan.previews.describe(plan.config.previews, end_apart=plan.draws_end_apart)))
    rows += model_rows
    return Table("Training", ("Setting", "Value"), tuple(rows))


def mask_table(weights: WeightRule | None) -> list[Table]:
    """Return the weight of each tier in the loss as a table; none where the mask loss is off."""
    if weights is None:
        return []
    return [Table("Mask loss", ("Tier", "Value", "Weight", "Loss weight"), tuple(tier_rows(weights)))]
