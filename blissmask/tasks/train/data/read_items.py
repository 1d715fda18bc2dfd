"""Read the items of a training once before the first step, and announce how their masks weigh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from blissmask.cachefile.file_names import WRITTEN
from blissmask.cachefile.metadata import CAPTION
from blissmask.cachefile.read_entry import load_entry
from blissmask.cachefile.read_file import read_metadata
from blissmask.dataset.captions.caption_words import class_words
from blissmask.errors import Problem
from blissmask.events import Advanced, Announced, PhaseFinished, PhaseStarted, Warned
from blissmask.tasks.run.plan import RunContext, places_of
from blissmask.tasks.train.data.texts import load_class_text, load_other_texts
from blissmask.tasks.train.data.training_data import item_names
from blissmask.tasks.train.rules import caption_rule, prior_rule
from blissmask.tasks.train.train_plan import TrainPlan
from blissmask.training.data.alike import AlikeItems
from blissmask.training.data.items import TrainingItem, make_item
from blissmask.training.data.mask_totals import MaskTotals, banner
from blissmask.training.data.prefetch import ItemStore, memory_budget
from blissmask.training.data.set_totals import SetTotals
from blissmask.training.data.subject_totals import SubjectTotals
from blissmask.training.data.tier_values import others_than, tiers_of
from blissmask.training.record.item_losses import ItemLosses
from blissmask.training.weighting.rule import WeightRule


@dataclass(frozen=True, slots=True)
class TrainingItems:
    """The items of a run.

    Attributes:
        store: returns an item by its position; what fits stays in memory.
        totals: of the masks that are trained on; None when the mask loss is off.
        subjects: of the masks of each of several subjects.
        losses: of each item, as training goes on.
        sets: of each data set, in their order.
    """

    store: ItemStore
    totals: MaskTotals | None
    subjects: SubjectTotals
    losses: ItemLosses
    sets: Sequence[SetTotals]


def read_items(plan: TrainPlan, context: RunContext) -> TrainingItems:
    """Read every entry once, so that a broken one is found before the first step.

    Raises:
        CacheError: an entry holds NaN or infinity, or is unlike the others.
    """
    store, totals, alike = open_store(plan), MaskTotals(), AlikeItems()
    losses = ItemLosses(item_names(plan.data.headers))
    subjects = SubjectTotals([subject.name for subject in plan.config.subjects])
    held_out, left_out = frozenset(plan.data.held_out), frozenset(plan.data.left_out)
    sets = [SetTotals(section.own_triggers) for section in plan.config.datasets]
    repeats = [cached.repeats for cached in plan.data.sets for _ in cached.headers]
    numbers = [cached.number for cached in plan.data.sets for _ in cached.headers]
    context.reporter.emit(PhaseStarted("Reading the cache", len(repeats) - len(left_out)))
    for position, header in enumerate(plan.data.headers):
        if position in left_out:
            continue
        item = store.item(position)
        alike.check(header, item)
        caption = read_metadata(header.text_path).get(CAPTION, "")
        sets[numbers[position] - 1].add(header, item, caption=caption, stride=plan.family.latent.spatial_stride)
        # Held-out items teach nothing, so the banner does not count them.
        if position not in held_out and not item.prior_only:
            totals.add(item, repeats=repeats[position])
            subjects.add(item, repeats=repeats[position])
        context.reporter.emit(Advanced(1, header.stem))
    context.reporter.emit(PhaseFinished("Reading the cache"))
    captions = caption_rule(plan.config.datasets)
    if captions:
        context.reporter.emit(Announced((f" captions: {captions}",)))
    if plan.weights is None:
        _announce_cost(plan, context)
        return TrainingItems(store, None, subjects, losses, sets)
    _announce_masks(plan, plan.weights, totals, context)
    if plan.config.subjects:
        context.reporter.emit(Announced(subjects.lines(totals)))
    _announce_cost(plan, context)
    return TrainingItems(store, totals, subjects, losses, sets)


def open_store(plan: TrainPlan) -> ItemStore:
    """Return what reads the items of a training, each when it is asked for."""
    headers, weights, prior_only = plan.data.headers, plan.weights, plan.data.prior_only
    prior = prior_rule(plan.config.mask_loss)
    numbers = [cached.number for cached in plan.data.sets for _ in cached.headers]
    needs_class = plan.rule.trigger_free is not None

    def read(position: int) -> TrainingItem:
        header = headers[position]
        # Each mask is weighed by the tier values that it was made with.
        rule = None if weights is None else weights.for_masks_of(tiers_of(header, weights.tiers))
        section = plan.config.datasets[numbers[position] - 1]
        # Items that are only held to the base model are so with their caption as it is.
        words = class_words(section, numbers[position]) if needs_class and position not in prior_only else None
        return make_item(
            header,
            load_entry(header),
            rule=rule,
            prior=prior,
            prior_only=position in prior_only,
            latent=plan.family.latent,
            class_text=load_class_text(header, WRITTEN, words),
            others=load_other_texts(header, section, words),
            shown_frames=plan.family.task.shown_frames,
            subjects=tuple(section.subject),
        )

    return ItemStore(read, budget=memory_budget(plan.resting_bytes))


def _announce_cost(plan: TrainPlan, context: RunContext) -> None:
    cost = plan.cost_of_step
    if cost:
        context.reporter.emit(Announced((f" {cost}",)))


def _announce_masks(plan: TrainPlan, weights: WeightRule, totals: MaskTotals, context: RunContext) -> None:
    """Show the banner of the mask loss, and warn of items that teach nothing."""
    others = others_than(weights.tiers, plan.data.used_headers)
    scale = plan.config.mask_loss.mask_loss_scale
    left_out = len(plan.data.left_out)
    lines = banner(
        weights,
        totals,
        scale=scale,
        prior=prior_rule(plan.config.mask_loss),
        other_tiers=others,
        left_out=left_out,
        preset=plan.config.mask_loss.mask_preset,
    )
    context.reporter.emit(Announced(lines))
    # With `train`, the plan has named them. With `skip`, gamma alone can have brought weights down to nothing.
    if totals.empty and plan.config.mask_loss.empty_mask != "train":
        what = (
            f"{len(totals.empty)} of {totals.entries} cache entries have weight 0 everywhere: "
            "they teach nothing and are passed over"
        )
        context.reporter.emit(Warned(Problem(what, places_of(totals.empty))))
