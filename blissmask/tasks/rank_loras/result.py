"""What a ranking found of a LoRA, and which one comes first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from blissmask.people.subject_likeness import LikenessSummary
from blissmask.tasks.run.plan import Table


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
    likeness: LikenessSummary | None
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
    likeness = None if result.likeness is None else result.likeness.subject
    loss = result.face_loss
    return (0.0 if likeness is None else -likeness, float("inf") if loss is None else loss)


def ranking_table(results: Sequence[Result], base: Result) -> Table:
    """Return the ranking, with the base model in the last row; columns that nothing stands in are left out."""
    rows = [_cells(str(place), result) for place, result in enumerate(results, 1)]
    rows.append(_cells("", base))
    kept = [at for at, _ in enumerate(_COLUMNS) if at < 2 or any(row[at] for row in rows)]
    return Table(
        "Ranking",
        tuple(_COLUMNS[at] for at in kept),
        tuple(tuple(row[at] or "-" if at else row[at] for at in kept) for row in rows),
    )


_COLUMNS = ("", "LoRA", "Likeness", "Spread", "Faces", "Other people", "Place kept", "Held-out face")


def _cells(place: str, result: Result) -> tuple[str, ...]:
    likeness = result.likeness
    faces = f"{likeness.faces} of {likeness.pictures}" if likeness is not None and likeness.pictures else ""
    return (
        place,
        result.name,
        _text(None if likeness is None else likeness.subject),
        _text(None if likeness is None else likeness.spread),
        faces,
        _text(None if likeness is None else likeness.others),
        _text(result.place),
        _text(result.face_loss, digits=4),
    )


def _text(value: float | None, *, digits: int = 2) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def line_of(result: Result) -> str:
    """Return the numbers of a result as one line, for the sheet."""
    named = dict(zip(_COLUMNS, _cells("", result), strict=True))
    return " · ".join(f"{name.lower()} {text}" for name, text in named.items() if text and name not in ("", "LoRA"))
