"""What notes and records of masks are said to remember, however odd, is told as it is or left out: never our mistake."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blissmask.masks.tiers import TIERS
from blissmask.media.png import Note
from blissmask.media.sheets.card import Measure
from blissmask.tasks.instance import report as instance_report
from blissmask.tasks.instance.scores import SCORES_NAME, read_answers, read_left_out
from blissmask.tasks.mask_files.output_notes import what_changed
from blissmask.tasks.masks import report as masks_report

ODD: list[Any] = [None, True, -5, 0, 3, 0.25, 10**400, float("nan"), -float("inf"), 1e308, "", "found", "\0", "\ud800"]
ODD += [[], [1], [[1]], {}, {"a": 1}, [0, 0.5, float("nan"), 10**400]]
odd = st.sampled_from(ODD)


def notes(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=dict.fromkeys(names, odd))


def shown(measures: tuple[Measure, ...]) -> None:
    """Write measures as a page holds them, whose JSON knows no NaN."""
    json.dumps([(measure.text, measure.value) for measure in measures], allow_nan=False)


@given(
    note=notes("people", "faces", "cut_heads", "in_front", "likeness"), shares=odd | notes(*(t.value for t in TIERS))
)
def test_what_a_weighted_mask_is_said_to_show_is_told_or_left_out(note: dict[str, Any], shares: Any) -> None:
    seen = masks_report.read_seen({**note, "coverage": shares})
    if seen is not None:
        shown(masks_report.measures_of(seen))
        assert not any(map(math.isnan, seen.badness.worst_first))


@given(note=notes("verdict", "distance", "margin", "people", "partial", "carried", "covered"))
def test_why_a_subject_mask_is_said_to_be_so_is_told_or_left_out(note: dict[str, Any]) -> None:
    score = instance_report.read_score(note)
    shown(instance_report.measures_of(score))
    json.dumps(score.to_json(), allow_nan=False)
    assert not any(map(math.isnan, instance_report.badness_of(score).worst_first))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=notes("settings", "items", "left_out", "answers"), inside=odd, within=odd)
def test_scores_of_others_are_read_or_passed_over(
    tmp_path: Path, table: dict[str, Any], inside: Any, within: Any
) -> None:
    photo = tmp_path / "one.png"
    photo.touch()
    entry = {"settings": within, "inputs": [inside], "version": 1, "subject": within, "strangers": [inside]}
    full = {name: {"one": entry, "two": inside} for name in ("items", "left_out", "answers")}
    document = {"command": "instance", "settings": {"a": inside}, **full, **table}
    (tmp_path / SCORES_NAME).write_text(json.dumps(document))
    for answer in read_answers(tmp_path).values():
        json.dumps(answer.to_json(), allow_nan=False)
    for left_out in read_left_out(tmp_path).values():
        shown(instance_report.measures_of(left_out.score))
        assert what_changed(Note(left_out.note, untouched=True), (photo,), {"a": 1})
