"""The page of a training, ``NAME.html`` beside the LoRA: redrawn at every save, and what one reads months later.

It is made of the files that the training leaves anyway: the step log, the loss curve, previews, checkpoints. Pictures
are linked, not copied, so that the page stays small and has what was drawn after it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np

from blissmask.errors import BlissmaskError, InputError, Problem
from blissmask.events import Warned
from blissmask.media.sheets.html_page import page_file
from blissmask.storage import atomic
from blissmask.storage.ordinary import open_ordinary
from blissmask.tasks.run.plan import RunContext, Table
from blissmask.tasks.run.wording import bytes_text
from blissmask.tasks.train.curve import save_curve, smoothed, smoothing_length
from blissmask.tasks.train.plan import TrainPlan
from blissmask.training.data.mask_totals import tier_rows
from blissmask.training.record.metrics import read_log

_MARK = "<meta name=generator content='blissmask training'>"
"""Marks the page as ours, within its first 1000 bytes; files without it are never overwritten."""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' file:; media-src 'self' file:; base-uri 'none'"
_LABEL = re.compile(r"(?P<label>e?\d{6})_(?P<number>\d{2,})_\d+\.(?:png|mp4)")
"""The end of a preview's name: step or epoch, prompt, seed."""
_FIGURE = re.compile(r"-?\d[\d.]*( [KM]iB)?")
_BASE = "000000"
_OF_A_CHECKPOINT = ("val/loss", "likeness/")
"""Beginnings of the names in the step log that stand in the table of checkpoints beside the loss."""

Log = Sequence[Mapping[str, float]]


def draw_record(plan: TrainPlan, context: RunContext) -> None:
    """Draw the loss curve and the page by what is on disk; tell what prevented it: pictures never cost a training."""
    names = plan.names
    for problem in (save_curve(names.log, names.curve, title=names.run_name), _save_page(plan)):
        if problem is not None:
            context.reporter.emit(Warned(problem))


def _save_page(plan: TrainPlan) -> Problem | None:
    path = plan.names.page
    try:
        log = read_log(plan.names.log)
        if not log:
            return None
        if path.exists() and not _is_ours(path):
            raise InputError("a file that is not ours stands where the page of the training would go", where=[path])
        atomic.write_bytes(path, "\n".join(_page(plan, log)).encode("utf-8", "replace"))
    except BlissmaskError as error:
        reasons = tuple(problem.what for problem in error.problems)
        return Problem("the page of the training was not written", reasons, error.problems[0].fix)
    except (OSError, ValueError) as error:
        return Problem("the page of the training was not written", (str(error),))
    return None


def _is_ours(path: Path) -> bool:
    if not path.is_file():
        return False
    with open_ordinary(path) as file:
        return _MARK.encode() in file.read(1000)


def _page(plan: TrainPlan, log: Log) -> Iterator[str]:
    names, done = plan.names, int(log[-1]["step"])
    title = html.escape(names.run_name)
    yield f"<!doctype html><html lang=en><meta charset=utf-8>{_MARK}"
    yield f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    yield "<meta name=viewport content='width=device-width, initial-scale=1'>"
    yield f"<title>{title}</title><style>{page_file('sheet.css')}{page_file('run.css')}</style>"
    state = "finished" if done >= plan.steps.total else "in training, or stopped"
    yield f"<h1>{title}</h1><p>{done} of {plan.steps.total} steps, {state}. {html.escape(_family(plan))}</p>"
    yield from _section("Loss", _curve(plan))
    yield from _section("Checkpoints", _table(_checkpoints(plan, log)))
    yield from _section("Previews", _previews(plan))
    yield from _section("What each part of a picture weighs", _masks(plan))
    yield from _section("Held out", _held_out(plan))
    yield from _section("Data sets", _table(_data(plan)))
    yield "<details><summary>Settings</summary>"
    yield from _table(_settings(plan.settings))
    yield "</details>"
    yield "</html>"


def _family(plan: TrainPlan) -> str:
    experts = [expert.name for expert in plan.steps.experts if expert.name]
    of_experts = f", {' and '.join(experts)} noise" if experts else ""
    return f"Family {plan.family.name}, {plan.family.task_name}{of_experts}."


def _section(title: str, content: Iterable[str]) -> Iterator[str]:
    lines = list(content)
    if lines:
        yield f"<section><h2>{html.escape(title)}</h2>"
        yield from lines
        yield "</section>"


def _table(table: Table) -> Iterator[str]:
    if not table.rows:
        return
    heads = "".join(f"<th>{html.escape(column)}</th>" for column in table.columns)
    yield f"<div class=scroll><table><tr>{heads}</tr>"
    for row in table.rows:
        yield f"<tr>{''.join(map(_cell, row))}</tr>"
    yield "</table></div>"


def _cell(text: str) -> str:
    kind = " class=figure" if _FIGURE.fullmatch(text) else ""
    return f"<td{kind}>{html.escape(text)}</td>"


def _curve(plan: TrainPlan) -> Iterator[str]:
    curve = plan.names.curve
    if curve.is_file():
        about = "The loss over the steps, the loss of each part of the pictures, and the learning rate"
        # Its time in the link, so that a browser loads a curve that was redrawn.
        link = f"{html.escape(quote(curve.name))}?{curve.stat().st_mtime_ns}"
        yield f'<img src="{link}" alt="{about}" width=1200>'


def _checkpoints(plan: TrainPlan, log: Log) -> Table:
    """Return a row for each saved LoRA: its step, and what the log knows of that step."""
    losses = _smoothed_losses(log)
    more = [name for name in dict.fromkeys(name for line in log for name in line) if name.startswith(_OF_A_CHECKPOINT)]
    finals = [path for path in plan.names.lora_files() if path.is_file()]
    rows = []
    for path in [*plan.names.earlier_files(), *finals]:
        step = plan.steps.total if path in finals else int(path.stem.rpartition("-step")[2])
        values = [_number(losses.get(step)), *(_number(_latest(log, name, step)) for name in more)]
        rows.append((str(step), path.name, bytes_text(path.stat().st_size), *values))
    return Table("", ("step", "file", "size", "loss, smoothed", *more), tuple(rows))


def _smoothed_losses(log: Log) -> dict[int, float]:
    lines = [line for line in log if "loss" in line]
    if not lines:
        return {}
    points = (np.array([line["step"] for line in lines]), np.array([line["loss"] for line in lines]))
    steps, means = smoothed(points, smoothing_length(log))
    return {int(step): float(mean) for step, mean in zip(steps, means, strict=True)}


def _latest(log: Log, name: str, step: int) -> float | None:
    """Return the last value of ``name`` up to ``step``: what is measured seldom stands at steps of its own."""
    found = [line[name] for line in log if name in line and line["step"] <= step]
    return found[-1] if found else None


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _previews(plan: TrainPlan) -> Iterator[str]:
    """Yield a grid: a row for each prompt, a column for each time of drawing, the base model's first."""
    if plan.previews is None:
        return
    folder, begin = plan.names.folder / "sample", f"{plan.names.run_name}_"
    drawn: dict[str, dict[int, Path]] = {}
    for path in sorted(folder.glob("*")) if folder.is_dir() else []:
        match = _LABEL.fullmatch(path.name.removeprefix(begin)) if path.name.startswith(begin) else None
        if match:
            drawn.setdefault(match["label"], {})[int(match["number"])] = path
    if not drawn:
        return
    heads = "".join(f"<th>{_when(label)}</th>" for label in drawn)
    yield f"<div class='scroll previews'><table><tr><th>prompt</th>{heads}</tr>"
    for number, preview in enumerate(plan.previews.previews):
        cells = "".join(f"<td>{_picture(files.get(number), preview.prompt)}</td>" for files in drawn.values())
        yield f"<tr><th>{html.escape(preview.prompt)}</th>{cells}</tr>"
    yield "</table></div>"


def _when(label: str) -> str:
    if label == _BASE:
        return "base model"
    return f"epoch {int(label[1:])}" if label.startswith("e") else f"step {int(label)}"


def _picture(path: Path | None, prompt: str) -> str:
    if path is None:
        return ""
    link, text = html.escape(f"sample/{quote(path.name)}"), html.escape(prompt, quote=True)
    if path.suffix == ".mp4":
        return f'<video src="{link}" controls loop muted preload=metadata></video>'
    return f'<a href="{link}"><img src="{link}" alt="{text}" loading=lazy></a>'


def _masks(plan: TrainPlan) -> Iterator[str]:
    if plan.weights is None:
        yield "<p>The mask loss is off: every part of a picture weighs the same.</p>"
        return
    yield from _table(Table("", ("tier", "value", "weight", "loss weight"), tuple(tier_rows(plan.weights))))


def _held_out(plan: TrainPlan) -> Iterator[str]:
    headers = plan.data.headers
    for position in plan.data.held_out:
        yield f"<p class=place>{html.escape(headers[position].path.name)}</p>"


def _data(plan: TrainPlan) -> Table:
    rows = []
    for cached in plan.data.sets:
        section = plan.config.datasets[cached.number - 1]
        folder = section.image_directory or section.video_directory or section.cache_directory
        rows.append((str(cached.number), str(folder or ""), str(len(cached.headers)), section.trigger or ""))
    return Table("", ("data set", "folder", "entries", "trigger"), tuple(rows))


def _settings(settings: Mapping[str, object]) -> Table:
    rows = ((name, str(value)) for name, value in settings.items() if value not in (None, []))
    return Table("", ("setting", "value"), tuple(rows))
