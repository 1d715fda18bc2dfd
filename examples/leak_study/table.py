"""Print the study's tables: `python examples/leak_study/table.py [FOLDER]`.

Cells show the mean ± the standard deviation over the runs of an arm.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arms import ARMS

Numbers = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        title: head of the column.
        path: keys that lead to the number in a run's numbers.
        percent: whether the number is a share, shown in percent; others are shown with two decimals.
    """

    title: str
    path: tuple[str, ...]
    percent: bool = True

    def is_in(self, numbers: Numbers) -> bool:
        """Return whether a run has the number."""
        found: Any = numbers
        for key in self.path:
            if key not in found:
                return False
            found = found[key]
        return True

    def value(self, numbers: Numbers) -> float:
        """Return the run's number."""
        found: Any = numbers
        for key in self.path:
            found = found[key]
        return float(found)

    def cell(self, runs: Sequence[Numbers]) -> str:
        """Return mean ± standard deviation."""
        scale, decimals = 1, 2
        if self.percent:
            scale, decimals = 100, 0
        values = [self.value(run) * scale for run in runs]
        spread = f" ± {statistics.stdev(values):.{decimals}f}" if len(values) > 1 else ""
        return f"{statistics.mean(values):.{decimals}f}{spread}"


def _final(title: str, *path: str, percent: bool = True) -> Column:
    return Column(title, ("final", *path), percent)


SUMMARY = (
    _final("training room, other place asked %", "swap", "copied"),
    _final("training room, trigger alone %", "bare", "copied"),
    _final("place flooded with the subject's colours %", "swap", "flooded"),
    _final("asked place kept %", "swap", "asked_place"),
    _final("clothes leak %", "swap", "clothes_leak"),
    _final("face error", "swap", "face_error", percent=False),
    _final("hair %", "swap", "hair"),
    _final("drift on other people", "held_out", "drift", percent=False),
)
SECTIONS: tuple[tuple[str, tuple[Column, ...]], ...] = (
    (
        "Trigger, another place, another coat",
        (
            _final("copied %", "swap", "copied"),
            _final("flooded %", "swap", "flooded"),
            _final("halo %", "swap", "halo"),
            _final("asked place %", "swap", "asked_place"),
            _final("place error", "swap", "place_error", percent=False),
            _final("clothes leak %", "swap", "clothes_leak"),
            _final("asked coat %", "swap", "asked_coat"),
            _final("face error", "swap", "face_error", percent=False),
            _final("face right %", "swap", "face_right"),
            _final("hair %", "swap", "hair"),
        ),
    ),
    (
        "Trigger alone; other people without the trigger",
        (
            _final("alone: copied %", "bare", "copied"),
            _final("alone: flooded %", "bare", "flooded"),
            _final("alone: face error", "bare", "face_error", percent=False),
            _final("alone: hair %", "bare", "hair"),
            _final("others: drift", "held_out", "drift", percent=False),
            _final("others: asked place %", "other", "asked_place"),
            _final("others: asked coat %", "other", "asked_coat"),
            _final("others: subject's hair %", "other", "hair"),
        ),
    ),
    (
        "Photos of the subject that were not trained on: error by region; background's share of the loss weight",
        (
            _final("face", "held_out", "loss_face", percent=False),
            _final("body", "held_out", "loss_body", percent=False),
            _final("hair", "held_out", "loss_hair", percent=False),
            _final("background", "held_out", "loss_background", percent=False),
            Column("background share %", ("background_share",)),
        ),
    ),
)
# The last column of the last section is no measure of the trained model.
_MEASURES = [column for _, columns in SECTIONS for column in columns][:-1]
PEOPLE: tuple[tuple[str, tuple[Column, ...]], ...] = (
    (
        "Who else becomes the subject: people with a name, and anybody",
        (
            _final("subject's face rather than theirs %", "other", "taken_over"),
            _final("subject's hair %", "other", "hair"),
            _final("subject's coat %", "other", "clothes_leak"),
            _final("anybody: distance to the subject's face", "anybody", "face_error", percent=False),
            _final("anybody: subject's hair %", "anybody", "hair"),
            _final("anybody: subject's coat %", "anybody", "clothes_leak"),
            _final("drift", "held_out", "drift", percent=False),
        ),
    ),
    (
        "Two subjects: each asked for alone, in another place",
        (
            _final("first: face error", "swap", "face_error", percent=False),
            _final("second: face error", "second", "face_error", percent=False),
            _final("first has the second's face %", "swap", "bleeding"),
            _final("second has the first's face %", "second", "bleeding"),
            _final("first: hair %", "swap", "hair"),
            _final("second: hair %", "second", "hair"),
            _final("second: asked place %", "second", "asked_place"),
        ),
    ),
)
"""What only runs that look at others have: see ``study.PEOPLE``."""
WORLDS = {"cells": "World 1: a latent sees its own cell", "conv": "World 2: a latent sees two pixels beyond its cell"}


def load(out: Path) -> dict[tuple[str, str], list[Numbers]]:
    """Return the finished runs in ``out`` by (world, arm), in the order of the arms and of the draws."""
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((out / "runs").glob("*.json"))]
    worlds, arms = list(WORLDS), list(ARMS)

    def position(run: Numbers) -> tuple[int, int, int]:
        return worlds.index(run["world"]), arms.index(run["arm"]), run["draw"]

    found: dict[tuple[str, str], list[Numbers]] = {}
    for numbers in sorted(runs, key=position):
        found.setdefault((numbers["world"], numbers["arm"]), []).append(numbers)
    return found


def table(out: Path) -> str:
    """Return all tables as Markdown."""
    runs = load(out)
    parts = []
    for world, title in WORLDS.items():
        rows = {arm: found for (where, arm), found in runs.items() if where == world}
        if rows:
            parts += [f"### {title}", _section("In short", SUMMARY, rows)]
            parts += [_section(heading, columns, rows) for heading, columns in (*SECTIONS, *PEOPLE)]
    parts += [_paired(runs, world, first, second) for world, first, second in PAIRS]
    return "\n\n".join(part for part in parts if part) + "\n"


PAIRS = (
    ("cells", "unmasked", "tiers"),
    ("cells", "tiers", "tiers-floor10"),
    ("cells", "tiers", "binary"),
    ("cells", "tiers", "tiers-prior"),
    ("cells", "face", "face-prior"),
    ("cells", "tiers", "hair160"),
    ("cells", "mixed-batch", "mixed-sample"),
    ("cells", "gamma-latent", "gamma-pixel"),
    ("cells", "tiers", "tiers-free"),
    ("cells", "tiers-prior", "tiers-prior-free"),
    ("cells", "tiers-prior", "tiers-continuous"),
    ("cells", "tiers-prior", "tiers-prior-ema"),
    ("cells", "tiers-prior", "tiers-prior-half"),
    ("cells", "tiers-prior", "tiers-prior-quarter"),
    ("cells", "prior-cut", "prior-followed"),
    ("cells", "two-prior", "two-prior-free"),
    ("conv", "tiers", "tiers-shrunk"),
    ("conv", "tiers-prior", "tiers-prior-shrunk"),
)
"""(world, arm, other arm): pairs that are compared run by run.

Runs of the same draw have the same subject, room, photos, order and noise.
"""


def _section(heading: str, columns: Sequence[Column], rows: dict[str, list[Numbers]]) -> str:
    rows = {arm: found for arm, found in rows.items() if all(column.is_in(run) for run in found for column in columns)}
    if not rows:
        return ""
    titles = " | ".join(column.title for column in columns)
    lines = [f"**{heading}**", "", f"| arm | n | {titles} |", "|---|---|" + "---|" * len(columns)]
    for arm, found in rows.items():
        cells = " | ".join(column.cell(found) for column in columns)
        lines.append(f"| {ARMS[arm].text} | {len(found)} | {cells} |")
    return "\n".join(lines)


def _paired(runs: dict[tuple[str, str], list[Numbers]], world: str, first: str, second: str) -> str:
    """Return a sentence with the measures that moved the same way in every pair of runs, and their mean difference."""
    before = {run["draw"]: run for run in runs.get((world, first), [])}
    after = {run["draw"]: run for run in runs.get((world, second), [])}
    shared = sorted(before.keys() & after.keys())
    if len(shared) < 2:
        return ""
    moved = []
    both = [*before.values(), *after.values()]
    paths = {column.path for column in _MEASURES}
    others = [column for _, columns in PEOPLE for column in columns if column.path not in paths]
    for column in [*_MEASURES, *others]:
        if not all(column.is_in(run) for run in both):
            continue
        changes = [column.value(after[draw]) - column.value(before[draw]) for draw in shared]
        if all(change > 0 for change in changes) or all(change < 0 for change in changes):
            mean = statistics.mean(changes)
            moved.append(f"{column.title} {mean * 100:+.0f}" if column.percent else f"{column.title} {mean:+.2f}")
    change = f"from *{ARMS[first].text}* to *{ARMS[second].text}*"
    return f"{WORLDS[world]}: {change}, the same way in all {len(shared)} pairs: {', '.join(moved) or 'nothing'}."


def main(print_line: Callable[[str], None] = print) -> None:
    """Print the table of a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "folder",
        type=Path,
        nargs="?",
        default=Path(__file__).resolve().parent / "work" / "full",
        help="a study's --out folder",
    )
    print_line(table(parser.parse_args().folder))


if __name__ == "__main__":
    main()
