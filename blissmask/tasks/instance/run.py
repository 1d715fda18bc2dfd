"""Run `instance`: write the subject masks, the scores, copies for review and the contact sheet."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

from blissmask.errors import StoppedError
from blissmask.events import Noted
from blissmask.media.overlay import SUBJECT_COLOUR, subject_labels
from blissmask.media.png import read_note
from blissmask.media.sheets.card import SheetText
from blissmask.people.people_backend import Verdict
from blissmask.plurals import counted
from blissmask.processes import this_process
from blissmask.tasks.instance.plan import InstancePlan
from blissmask.tasks.instance.references import build_identity, thresholds_of
from blissmask.tasks.instance.report import (
    FARTHEST,
    Score,
    badness_of,
    measures_of,
    read_score,
    remarks_of,
    verdict_table,
    warnings_about,
)
from blissmask.tasks.instance.review import write_review
from blissmask.tasks.instance.scores import COMMAND, LEFT_OUT, LeftOut, write_scores
from blissmask.tasks.instance.search import Outcome, search
from blissmask.tasks.instance.subject import SubjectFinder
from blissmask.tasks.mask_files.clip_forms import remove_replaced
from blissmask.tasks.mask_files.clips import read_clip_results
from blissmask.tasks.mask_files.contact_sheet import SheetEntry, write_contact_sheet
from blissmask.tasks.mask_files.licences import note_licences
from blissmask.tasks.run.plan import Action, Explanation, PlannedItem, RunContext, Summary
from blissmask.tasks.run.workers import begin, carry_out, reading


def run(plan: InstancePlan | Explanation, context: RunContext) -> Summary:
    """Write the subject masks, the scores, copies for review and the contact sheet.

    Raises:
        MaskError: a reference does not show exactly one clear face; names all of them.
        MachineError, StoppedError: as ``workers.work_through``.
    """
    if isinstance(plan, Explanation):
        return plan.summary()
    options, summary = plan.options, begin(plan)
    outcomes: dict[str, Outcome] = {}
    try:
        if plan.having(Action.WRITE):
            context.reporter.emit(Noted(counted(len(plan.references), "reference")))
            note_licences(plan.weights, context.reporter)
            _search_all(plan, outcomes, context, summary)
    except StoppedError:
        # What was left out so far is recorded nowhere else.
        if this_process().speaks:
            _record(plan, outcomes)
        raise
    if not this_process().speaks:
        return summary
    scores = _record(plan, outcomes)
    finished = [item for item in plan.items if item.action is Action.SKIP or item.key in outcomes]
    remove_replaced(finished, plan.forms, plan.making)
    _count(summary, plan, outcomes, scores)
    if options.review is not None:
        write_review(options.review, {item.inputs[0]: scores[item.key] for item in finished if item.key in scores})
    if options.sheet is not None:
        text = SheetText(
            f"Subject masks, {counted(len(scores), 'item')}",
            ("photo", "subject", "latent grid"),
            (("subject", SUBJECT_COLOUR),),
            worst=FARTHEST,
        )
        entries = _sheet_entries(finished, scores)
        write_contact_sheet(options.sheet, entries, text, subject_labels, context, training_area=plan.training_area)
    return summary


def _search_all(plan: InstancePlan, outcomes: dict[str, Outcome], context: RunContext, summary: Summary) -> None:
    """Look for the subject in every item to be written; fill ``outcomes`` as they come. Raises as ``run`` does."""
    identity = None
    if plan.reader is not None:
        with reading(plan.seen):
            identity, warnings = build_identity(
                plan.reader, thresholds_of(plan.options, plan.reader), plan.references, plan.negatives
            )
        plan.seen.check()
        summary.warnings += warnings
    on_missing = plan.options.on_missing
    finder = SubjectFinder(plan.backend, identity, or_largest=on_missing == "largest")
    look = functools.partial(search, finder=finder, making=plan.making, on_missing=on_missing, answers=plan.answers)
    for item, outcome in carry_out(plan, look, context, summary, phase="Finding"):
        outcomes[item.key] = outcome


def _record(plan: InstancePlan, outcomes: Mapping[str, Outcome]) -> dict[str, Score]:
    """Write the scores of all items that are finished, and return them."""
    scores: dict[str, Score] = {}
    left_out: dict[str, LeftOut] = {}
    for item in plan.items:
        outcome = outcomes.get(item.key)
        if outcome is not None:
            scores[item.key] = read_score(outcome.seen)
            if outcome.left_out is not None:
                left_out[item.key] = LeftOut(outcome.left_out, scores[item.key])
        elif item.reason == LEFT_OUT:
            left_out[item.key] = plan.left_out[item.key]
            scores[item.key] = left_out[item.key].score
        elif item.action is Action.SKIP and (seen := _remembered(item.target)):
            scores[item.key] = read_score(seen)
    references = [str(path) for path in plan.references]
    write_scores(plan.output, scores, left_out, plan.making, references, plan.answers, keep_others=this_process().apart)
    return scores


def _remembered(mask: Path) -> Mapping[str, object]:
    """Return what the note of a finished mask, or the record of a folder of frames, remembers; empty if not ours."""
    content: Mapping[str, object] = {}
    if mask.is_dir():
        content = read_clip_results(mask)
    elif mask.is_file() and (note := read_note(mask)) is not None:
        content = note.content
    return content if content.get("command") == COMMAND else {}


def _count(summary: Summary, plan: InstancePlan, outcomes: Mapping[str, Outcome], scores: Mapping[str, Score]) -> None:
    """Put verdicts and warnings into ``summary``; items for which nothing was written count as skipped."""
    left_out = {key for key, outcome in outcomes.items() if outcome.left_out is not None}
    summary.written -= len(left_out)
    summary.skipped += len(left_out)
    max_distance = None if plan.reader is None else thresholds_of(plan.options, plan.reader).max_distance
    summary.tables.append(verdict_table(list(scores.values()), max_distance))
    summary.warnings += warnings_about(scores, sheet=plan.options.sheet, review=plan.options.review)
    summary.details |= {
        **plan.details,
        "verdicts": {verdict.value: sum(score.verdict is verdict for score in scores.values()) for verdict in Verdict},
        "left_out": [item.key for item in plan.items if item.reason == LEFT_OUT or item.key in left_out],
    }


def _sheet_entries(items: Sequence[PlannedItem], scores: Mapping[str, Score]) -> list[SheetEntry]:
    entries = []
    for item in items:
        score = scores.get(item.key)
        if score is None or not item.target.exists():
            continue
        entries.append(
            SheetEntry(
                name=item.inputs[0].name,
                media=item.inputs[0],
                mask=item.target,
                measures=measures_of(score),
                remarks=remarks_of(score),
                badness=badness_of(score),
            )
        )
    return entries
