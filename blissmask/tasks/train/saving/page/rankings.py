"""The results of `--rank-loras` and `--rank-items` on the page of the training that they are of.

They are there after the training. So a ranking renews its own part of the page, between two marks, and the training
that goes on reads the results again.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, ValidationError

from blissmask.errors import BlissmaskError, Problem, left_undone
from blissmask.plurals import counted
from blissmask.storage import atomic
from blissmask.storage.ordinary import read_bytes, read_text
from blissmask.tasks.run.plan import Table
from blissmask.tasks.run.wording import number_text
from blissmask.tasks.train.saving.page.log_columns import (
    Column,
    columns_of,
    columns_of_subjects,
    groups_of,
    notes_on,
)
from blissmask.tasks.train.saving.page.sections import section, table
from blissmask.training.record.saving import Outputs

LORAS, ITEMS = "ranking.json", "items.json"
"""Where results are, in the folder of a training's rankings."""
_BEGIN, _END = "<!--rankings-->", "<!--/rankings-->"
_BETWEEN = re.compile(f"{_BEGIN}.*?{_END}", re.DOTALL)
_SHOWN = 12
"""Items in the table; the sheet of the ranking has all."""


class _Row(BaseModel):
    """A LoRA: its name and its numbers, None for what was not measured."""

    model_config = ConfigDict(extra="allow", strict=True)
    __pydantic_extra__: dict[str, float | None]

    name: str

    @property
    def figures(self) -> dict[str, float]:
        return {name: value for name, value in self.__pydantic_extra__.items() if value is not None}


class _Ranking(BaseModel):
    """Results of ``--rank-loras``."""

    ranking: list[_Row]
    base: _Row | None = None


class _Item(BaseModel):
    """An item with its losses, of the whole picture first."""

    model_config = ConfigDict(strict=True)

    item: str
    loss: dict[str, float]
    base: dict[str, float]
    remarks: list[str]


class _Items(BaseModel):
    """Results of ``--rank-items``."""

    lora: str
    items: list[_Item]


_Results = TypeVar("_Results", bound=BaseModel)


def rankings(names: Outputs) -> Iterator[str]:
    """Yield what was found of the LoRA files of a training, between the marks."""
    yield _BEGIN
    yield from section("Ranking of the LoRA files", _loras(names))
    yield from section("Items, the most unusual first", _items(names))
    yield _END


def renew_rankings(names: Outputs) -> Problem | None:
    """Write the results into the page of their training, where there is one with room for them.

    Returns:
        What prevented it: the results are written already, and the page never costs a ranking. Else None.
    """
    try:
        if not names.page.is_file():
            return None
        text = read_text(names.page)
        renewed = _BETWEEN.sub(lambda _: "\n".join(rankings(names)), text, count=1)
        if renewed != text:
            atomic.write_text(names.page, renewed)
    except (BlissmaskError, OSError, ValueError) as error:
        return left_undone(f"the results were not put into the page of the training, {names.page}", error)
    return None


def _loras(names: Outputs) -> Iterator[str]:
    path = names.ranking / LORAS
    found = _read(path, _Ranking)
    if found is None or not _is_of(names, [row.name for row in found.ranking], path):
        return
    rows = [*found.ranking, found.base] if found.base else found.ranking
    names_of_rows = [row.name for row in rows]
    figures = [row.figures for row in rows]
    keys = [name for own in figures for name in own]
    whole, each = columns_of(keys), columns_of_subjects(keys)
    yield from table(_table_of(names_of_rows, figures, whole), groups_of(whole, before=1))
    yield from notes_on(whole)
    if each:
        yield from table(_table_of(names_of_rows, figures, each))
    yield f"<p>Pictures: {_link(names, 'ranking.png')}.</p>"


def _table_of(names: Sequence[str], figures: Sequence[Mapping[str, float]], columns: Sequence[Column]) -> Table:
    """Return a row for each LoRA."""
    rows = []
    for name, own in zip(names, figures, strict=True):
        rows.append((name, *(column.of(own) for column in columns)))
    return Table("", ("LoRA, the best first", *(column.title for column in columns)), tuple(rows))


def _items(names: Outputs) -> Iterator[str]:
    path = names.ranking / ITEMS
    found = _read(path, _Items)
    if found is None or not found.items or not _is_of(names, [found.lora], path):
        return
    rows = [_item_row(item) for item in found.items[:_SHOWN]]
    yield from table(Table("", ("item", "loss", "without the LoRA", "learned", "face learned", "remark"), tuple(rows)))
    yield f"<p>With <code>{html.escape(found.lora)}</code>. Learned is the share of the loss that it takes away.</p>"
    yield f"<p>{counted(len(found.items), 'item')} in {_link(names, 'items.html')}.</p>"


def _link(names: Outputs, file: str) -> str:
    """Return a link to a file in the folder of the rankings, by its place as seen from the page."""
    place = (names.ranking / file).relative_to(names.folder).as_posix()
    return f'<a href="{html.escape(quote(place))}"><code>{html.escape(place)}</code></a>'


def _item_row(item: _Item) -> tuple[str, ...]:
    whole, before = (next(iter(values.values()), None) for values in (item.loss, item.base))
    learned, of_face = _learned(whole, before), _learned(item.loss.get("face"), item.base.get("face"))
    return item.item, number_text(whole), number_text(before), learned, of_face, "; ".join(item.remarks)


def _learned(loss: float | None, before: float | None) -> str:
    return "" if loss is None or not before else f"{1 - loss / before:.0%}"


def _is_of(names: Outputs, loras: Sequence[str], results: Path) -> bool:
    """Return whether results are of LoRA files of this training alone, none of which was written since."""
    if any(names.parse_lora(lora) is None for lora in loras):
        return False
    there = [path for lora in loras if (path := names.folder / f"{lora}.safetensors").is_file()]
    return bool(there) and max(path.stat().st_mtime_ns for path in there) <= results.stat().st_mtime_ns


def _read(path: Path, kind: type[_Results]) -> _Results | None:
    """Return the results in a file; None where there are none that are ours."""
    if not path.is_file():
        return None
    try:
        return kind.model_validate_json(read_bytes(path))
    except ValidationError:
        return None
