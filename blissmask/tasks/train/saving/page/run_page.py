"""The page of a training, ``NAME.html`` beside the LoRA: redrawn at every save, and what one reads months later.

It is made of the files that the training leaves anyway, the step log, previews and checkpoints, and of what was
measured when its items were read. It needs no other file: it may be moved alone.
"""

from __future__ import annotations

import html
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from blissmask import __version__
from blissmask.errors import BlissmaskError, InputError, Problem, left_undone
from blissmask.events import Warned
from blissmask.masks.tiers import TIERS
from blissmask.media.sheets.html_page import page_file
from blissmask.plurals import counted
from blissmask.storage import atomic
from blissmask.tasks.run.plan import RunContext, Table
from blissmask.tasks.run.wording import bytes_text, number_text
from blissmask.tasks.train.data.read_items import TrainingItems
from blissmask.tasks.train.data.training_data import item_names
from blissmask.tasks.train.saving.curve import save_curve, smoothed, smoothing_length, svg_curve
from blissmask.tasks.train.saving.page.data_sets import data_sets
from blissmask.tasks.train.saving.page.log_columns import (
    Column,
    columns_of,
    columns_of_subjects,
    groups_of,
    notes_on,
)
from blissmask.tasks.train.saving.page.place import MARK, NOT_WRITTEN, page_kept_out
from blissmask.tasks.train.saving.page.previews_grid import previews_grid
from blissmask.tasks.train.saving.page.rankings import rankings
from blissmask.tasks.train.saving.page.sections import places, section, table
from blissmask.tasks.train.saving.page.settings_list import settings
from blissmask.tasks.train.train_plan import TrainPlan
from blissmask.training.data.mask_totals import count_line, edge_lines, share_rows
from blissmask.training.record.item_losses import ItemLosses
from blissmask.training.record.metrics import read_log

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
_SHOWN = 12
"""Items in the table, as in that of a ranking; ``train --json`` tells all of them."""

_PLACES = 20
"""Files that are named of what changed after it was cached."""

Log = Sequence[Mapping[str, float]]


class Drawing:
    """The loss curve and the page, drawn at every save and at the end.

    What prevents them is a warning: pictures never cost a training. It is told once, not again where the plan did.

    Args:
        plan: of the run.
        items: what was measured when they were read is on the page.
        context: its reporter is told.
    """

    def __init__(self, plan: TrainPlan, items: TrainingItems, context: RunContext) -> None:
        self._plan, self._items, self._context = plan, items, context
        self._told = set(plan.warnings)

    def draw(self) -> None:
        """Draw both by what is on disk."""
        names = self._plan.names
        try:
            log = read_log(names.log)
        except (InputError, OSError) as error:
            self._tell(left_undone("the loss curve and the page of the training are not drawn", error))
            return
        self._tell(save_curve(log, names.curve, title=names.run_name))
        self._tell(_save_page(self._plan, self._items, log))

    def _tell(self, problem: Problem | None) -> None:
        if problem is not None and problem not in self._told:
            self._told.add(problem)
            self._context.reporter.emit(Warned(problem))


def _save_page(plan: TrainPlan, items: TrainingItems, log: Log) -> Problem | None:
    path = plan.names.page
    if not log:
        return None
    if (problem := page_kept_out(path)) is not None:
        return problem
    try:
        atomic.write_bytes(path, "\n".join(_page(plan, items, log)).encode("utf-8", "replace"))
    except (BlissmaskError, OSError, ValueError) as error:
        return left_undone(NOT_WRITTEN, error)
    return None


def _page(plan: TrainPlan, items: TrainingItems, log: Log) -> Iterator[str]:
    names, done = plan.names, int(log[-1]["step"])
    title = html.escape(names.run_name)
    yield f"<!doctype html><html lang=en><meta charset=utf-8>{MARK}"
    yield f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    yield "<meta name=viewport content='width=device-width, initial-scale=1'>"
    yield f"<title>{title}</title><style>{page_file('sheet.css')}{page_file('run.css')}</style>"
    state = "finished" if done >= plan.steps.total else "in training, or stopped"
    yield f"<h1>{title}</h1><p>{done} of {plan.steps.total} steps, {state}. {html.escape(_family(plan))}</p>"
    drawn = time.strftime("%Y-%m-%d %H:%M")
    yield f"<p class=drawn>Drawn {drawn} by blissmask {__version__}.</p>"
    yield from section("Loss", _curve(log))
    yield from section("Checkpoints", [*_checkpoints(plan, log), *_averages(plan)])
    yield from section("Likeness of each subject", _subjects(plan, log))
    yield from section("Loss of each subject", _subject_losses(plan, log))
    yield from section("Previews", _previews(plan))
    yield from rankings(names)
    yield from section("Items in training, the highest loss first", _items(items.losses))
    yield from section("Data sets", data_sets(plan, items.sets))
    yield from section("What each part of a picture weighs", _masks(plan, items))
    yield from section("Held out", _held_out(plan))
    yield from section("Trained as it was cached", _stale(plan))
    yield "<details><summary>Settings</summary>"
    yield from settings(plan.config, plan.settings)
    yield "</details>"
    yield "</html>"


def _family(plan: TrainPlan) -> str:
    experts = [expert.name for expert in plan.steps.experts if expert.name]
    of_experts = f", {' and '.join(experts)} noise" if experts else ""
    trial = " A trial in miniature, with random weights." if plan.config.model.is_tiny else ""
    return f"Family {plan.family.name}, {plan.family.task_name}{of_experts}.{trial}"


def _curve(log: Log) -> Iterator[str]:
    lines = list(svg_curve(log))
    if lines:
        yield "<div class=scroll>"
        yield from lines
        yield "</div>"


def _checkpoints(plan: TrainPlan, log: Log) -> Iterator[str]:
    """Yield a row for each saved LoRA: its step, and what the log knows of that step."""
    losses, columns = _smoothed_losses(log), columns_of(_names_in(log))
    rows = []
    for (step, path), latest in _saved_with(plan, log, columns):
        values = [number_text(losses.get(step)), *(column.of(latest) for column in columns)]
        rows.append((str(step), path.name, bytes_text(path.stat().st_size), *values))
    first = ("step", "file", "size", "loss, smoothed")
    titles = (*first, *(column.title for column in columns))
    yield from table(Table("", titles, tuple(rows)), groups_of(columns, before=len(first)))
    if rows:
        yield from notes_on(columns)


def _saved_with(
    plan: TrainPlan, log: Log, columns: Sequence[Column]
) -> Iterator[tuple[tuple[int, Path], dict[str, float]]]:
    """Yield each saved LoRA with its step, and the last values of the columns up to that step."""
    saved = list(_saved(plan))
    yield from zip(saved, _latest(log, [column.key for column in columns], [step for step, _ in saved]), strict=True)


def _averages(plan: TrainPlan) -> Iterator[str]:
    """Yield where the running averages of the LoRA are; nothing where none were saved."""
    names = [path.name for path in plan.names.average_files() if path.is_file()]
    if names:
        files = ", ".join(f"<code>{html.escape(name)}</code>" for name in names)
        yield f"<p>Running average of the weights: {files}.</p>"


def _subjects(plan: TrainPlan, log: Log) -> Iterator[str]:
    """Yield the likeness of each of several subjects in the previews of each saved LoRA; nothing for one subject."""
    columns = columns_of_subjects(_names_in(log))
    if not columns:
        return
    rows = []
    for (step, path), latest in _saved_with(plan, log, columns):
        rows.append((str(step), path.name, *(column.of(latest) for column in columns)))
    yield from table(Table("", ("step", "file", *(column.title for column in columns)), tuple(rows)))


def _subject_losses(plan: TrainPlan, log: Log) -> Iterator[str]:
    """Yield the loss of each of several subjects in each region, at first and at last; nothing for one subject."""
    rows = []
    for subject in plan.rule.subjects:
        parts = [_first_and_last(log, f"loss/{subject}/{tier.value}") for tier in TIERS]
        if any(parts):
            rows.append((subject, *parts))
    yield from table(Table("", ("subject", *(tier.value for tier in TIERS)), tuple(rows)))
    if rows:
        yield "<p>Means of the first and of the last tenth of the steps that showed the region.</p>"


def _first_and_last(log: Log, name: str) -> str:
    values = [line[name] for line in log if name in line]
    if not values:
        return ""
    count = max(1, len(values) // 10)
    first, last = (statistics.fmean(part) for part in (values[:count], values[-count:]))
    return f"{number_text(first)} to {number_text(last)}"


def _names_in(log: Log) -> list[str]:
    return list(dict.fromkeys(name for line in log for name in line))


def _saved(plan: TrainPlan) -> Iterator[tuple[int, Path]]:
    """Yield the saved LoRA files with their steps, the last one last."""
    yield from plan.names.earlier_files(without=plan.files_of_before)
    for path in plan.names.lora_files():
        if path.is_file():
            yield plan.steps.total, path


def _smoothed_losses(log: Log) -> dict[int, float]:
    lines = [line for line in log if "loss" in line]
    if not lines:
        return {}
    points = (np.array([line["step"] for line in lines]), np.array([line["loss"] for line in lines]))
    steps, means = smoothed(points, smoothing_length(log))
    return {int(step): float(mean) for step, mean in zip(steps, means, strict=True)}


def _step_of(line: Mapping[str, float]) -> float:
    return line["step"]


def _latest(log: Log, names: Sequence[str], steps: Sequence[int]) -> list[dict[str, float]]:
    """Return the last values of ``names`` up to each of ``steps``: what is measured seldom stands at steps of its own.

    Args:
        log: in any order; of several lines of a step the last one counts.
        names: of values; those that have none are left out.
        steps: increasing.
    """
    lines = iter(sorted(log, key=_step_of))
    line = next(lines, None)
    latest: dict[str, float] = {}
    found = []
    for step in steps:
        while line is not None and line["step"] <= step:
            latest |= {name: line[name] for name in names if name in line}
            line = next(lines, None)
        found.append(dict(latest))
    return found


def _previews(plan: TrainPlan) -> Iterator[str]:
    if plan.previews is not None:
        prompts = [preview.prompt for preview in plan.previews.previews]
        folder = plan.names.folder / "sample"
        yield from previews_grid(folder, plan.names.run_name, prompts, step_after=plan.steps.step_after)


def _items(losses: ItemLosses) -> Iterator[str]:
    """Yield the items that were hardest up to the last save; nothing before the first one."""
    found = losses.worst_first()
    rows = [(item.name, str(item.draws), number_text(item.loss)) for item in found[:_SHOWN]]
    yield from table(Table("", ("item", "times drawn", "loss"), tuple(rows)))
    if found:
        yield (
            f"<p>{counted(len(found), 'item')} drawn so far: the mean loss of each where its mask has weight. Each was "
            "drawn at other noise levels, so only large differences between items that were drawn often say something; "
            "<code>train --rank-items</code> looks at all of them at the same noise.</p>"
        )


def _masks(plan: TrainPlan, items: TrainingItems) -> Iterator[str]:
    if plan.weights is None or items.totals is None:
        yield "<p>The mask loss is off: every part of a picture weighs the same.</p>"
        return
    rows = share_rows(plan.weights, items.totals)
    yield from table(Table("", ("tier", "value", "weight", "loss weight", "share of weight"), tuple(rows)))
    lines = [count_line(items.totals).strip(), *edge_lines(plan.weights, items.totals)]
    yield f"<p>{html.escape('; '.join(lines))}.</p>"
    subjects = items.subjects.rows(items.totals)
    yield from table(Table("", ("subject", "entries", "share of weight"), tuple(subjects)))


def _held_out(plan: TrainPlan) -> Iterator[str]:
    names = item_names(plan.data.headers)
    yield from places([names[position] for position in plan.data.held_out])


def _stale(plan: TrainPlan) -> Iterator[str]:
    """Yield what changed after it was cached."""
    for problem in plan.stale:
        yield f"<p>{html.escape(problem.what)}</p>"
        yield from places(problem.where[:_PLACES])
        if len(problem.where) > _PLACES:
            yield f"<p>and {len(problem.where) - _PLACES} more</p>"
