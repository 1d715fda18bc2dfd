"""What a ranking found of a LoRA, and which one comes first."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from blissmask.errors import Problem
from blissmask.people.subject_likeness import SubjectsSummary
from blissmask.tasks.run.plan import Table
from blissmask.tasks.run.wording import number_text


@dataclass(frozen=True, slots=True)
class Result:
    """What was found of one LoRA, or of the base model.

    Attributes:
        name: of the candidate.
        pictures: files, in the order of the prompts; None for one that could not be drawn.
        likeness: of the faces; None where it is not measured.
        place: mean of :func:`place.place_kept` over the pictures that have a place; None without one.
        held_out: ``val/loss`` and the loss of each region, ``val/loss/face``; empty where nothing is held out.
        measured: every picture with its faces, JSON values.
    """

    name: str
    pictures: tuple[Path | None, ...]
    likeness: SubjectsSummary | None
    place: float | None
    held_out: Mapping[str, float]
    measured: Mapping[str, object] = field(default_factory=dict)

    @property
    def face_loss(self) -> float | None:
        """Return the loss of held-out items in the face, or over all where no mask shows faces."""
        return self.held_out.get("val/loss/face", self.held_out.get("val/loss"))

    def to_json(self) -> dict[str, object]:
        """Return the numbers."""
        likeness = {} if self.likeness is None else self.likeness.values()
        return {"name": self.name, **likeness, "place_kept": self.place, **self.held_out}


def ranked(results: Sequence[Result]) -> list[Result]:
    """Return the results, the most alike first; where likeness is not measured, the least held-out loss in the face."""
    return sorted(results, key=_order)


def _order(result: Result) -> tuple[float, float]:
    likeness = None if result.likeness is None else result.likeness.whole.subject
    loss = result.face_loss
    return (0.0 if likeness is None else -likeness, float("inf") if loss is None else loss)


def faceless_warnings(results: Sequence[Result]) -> list[Problem]:
    """Return one warning where likeness is measured and no picture shows a face, so that it decides nothing."""
    likenesses = [result.likeness for result in results]
    if not results or any(each is None or not each.whole.pictures or each.whole.faces for each in likenesses):
        return []
    by_loss = all(result.face_loss is not None for result in results)
    order = "the order is that of the held-out loss alone" if by_loss else "the order means nothing"
    fix = "look at the pictures; larger ones, more steps, or prompts that ask for a face, show one"
    return [Problem(f"no face was found in any picture: {order}", (), fix)]


def ranking_tables(results: Sequence[Result], base: Result) -> list[Table]:
    """Return the ranking, and of several subjects what was found of each.

    The base model is in the last row; columns that nothing stands in are left out.
    """
    tables = [_table("Ranking", results, base, _cells), _table("Each subject", results, base, _cells_of_each)]
    return [table for table in tables if len(table.columns) > _NAMING]


_NAMING = 2
"""Columns that name a LoRA: its place in the ranking, its name."""


def _table(title: str, results: Sequence[Result], base: Result, cells_of: Callable[[Result], dict[str, str]]) -> Table:
    cells = [cells_of(result) for result in (*results, base)]
    kept = [column for column in cells[0] if any(row[column] for row in cells)]
    rows = [
        (str(place), result.name, *(row[column] or "-" for column in kept))
        for place, (result, row) in enumerate(zip(results, cells, strict=False), 1)
    ]
    rows.append(("", base.name, *(cells[-1][column] or "-" for column in kept)))
    return Table(title, ("", "LoRA", *kept), tuple(rows))


def _cells(result: Result) -> dict[str, str]:
    """Return column -> number; the results of a ranking have the same columns, and empty texts where there is none."""
    cells = {} if result.likeness is None else _cells_of_likeness(result.likeness)
    return cells | {"Place kept": _text(result.place), "Held-out face": number_text(result.face_loss)}


def _cells_of_likeness(likeness: SubjectsSummary) -> dict[str, str]:
    whole = likeness.whole
    return {
        "Likeness": _text(whole.subject),
        "Spread": _text(whole.spread),
        "Faces": f"{whole.faces} of {whole.pictures}" if whole.pictures else "",
        "Other people": _text(whole.others),
    }


def _cells_of_each(result: Result) -> dict[str, str]:
    """Return the likeness of each of several subjects, and how much of each is in the faces of another."""
    likeness = result.likeness
    if likeness is None or len(likeness.subjects) == 1:
        return {}
    cells = {name: _text(summary.subject) for name, summary in likeness.subjects.items()}
    for pair in itertools.permutations(likeness.subjects, 2):
        cells[" in ".join(pair)] = _text(likeness.between.get(pair))
    return cells


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def line_of(result: Result) -> str:
    """Return the numbers of a result as one line, for the sheet."""
    named = {name[:1].lower() + name[1:]: text for name, text in _cells(result).items()} | _cells_of_each(result)
    return " · ".join(f"{name} {text}" for name, text in named.items() if text)
