"""Numbers of the step log and of rankings as columns of a table: in words, with the digits that say something."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from blissmask.people.subject_likeness import title_of_each
from blissmask.tasks.run.wording import number_text

_HELD_OUT, _FACES = "held-out loss", "faces in previews"
_LOSS = "val/loss"
_EXPERTS = ("val/loss/high", "val/loss/low")
_LIKENESS_NOTE = (
    "<p class=drawn>Likeness: 1 is the same photograph, 0.5 the border of one person, 0 nothing alike; spread is its "
    "standard deviation over the pictures. Found: pictures with a face. Width: of the face in the picture. Others: the "
    "likeness of other faces.</p>"
)


@dataclass(frozen=True, slots=True)
class Column:
    """A number that a table has a column of.

    Attributes:
        key: its name in the log.
        title: what stands above it.
        group: what stands above the titles of those that belong together; empty for one by itself.
        text: writes its value.
    """

    key: str
    title: str
    group: str
    text: Callable[[float], str]

    def of(self, values: Mapping[str, float]) -> str:
        """Return the number as text; nothing where it was not measured."""
        return self.text(values[self.key]) if self.key in values else ""


def columns_of(keys: Iterable[str]) -> list[Column]:
    """Return the columns of losses and likenesses, those of a group beside each other; other numbers have none.

    What is of one of several subjects stands in a table of its own, see :func:`columns_of_subjects`. An expert that is
    trained alone has no column: its loss is that of the whole.
    """
    there = dict.fromkeys(keys)
    experts = [key for key in _EXPERTS if key in there]
    left_out = experts if len(experts) == 1 else []
    columns = [column for key in there if key not in left_out and (column := _column(key)) is not None]
    groups = list(dict.fromkeys(column.group for column in columns))
    return sorted(columns, key=lambda column: groups.index(column.group))


def columns_of_subjects(keys: Iterable[str]) -> list[Column]:
    """Return the columns of what is of one of several subjects."""
    return [Column(key, title, "", likeness) for key in dict.fromkeys(keys) if (title := title_of_each(key))]


def groups_of(columns: Sequence[Column], *, before: int) -> list[tuple[str, int]]:
    """Return what stands above the titles, with the number of columns below it; see ``sections.table``.

    Args:
        columns: of a table.
        before: columns that stand before them.
    """
    groups: list[tuple[str, int]] = [("", before)]
    for column in columns:
        group, count = groups[-1]
        if column.group == group:
            groups[-1] = (group, count + 1)
        else:
            groups.append((column.group, 1))
    return groups


def notes_on(columns: Iterable[Column]) -> Iterator[str]:
    """Yield what the numbers in columns mean, where the titles do not say it: those of likenesses."""
    if any(column.key.startswith("likeness/") for column in columns):
        yield _LIKENESS_NOTE


def likeness(value: float) -> str:
    """Return a likeness, 0 to 1, as text."""
    return f"{value:.2f}"


def _percent(value: float) -> str:
    return f"{value:.0%}"


_KNOWN = (
    Column(_LOSS, "all", _HELD_OUT, number_text),
    Column("val/loss/high", "high noise", _HELD_OUT, number_text),
    Column("val/loss/low", "low noise", _HELD_OUT, number_text),
    Column("likeness/subject", "likeness", _FACES, likeness),
    Column("likeness/spread", "spread", _FACES, likeness),
    Column("likeness/faces", "found", _FACES, _percent),
    Column("likeness/face_width", "width", _FACES, _percent),
    Column("likeness/others", "others", _FACES, likeness),
    Column("place_kept", "place kept", "", likeness),
)
_KNOWN_BY_KEY: Mapping[str, Column] = {column.key: column for column in _KNOWN}


def _column(key: str) -> Column | None:
    """Return the column of a number, None where it has none; losses of regions have the names of the regions."""
    if key in _KNOWN_BY_KEY:
        return _KNOWN_BY_KEY[key]
    if key.startswith(f"{_LOSS}/"):
        return Column(key, key.removeprefix(f"{_LOSS}/"), _HELD_OUT, number_text)
    return None
