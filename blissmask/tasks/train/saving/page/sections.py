"""What a page is put together from: sections and tables, as lines of HTML."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator

from blissmask.tasks.run.plan import Table

_FIGURE = re.compile(r"-?\d[\d.]*( [KM]iB| ?%)?")


def section(title: str, content: Iterable[str]) -> Iterator[str]:
    """Yield a section with a heading; nothing where it has no content."""
    lines = list(content)
    if lines:
        yield f"<section><h2>{html.escape(title)}</h2>"
        yield from lines
        yield "</section>"


def table(of: Table) -> Iterator[str]:
    """Yield a table, numbers to the right; nothing where it has no rows."""
    if not of.rows:
        return
    heads = "".join(f"<th>{html.escape(column)}</th>" for column in of.columns)
    yield f"<div class=scroll><table><tr>{heads}</tr>"
    for row in of.rows:
        yield f"<tr>{''.join(map(_cell, row))}</tr>"
    yield "</table></div>"


def number(value: float | None) -> str:
    """Return a number of the log as text; nothing for none."""
    return "" if value is None else f"{value:.4f}"


def _cell(text: str) -> str:
    kind = " class=figure" if _FIGURE.fullmatch(text) else ""
    return f"<td{kind}>{html.escape(text)}</td>"
