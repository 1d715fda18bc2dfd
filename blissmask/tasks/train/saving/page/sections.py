"""What a page is put together from: sections and tables, as lines of HTML."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Sequence

from blissmask.tasks.run.plan import Table

_FIGURE = re.compile(r"-?\d[\d.,]*(e[+-]\d+)?( [KMG]iB| ?%)?")


def section(title: str, content: Iterable[str]) -> Iterator[str]:
    """Yield a section with a heading; nothing where it has no content."""
    lines = list(content)
    if lines:
        yield f"<section><h2>{html.escape(title)}</h2>"
        yield from lines
        yield "</section>"


def table(of: Table, groups: Sequence[tuple[str, int]] = (), *, kind: str = "") -> Iterator[str]:
    """Yield a table, numbers to the right; nothing where it has no rows.

    Args:
        of: the table.
        groups: what stands above its headings, with the number of columns below it.
        kind: class of the table in ``run.css``; empty for the usual one.
    """
    if not of.rows:
        return
    heads = "".join(f"<th>{html.escape(column)}</th>" for column in of.columns)
    yield f"<div class='scroll {kind}'><table>" if kind else "<div class=scroll><table>"
    if any(title for title, _ in groups):
        yield f"<tr class=groups>{''.join(_group(title, count) for title, count in groups)}</tr>"
    yield f"<tr>{heads}</tr>"
    for row in of.rows:
        yield f"<tr>{''.join(map(_cell, row))}</tr>"
    yield "</table></div>"


def places(names: Iterable[str]) -> Iterator[str]:
    """Yield a list of files or items, in as many columns as there is room for; nothing for none."""
    lines = [f"<li>{html.escape(name)}</li>" for name in names]
    if lines:
        yield f"<ul class=places>{''.join(lines)}</ul>"


def _group(title: str, count: int) -> str:
    if title:
        return f"<th colspan={count}>{html.escape(title)}</th>"
    # The first column stays in sight when the table is scrolled, and would take those beside it along.
    return "<th></th>" * count


def _cell(text: str) -> str:
    kind = " class=figure" if _FIGURE.fullmatch(text) else ""
    return f"<td{kind}>{html.escape(text)}</td>"
