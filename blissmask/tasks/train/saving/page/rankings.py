"""The results of `--rank-loras` and `--rank-items` on the page of the training that they are of.

They are there after the training. So a ranking renews its own part of the page, between two marks, and the training
that goes on reads the results again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from blissmask.people.subject_likeness import title_of_each
from blissmask.storage import atomic
from blissmask.storage.ordinary import read_text
from blissmask.tasks.run.plan import Table
from blissmask.tasks.run.wording import counted
from blissmask.tasks.train.saving.page.sections import number, section, table
from blissmask.training.record.saving import Outputs

FOLDER, LORAS, ITEMS = "ranking", "ranking.json", "items.json"
"""Where results are, below the output folder."""
_BEGIN, _END = "<!--rankings-->", "<!--/rankings-->"
_BETWEEN = re.compile(f"{_BEGIN}.*?{_END}", re.DOTALL)
_SHOWN = 12
"""Items in the table; the sheet of the ranking has all."""


def rankings(names: Outputs) -> Iterator[str]:
    """Yield what was found of the LoRA files of a training, between the marks."""
    yield _BEGIN
    yield from section("Ranking of the LoRA files", _loras(names))
    yield from section("Items, the most unusual first", _items(names))
    yield _END


def renew_rankings(names: Outputs) -> None:
    """Write the results into the page of their training, where there is one with room for them.

    Raises:
        MachineError: it cannot be written.
    """
    if not names.page.is_file():
        return
    text = read_text(names.page)
    renewed = _BETWEEN.sub(lambda _: "\n".join(rankings(names)), text, count=1)
    if renewed != text:
        atomic.write_text(names.page, renewed)


def _loras(names: Outputs) -> Iterator[str]:
    found = _read(names.folder / FOLDER / LORAS)
    rows = [row for row in found.get("ranking", []) if isinstance(row, dict)]
    if not _is_of(names, [str(row.get("name")) for row in rows], names.folder / FOLDER / LORAS):
        return
    base = found.get("base")
    if isinstance(base, dict):
        rows.append(base)
    names_of_rows = [str(row.get("name")) for row in rows]
    figures = [_figures(row) for row in rows]
    columns = list(dict.fromkeys(name for own in figures for name in own))
    whole = {name: name.replace("_", " ") for name in columns if title_of_each(name) is None}
    each = {name: title for name in columns if (title := title_of_each(name))}
    yield from table(_table_of(names_of_rows, figures, whole))
    if each:
        yield from table(_table_of(names_of_rows, figures, each))
    yield f"<p>Pictures: <code>{FOLDER}/ranking.png</code>.</p>"


def _table_of(names: Sequence[str], figures: Sequence[Mapping[str, float]], titles: Mapping[str, str]) -> Table:
    """Return a row for each LoRA, a column for each of the numbers that have a title."""
    rows = [(name, *(number(own.get(key)) for key in titles)) for name, own in zip(names, figures, strict=True)]
    return Table("", ("LoRA, the best first", *titles.values()), tuple(rows))


def _items(names: Outputs) -> Iterator[str]:
    found = _read(names.folder / FOLDER / ITEMS)
    items = [item for item in found.get("items", []) if isinstance(item, dict)]
    if not items or not _is_of(names, [str(found.get("lora"))], names.folder / FOLDER / ITEMS):
        return
    rows = [_item_row(item) for item in items[:_SHOWN]]
    yield from table(Table("", ("item", f"loss with {found.get('lora')}", "without", "remark"), tuple(rows)))
    yield f"<p>{counted(len(items), 'item')} in <code>{FOLDER}/items.html</code>.</p>"


def _item_row(item: Mapping[str, Any]) -> tuple[str, ...]:
    losses = [number(next(iter(item.get(key, {}).values()), None)) for key in ("loss", "base")]
    return (str(item.get("item")), *losses, "; ".join(item.get("remarks", [])))


def _is_of(names: Outputs, loras: Sequence[str], results: Path) -> bool:
    """Return whether results are of LoRA files of this training, none of which was written since."""
    files = [names.folder / f"{lora}.safetensors" for lora in loras if lora.startswith(names.lora_names)]
    there = [path for path in files if path.is_file()]
    return bool(there) and max(path.stat().st_mtime_ns for path in there) <= results.stat().st_mtime_ns


def _figures(row: Mapping[str, object]) -> dict[str, float]:
    return {name: float(value) for name, value in row.items() if isinstance(value, int | float)}


def _read(path: Path) -> dict[str, Any]:
    """Return the results in a file; nothing where there is none that is ours."""
    if not path.is_file():
        return {}
    try:
        document = json.loads(read_text(path))
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
