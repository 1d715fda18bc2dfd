"""`instance`: find one person in photos and videos, and mask nobody else."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from blissmask.config.masks import InstanceSection
from blissmask.config.model import Config
from blissmask.dataset.discover import find_media, unread_warning
from blissmask.errors import StoppedError
from blissmask.events import Noted
from blissmask.media.overlay import SUBJECT_COLOUR, overlay_subject
from blissmask.media.png import read_note
from blissmask.media.sheet_pages import SheetText
from blissmask.people.faces.face_reader import IDENTITIES, FaceReader
from blissmask.people.people_backend import PEOPLE, PeopleBackend, Verdict
from blissmask.tasks.instance.references import build_identity, photos_of, settings_of, threshold_table, thresholds_of
from blissmask.tasks.instance.report import (
    Score,
    badness_of,
    numbers_of,
    read_score,
    remarks_of,
    verdict_table,
    warnings_about,
)
from blissmask.tasks.instance.review import write_review
from blissmask.tasks.instance.scores import COMMAND, LEFT_OUT, LeftOut, decide_left_out, read_left_out, write_scores
from blissmask.tasks.instance.search import Outcome, search
from blissmask.tasks.instance.subject import FOLLOWING, SubjectFinder
from blissmask.tasks.mask_files.clip_forms import OtherForms, remove_replaced, settle_forms
from blissmask.tasks.mask_files.clips import read_clip_results
from blissmask.tasks.mask_files.contact_sheet import SheetEntry, check_sheet, write_contact_sheet
from blissmask.tasks.mask_files.licences import Weights, licence_table, refuse_non_commercial, tell, to_json
from blissmask.tasks.mask_files.media_plan import Making, plan_media
from blissmask.tasks.mask_files.output_notes import kept_warning
from blissmask.tasks.run.folders import refuse_output_in_place, required
from blissmask.tasks.run.plan import Action, Plan, PlannedItem, RunContext, Summary
from blissmask.tasks.run.wording import counted
from blissmask.tasks.run.workers import begin, carry_out


@dataclass(slots=True)
class InstancePlan(Plan):
    """What `instance` will do; ``backend`` and ``making`` are None when it only explains, ``reader`` without references.

    ``left_out`` are the items that an earlier run looked at and wrote nothing for; ``forms`` the masks of clips that
    are to be replaced.
    """

    backend: PeopleBackend | None = None
    reader: FaceReader | None = None
    weights: tuple[Weights, ...] = ()
    references: list[Path] = field(default_factory=list)
    negatives: list[Path] = field(default_factory=list)
    making: Making | None = None
    left_out: dict[str, LeftOut] = field(default_factory=dict)
    forms: OtherForms = field(default_factory=OtherForms)
    config: Config = field(default_factory=Config)


def plan(config: Config) -> InstancePlan:
    """Find photos, videos and references, and decide item by item; with ``explain``, only say what the networks are and decide.

    Raises:
        UsageError: folders are missing or wrong, a reference does not exist, or the licence of the weights forbids the
            use.
        InputError: a folder cannot be read, holds nothing, or two files have one name.
    """
    options = config.instance
    if options.explain:
        return _explanation(config)
    source, output = required("instance", {"input": options.input, "output": options.output})
    refuse_output_in_place(output, {"photos": source})
    check_sheet(options.sheet, [source, output])
    if options.review is not None:
        refuse_output_in_place(options.review, {"photos": source, "subject masks": output})
    references, negatives = photos_of(options.reference, "--reference"), photos_of(options.negatives, "--negatives")
    backend, reader, weights = _networks(options, faces=bool(references))
    making = _making(config, backend, reader, weights, references, negatives)
    result = InstancePlan(
        COMMAND,
        outputs=(output, *([options.review] if options.review else [])),
        details={"licences": to_json(weights)},
        backend=backend,
        reader=reader,
        weights=weights,
        references=references,
        negatives=negatives,
        making=making,
        left_out=read_left_out(output),
        config=config,
    )
    found = find_media(source, videos=True, shared="one mask")
    decided = [plan_media(media, output, media.stem, making) for media in found]
    result.items, result.forms = settle_forms(
        [decide_left_out(item, result.left_out, making) for item in decided], making
    )
    result.warnings += [
        *unread_warning(source, found, videos=True),
        *result.forms.warning(),
        *kept_warning(result.items),
    ]
    return result


def run(plan: InstancePlan, context: RunContext) -> Summary:
    """Write the subject masks, the scores, copies for review and the contact sheet.

    Raises:
        MaskError: a reference does not show exactly one clear face; names all of them.
        MachineError, StoppedError: as ``workers.work_through``.
    """
    backend, making = plan.backend, plan.making
    if backend is None or making is None:
        return Summary(plan.command, tables=list(plan.tables), details=dict(plan.details))
    options, summary = plan.config.instance, begin(plan)
    context.reporter.emit(Noted(counted(len(plan.references), "reference")))
    tell(plan.weights, context.reporter)
    outcomes: dict[str, Outcome] = {}
    try:
        if plan.having(Action.WRITE):
            _search_all(plan, outcomes, context, summary)
    except StoppedError:
        # What was left out so far is written nowhere else.
        _record(plan, outcomes)
        raise
    scores = _record(plan, outcomes)
    finished = [item for item in plan.items if item.action is Action.SKIP or item.key in outcomes]
    remove_replaced(finished, plan.forms, making)
    _count(summary, plan, outcomes, scores)
    if options.review is not None:
        write_review(options.review, {item.inputs[0]: scores[item.key] for item in finished if item.key in scores})
    if options.sheet is not None:
        text = SheetText(
            f"Subject masks, {counted(len(scores), 'item')}",
            ("photo", "subject", "latent grid"),
            (("subject", SUBJECT_COLOUR),),
        )
        write_contact_sheet(
            options.sheet, _sheet_entries(finished, scores), text, overlay_subject, plan.config, context
        )
    return summary


def _search_all(plan: InstancePlan, outcomes: dict[str, Outcome], context: RunContext, summary: Summary) -> None:
    """Look for the subject in every item to be written; fill ``outcomes`` as they come. Raises as ``run`` does."""
    backend, making, options = plan.backend, plan.making, plan.config.instance
    assert backend is not None
    assert making is not None
    identity = None
    if plan.reader is not None:
        identity, warnings = build_identity(
            plan.reader, thresholds_of(options, plan.reader), plan.references, plan.negatives
        )
        summary.warnings += warnings
    finder = SubjectFinder(backend, identity, or_largest=options.on_missing == "largest")
    for item, outcome in carry_out(
        plan, lambda item: search(item, finder, making, options.on_missing), context, summary, phase="Finding"
    ):
        outcomes[item.key] = outcome


def _record(plan: InstancePlan, outcomes: Mapping[str, Outcome]) -> dict[str, Score]:
    """Write the scores of all items that are finished, and return them."""
    assert plan.making is not None
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
        elif item.action is Action.SKIP and (seen := _remembered(item)):
            scores[item.key] = read_score(seen)
    write_scores(plan.outputs[0], scores, left_out, plan.making, [str(path) for path in plan.references])
    return scores


def _count(summary: Summary, plan: InstancePlan, outcomes: Mapping[str, Outcome], scores: Mapping[str, Score]) -> None:
    """Tell what became of the items; those for which nothing was written were skipped."""
    left_out = {key for key, outcome in outcomes.items() if outcome.left_out is not None}
    summary.written -= len(left_out)
    summary.skipped += len(left_out)
    summary.tables.append(verdict_table(list(scores.values())))
    summary.warnings += warnings_about(scores)
    summary.details |= {
        **plan.details,
        "verdicts": {verdict.value: sum(score.verdict is verdict for score in scores.values()) for verdict in Verdict},
        "left_out": [item.key for item in plan.items if item.reason == LEFT_OUT or item.key in left_out],
    }


def _networks(options: InstanceSection, *, faces: bool) -> tuple[PeopleBackend, FaceReader | None, tuple[Weights, ...]]:
    """Return the networks that the user named and their licences; the identity only where ``faces`` are to be recognised.

    Raises:
        UsageError: there is no such backend or identity, or the licence of the weights forbids the use.
        ModelError, MissingPackageError: weights or packages are missing.
    """
    backend = PEOPLE.load(options.backend).backend(options)
    identity = IDENTITIES.load(options.identity)
    weights = [Weights("--backend", options.backend, backend.identity, backend.licence)]
    reader: FaceReader | None = identity.face_reader(options) if faces else None
    if reader is not None:
        weights.append(Weights("--identity", options.identity, reader.identity, reader.licence))
    refuse_non_commercial(weights, commercial_only=options.commercial_only)
    return backend, reader, tuple(weights)


def _making(
    config: Config,
    backend: PeopleBackend,
    reader: FaceReader | None,
    weights: Sequence[Weights],
    references: Sequence[Path],
    negatives: Sequence[Path],
) -> Making:
    """Return how the masks are made: what decides their pixels, and whether finished ones are made anew."""
    options = config.instance
    return Making(
        COMMAND,
        {"backend": backend.identity, **settings_of(options, reader, references, negatives)},
        to_json(weights),
        options.video_every,
        frames=options.video_masks == "frames",
        force=config.run.force,
        video_settings={"following": FOLLOWING, "video_masks": options.video_masks},
    )


def _explanation(config: Config) -> InstancePlan:
    """Return a plan that only shows from which distance a face is whose, and the licences."""
    options = config.instance
    _, reader, weights = _networks(options, faces=True)
    assert reader is not None
    thresholds = thresholds_of(options, reader)
    details: dict[str, object] = {"thresholds": dataclasses.asdict(thresholds), "licences": to_json(weights)}
    return InstancePlan(
        COMMAND, tables=[threshold_table(options.identity, thresholds), licence_table(weights)], details=details
    )


def _remembered(item: PlannedItem) -> Mapping[str, object]:
    """Return what the note of a finished output remembers; empty when there is none of ours."""
    output = item.output
    assert output is not None
    note = read_note(output) if output.is_file() else None
    content = read_clip_results(output) if output.is_dir() else note.content if note is not None else {}
    return content if content.get("command") == COMMAND else {}


def _sheet_entries(items: Sequence[PlannedItem], scores: Mapping[str, Score]) -> list[SheetEntry]:
    shown = [
        (item, scores[item.key])
        for item in items
        if item.key in scores and item.output is not None and item.output.exists()
    ]
    return [
        SheetEntry(
            item.inputs[0].name, item.inputs[0], item.output, numbers_of(score), remarks_of(score), badness_of(score)
        )
        for item, score in shown
        if item.output is not None
    ]
