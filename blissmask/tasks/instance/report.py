"""Report what a run of `instance` decided: verdicts and distances of all items, and which items need a look."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from blissmask.errors import Problem
from blissmask.media.sheets.card import Badness, Measure
from blissmask.people.people_backend import Verdict
from blissmask.plurals import counted
from blissmask.tasks.instance.subject import distance_text
from blissmask.tasks.mask_files.contact_sheet import NEARLY_EMPTY
from blissmask.tasks.mask_files.output_notes import read_count, read_number
from blissmask.tasks.run.plan import Table, places_of

FARTHEST = "least alike"
"""What comes first on a sheet of subject masks where remarks are alike."""


@dataclass(frozen=True, slots=True)
class Score:
    """Why one item got its mask.

    Attributes:
        covered: share of the picture in the mask, 0..1.
        verdict, distance, margin, people, partial, carried: as in ``subject.Finding``.
    """

    verdict: Verdict
    distance: float | None
    margin: float | None
    people: int
    partial: bool
    carried: bool
    covered: float

    def to_json(self) -> dict[str, object]:
        """Return the fields as JSON values."""
        return {**dataclasses.asdict(self), "verdict": self.verdict.value, "covered": round(self.covered, 5)}


def read_score(seen: Mapping[str, object]) -> Score:
    """Return the score that a note or record remembers."""
    verdict = seen.get("verdict")
    return Score(
        verdict=Verdict(str(verdict)) if verdict in tuple(Verdict) else Verdict.NO_FACE,
        distance=read_number(seen.get("distance")),
        margin=read_number(seen.get("margin")),
        people=read_count(seen.get("people")) or 0,
        partial=bool(seen.get("partial")),
        carried=bool(seen.get("carried")),
        covered=read_number(seen.get("covered")) or 0.0,
    )


def verdict_table(scores: Sequence[Score], max_distance: float | None) -> Table:
    """Return how many items got each verdict, and the range of their distances and margins.

    Args:
        scores: of the items.
        max_distance: up to which a face is the subject's; None where faces were not compared.
    """
    limit = "" if max_distance is None else f" (found to {max_distance:.2f})"
    columns = ("Verdict", "Items", f"Distance{limit}", "Least margin")
    rows = []
    for verdict in Verdict:
        own = [score for score in scores if score.verdict is verdict]
        distances = [score.distance for score in own if score.distance is not None]
        margins = [score.margin for score in own if score.margin is not None]
        rows.append((verdict.value, str(len(own)), _range(distances), f"{min(margins):.2f}" if margins else ""))
    return Table("", columns, tuple(rows), ("total", str(len(scores)), "", ""))


def warnings_about(scores: Mapping[str, Score], *, sheet: Path | None, review: Path | None) -> list[Problem]:
    """Name the items that are uncertain, and those without the subject.

    Args:
        scores: of the items.
        sheet, review: the contact sheet and the folder of copies where they can be looked at; None where there is none.
    """
    uncertain = [
        f"{key}{distance_text(score.distance)}" for key, score in scores.items() if score.verdict is Verdict.UNCERTAIN
    ]
    empty = [
        f"{key}: {score.verdict.value}{distance_text(score.distance)}"
        for key, score in scores.items()
        if score.covered == 0
    ]
    problems = []
    if uncertain:
        places = [f"`{place}`" for place in (review, sheet) if place is not None]
        look = f"look at them in {' or '.join(places)}"
        if not places:
            look = "look at them (`--review DIR` copies them, `--sheet sheet.html` shows them)"
        fix = f"{look}, say who it is (`--retouch`), or add references"
        what = f"{counted(len(uncertain), 'item')} in which the subject is uncertain"
        problems.append(Problem(what, places_of(uncertain), fix))
    if empty:
        what = f"{counted(len(empty), 'item')} without the subject"
        problems.append(Problem(what, places_of(empty), "leave them out, or add references"))
    return problems


def remarks_of(score: Score) -> tuple[str, ...]:
    """Return what is wrong with an item, worst first."""
    remarks = []
    if score.verdict is Verdict.UNCERTAIN:
        remarks.append("uncertain")
    elif score.covered == 0:
        remarks.append("no person" if score.people == 0 else score.verdict.value)
    elif score.verdict is not Verdict.FOUND and not score.carried:
        remarks.append(f"{score.verdict.value}, the largest person taken")
    if score.partial and score.covered:
        remarks.append("only part outlined")
    if 0 < score.covered < NEARLY_EMPTY:
        remarks.append("nearly empty")
    return tuple(remarks)


def badness_of(score: Score) -> Badness:
    """Return how early the item comes on the contact sheet; its number is the distance, most where there is none."""
    return Badness(_badness_of_remark(score), number=math.inf if score.distance is None else score.distance)


def _badness_of_remark(score: Score) -> float:
    if score.covered == 0:
        if score.people == 0:
            return 5.0
        return 4.0 if score.verdict is Verdict.NO_FACE else 3.5
    if score.verdict is Verdict.UNCERTAIN:
        return 3.0
    return 2.0 if remarks_of(score) else 0.0


def measures_of(score: Score) -> tuple[Measure, ...]:
    """Return the line of a contact sheet: "found · distance 0.36 · margin 0.41 · 3 people · 21.0% of the picture"."""
    measures = []
    if score.verdict.value not in remarks_of(score):
        measures.append(Measure(score.verdict.value))
    if score.distance is not None:
        measures.append(Measure(f"distance {score.distance:.2f}", "distance", score.distance))
    if score.margin is not None:
        measures.append(Measure(f"margin {score.margin:.2f}", "margin", score.margin))
    measures.append(Measure(counted(score.people, "person", "people"), "people", score.people))
    measures.append(Measure(f"{score.covered:.1%} of the picture", "share of the picture", score.covered))
    return tuple(measures)


def _range(values: Sequence[float]) -> str:
    if not values:
        return ""
    low, high = min(values), max(values)
    return f"{low:.2f}" if len(values) == 1 else f"{low:.2f} to {high:.2f}"
