"""`train --rank-items`: the loss of every item at fixed noise, in each region, with a LoRA and without.

What is unlike the others comes first, in the table and in a sheet with the pictures.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from blissmask.config.model import Config
from blissmask.config.sections.saving_section import PreviewsSection
from blissmask.errors import ModelError, StoppedError, UsageError
from blissmask.events import Advanced, PhaseFinished, PhaseStarted, Warned
from blissmask.media.sheets.html_page import is_html_sheet
from blissmask.plurals import counted
from blissmask.storage import atomic
from blissmask.storage.ordinary import in_the_way
from blissmask.storage.seen import states_of
from blissmask.tasks.rank_items.item_sheet import draw_item_sheet
from blissmask.tasks.rank_items.outliers import FEWEST, WHOLE, ItemLoss, Judged, judge, percent
from blissmask.tasks.ranking.candidates import (
    COMMAND,
    OUT_OF_THE_WAY,
    Candidate,
    outputs,
    plan_finished,
    refuse_none,
    saved_loras,
    scale_warnings,
    unreadable_files,
)
from blissmask.tasks.ranking.loaded_model import bring_to_device, load_candidate, load_model, refuse_no_numbers
from blissmask.tasks.run.plan import Action, Plan, PlannedItem, RunContext, Summary, Table
from blissmask.tasks.run.wording import number_text
from blissmask.tasks.run.workers import begin
from blissmask.tasks.train.data.read_items import open_store
from blissmask.tasks.train.data.training_data import item_names
from blissmask.tasks.train.memory.fit_memory import explained_out_of_memory
from blissmask.tasks.train.saving.page.rankings import ITEMS, renew_rankings
from blissmask.tasks.train.train_lora import learner_plan_of
from blissmask.tasks.train.train_plan import TrainPlan
from blissmask.training.data.prefetch import ItemStore
from blissmask.training.device import find_device
from blissmask.training.experts import Learner
from blissmask.training.lora.layers.lora import adapters_off
from blissmask.training.validation import HeldOut, validate

SHEET = "items.html"
_SHOWN = 12
"""Rows of the table; the sheet has all."""


@dataclass(slots=True, kw_only=True)
class RankItemsPlan(Plan):
    """What a ranking of items does.

    Attributes:
        training: that the items and the LoRA are of.
        lora: with which they are looked at.
        folder: of the results.
    """

    training: TrainPlan
    lora: Candidate
    folder: Path


def plan(config: Config) -> RankItemsPlan:
    """Find the LoRA and the items.

    Raises:
        UsageError: there is no LoRA, several are named, or several processes run.
        ModelError: its file cannot be read.
        InputError: something that is not ours stands where the items would go.
        BlissmaskError: what planning the training raises.
    """
    planned = plan_finished(config.model_copy(update={"previews": PreviewsSection()}))
    lora = _lora(config, planned)
    if unreadable := unreadable_files([lora]):
        raise ModelError.several(list(unreadable.values()))
    folder = planned.names.ranking
    if (folder / SHEET).exists() and not is_html_sheet(folder / SHEET):
        raise in_the_way(folder / SHEET, "the items", fix=OUT_OF_THE_WAY)
    output = folder / ITEMS
    item = PlannedItem(
        key=lora.name,
        action=Action.WRITE,
        reason=f"loss of {counted(len(planned.data.used_headers), 'item')} with it and without",
        inputs=lora.files,
        output=output,
        states=states_of(lora.files, output),
    )
    return RankItemsPlan(
        command=COMMAND,
        items=[item],
        outputs=outputs(config),
        warnings=scale_warnings([lora]),
        training=planned,
        lora=lora,
        folder=folder,
    )


def _lora(config: Config, planned: TrainPlan) -> Candidate:
    """Return the named LoRA, or else the last one of the training that is no average."""
    named, names = config.ranking.rank_file, planned.names
    if named and (len(named) > 1 or len(names.lora_names) > 1):
        raise UsageError(
            "items are ranked with one LoRA, and with both of a training of two experts",
            where=list(named),
            fix="name one `--rank-file`, or none for the last one of the training",
        )
    found = [Candidate(path.stem, (path,)) for path in named]
    if not named:
        found = [each for each in saved_loras(names) if not each.name.startswith(f"{names.lora_names[0]}-ema")]
    refuse_none(found, config, names)
    return found[-1]


def run(plan: RankItemsPlan, context: RunContext) -> Summary:
    """Look at every item, and write what was found.

    Raises:
        ModelError: the model cannot be loaded, or the LoRA is of another shape than the training's.
        MachineError: the model does not fit into the memory, or the disk is full.
        StoppedError: a signal asked to stop; nothing is written.
    """
    summary = begin(plan)
    with explained_out_of_memory(plan.training.config, plan.training.data.sets):
        store = open_store(plan.training)
        device = find_device(plan.training.config.model.device)
        learners = load_model(plan.training, learner_plan_of(plan.training, device), store, context)
        load_candidate(learners, plan.lora)
        positions = [position for position in _used(plan.training) if not store.item(position).empty]
        losses = _losses(plan, learners, store, positions, context)
    judged = judge(losses)
    lines = [_line(each) for each in judged]
    atomic.write_text(plan.folder / ITEMS, json.dumps({"lora": plan.lora.name, "items": lines}, indent=1) + "\n")
    where = {loss.name: position for loss, position in zip(losses, positions, strict=True)}
    title = f"Items by loss with {plan.lora.name}, {counted(len(judged), 'item')}"
    draw_item_sheet(plan.folder / SHEET, judged, where, plan.training, store, title=title, context=context)
    if problem := renew_rankings(plan.training.names):
        context.reporter.emit(Warned(problem))
    odd = [each for each in judged if each.remarks]
    summary.written = 1
    summary.headline = f"Looked at {counted(len(judged), 'item')}, {len(odd)} unlike the others"
    summary.destination = str(plan.folder / SHEET)
    summary.details |= {"items_ranked": lines, "lora": plan.lora.name}
    summary.tables.append(_table(judged))
    return summary


def _used(planned: TrainPlan) -> list[int]:
    """Return the positions of the items that are trained or validated on."""
    left_out = set(planned.data.left_out)
    return [position for position in range(len(planned.data.headers)) if position not in left_out]


def _losses(
    plan: RankItemsPlan,
    learners: Sequence[Learner],
    store: ItemStore,
    positions: Sequence[int],
    context: RunContext,
) -> list[ItemLoss]:
    """Return the loss of each item, the mean over the experts."""
    training_plan = plan.training
    device = find_device(training_plan.config.model.device)
    look = HeldOut(positions=(), item=store.item, rule=training_plan.rule, device=device)
    found: list[list[ItemLoss]] = [[] for _ in positions]
    names = item_names([training_plan.data.headers[position] for position in positions])
    context.reporter.emit(PhaseStarted("Looking at items", len(positions) * len(learners)))
    for learner in learners:
        bring_to_device(learner, learners, training_plan, device)
        for place, (position, name) in enumerate(zip(positions, names, strict=True)):
            if signal := context.stop_signal():
                raise StoppedError("the items were not all looked at, and nothing is written", signal_number=signal)
            one = dataclasses.replace(look, positions=(position,))
            trained = _parts(validate(learner, one))
            with adapters_off(learner.lora):
                base = _parts(validate(learner, one))
            refuse_no_numbers(base, ())
            refuse_no_numbers(trained, plan.lora.files)
            found[place].append(ItemLoss(name, trained, base))
            context.reporter.emit(Advanced(1, name))
    context.reporter.emit(PhaseFinished("Looking at items"))
    return [_mean(losses) for losses in found]


def _parts(values: Mapping[str, torch.Tensor | float]) -> dict[str, float]:
    """Return the loss of the whole item and of each region, by name."""
    numbers = {name.removeprefix("val/loss").removeprefix("/"): float(value) for name, value in values.items()}
    return {name or WHOLE: value for name, value in numbers.items() if name not in ("high", "low")}


def _mean(losses: Sequence[ItemLoss]) -> ItemLoss:
    def over(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
        return {name: statistics.fmean(part[name] for part in parts) for name in parts[0]}

    return ItemLoss(losses[0].name, over([loss.trained for loss in losses]), over([loss.base for loss in losses]))


def _line(judged: Judged) -> dict[str, object]:
    loss = judged.loss
    return {"item": loss.name, "loss": dict(loss.trained), "base": dict(loss.base), "remarks": list(judged.remarks)}


def _table(judged: Sequence[Judged]) -> Table:
    rows = []
    for each in judged[:_SHOWN]:
        loss = each.loss
        numbers = (number_text(loss.trained[WHOLE]), number_text(loss.base[WHOLE]), percent(loss.learned(WHOLE)))
        rows.append((loss.name, *numbers, percent(loss.learned("face")), each.remarks[0] if each.remarks else ""))
    further = len(judged) - len(rows)
    footer = (f"and {counted(further, 'more item')} in the sheet", "", "", "", "", "") if further > 0 else ()
    title = "Items, the most unusual first"
    if len(judged) < FEWEST:
        title = f"Items; what is usual is known from {FEWEST} on"
    return Table(title, ("Item", "Loss", "Without", "Learned", "Face learned", "Remark"), tuple(rows), footer)
