"""`instance`: find one person in photos and videos, and mask nobody else."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blissmask.config.masks import InstanceSection
from blissmask.config.model import Config
from blissmask.dataset.discover import find_media
from blissmask.errors import MaskError
from blissmask.events import Noted
from blissmask.media.image import read_image
from blissmask.media.overlay import SUBJECT_COLOUR, overlay_subject
from blissmask.media.png import read_note, write_png_grey
from blissmask.media.sheet import SheetText
from blissmask.media.video import read_frames, read_info
from blissmask.people.faces.protocol import FaceReader
from blissmask.people.faces.registry import IDENTITIES
from blissmask.people.protocol import PeopleBackend, Verdict
from blissmask.people.registry import PEOPLE
from blissmask.tasks.carry_out import begin, carry_out
from blissmask.tasks.clips import read_clip_results, sampled, write_clip
from blissmask.tasks.contact_sheet import SheetEntry, check_sheet, write_contact_sheet
from blissmask.tasks.folders import refuse_output_in_place, required
from blissmask.tasks.freshness import kept_warning
from blissmask.tasks.instance.references import build_identity, photos_of, settings_of, threshold_table, thresholds_of
from blissmask.tasks.instance.report import (
    Score,
    badness_of,
    numbers_of,
    read_score,
    remarks_of,
    verdict_table,
    warnings_about,
    write_scores,
)
from blissmask.tasks.instance.review import write_review
from blissmask.tasks.instance.subject import ClipFollower, Finding, SubjectFinder
from blissmask.tasks.licences import Weights, licence_table, refuse_non_commercial, tell, to_json
from blissmask.tasks.media_plan import Making, is_video, plan_media
from blissmask.tasks.plan import Action, Plan, PlannedItem, RunContext, Summary
from blissmask.tasks.wording import counted

COMMAND = "instance"
_SUREST_FIRST = (Verdict.FOUND, Verdict.UNCERTAIN, Verdict.ABSENT, Verdict.NO_FACE)


@dataclass(slots=True)
class InstancePlan(Plan):
    """What `instance` will do; ``backend`` and ``making`` are None when it only explains, ``reader`` without references."""

    backend: PeopleBackend | None = None
    reader: FaceReader | None = None
    weights: tuple[Weights, ...] = ()
    references: list[Path] = field(default_factory=list)
    negatives: list[Path] = field(default_factory=list)
    making: Making | None = None
    config: Config = field(default_factory=Config)


def plan(config: Config) -> InstancePlan:
    """Find photos, videos and references, and decide item by item; with ``explain``, only say what the networks are and decide.

    Raises:
        UsageError: folders are missing or wrong, a reference does not exist, or the licence of the weights forbids the use.
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
    settings = {"backend": backend.identity, **settings_of(options, reader, references, negatives)}
    frames = options.video_masks == "frames"
    making = Making(COMMAND, settings, to_json(weights), options.video_every, frames=frames, force=config.run.force)
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
        config=config,
    )
    result.items += [plan_media(media, output, media.stem, making) for media in find_media(source, videos=True, shared="one mask")]
    result.warnings += kept_warning(result.items)
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
    options, output = plan.config.instance, plan.outputs[0]
    summary = begin(plan)
    context.reporter.emit(Noted(counted(len(plan.references), "reference")))
    tell(plan.weights, context.reporter)
    scores: dict[str, Score] = {}
    if plan.having(Action.WRITE):
        identity = None
        if plan.reader is not None:
            identity, warnings = build_identity(plan.reader, thresholds_of(options, plan.reader), plan.references, plan.negatives)
            summary.warnings += warnings
        finder = SubjectFinder(backend, identity, options.on_missing)
        results = carry_out(plan, lambda item: _find(item, finder, making, options), context, summary, phase="Finding")
        scores = {item.key: read_score(seen) for item, seen in results}
    failed = {failure.key for failure in summary.failures}
    finished = [item for item in plan.items if item.key not in failed]
    scores |= {item.key: read_score(seen) for item in finished if item.key not in scores and (seen := _remembered(item))}
    scores = {item.key: scores[item.key] for item in finished if item.key in scores}
    summary.tables.append(verdict_table(list(scores.values())))
    summary.warnings += warnings_about(scores)
    summary.details |= {
        **plan.details,
        "verdicts": {verdict.value: sum(score.verdict is verdict for score in scores.values()) for verdict in _SUREST_FIRST},
    }
    write_scores(output, scores, making, [str(path) for path in plan.references])
    if options.review is not None:
        write_review(options.review, {item.inputs[0]: scores[item.key] for item in finished if item.key in scores})
    if options.sheet is not None:
        text = SheetText(
            f"Subject masks, {counted(len(scores), 'item')}", ("photo", "subject", "latent grid"), (("subject", SUBJECT_COLOUR),)
        )
        write_contact_sheet(options.sheet, _sheet_entries(finished, scores), text, overlay_subject, plan.config, context)
    return summary


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


def _explanation(config: Config) -> InstancePlan:
    """Return a plan that only shows from which distance a face is whose, and the licences."""
    options = config.instance
    _, reader, weights = _networks(options, faces=True)
    assert reader is not None
    thresholds = thresholds_of(options, reader)
    details: dict[str, object] = {"thresholds": dataclasses.asdict(thresholds), "licences": to_json(weights)}
    return InstancePlan(COMMAND, tables=[threshold_table(options.identity, thresholds), licence_table(weights)], details=details)


def _find(item: PlannedItem, finder: SubjectFinder, making: Making, options: InstanceSection) -> Mapping[str, object]:
    """Write one item's mask; return what its note remembers, which is all there is when no file is wanted."""
    source, output = item.inputs[0], item.output
    assert output is not None
    note = making.note_for(source)
    if making.is_clip(source):
        masks = _masks_of_frames(source, finder, making.video_every)
        write_clip(output, note, masks, force=making.force, summarise=_over_frames)
        return read_clip_results(output)
    if is_video(source):
        follower = ClipFollower(finder)
        findings = [follower.look(rgb_HW3) for rgb_HW3 in read_frames(source, sampled(read_info(source).frame_count))]
        seen = _over_frames([finding.remembered() for finding in findings])
        grey_HW = np.maximum.reduce([_to_grey(finding) for finding in findings])
    else:
        finding = finder.find(read_image(source).rgb_HW3)
        seen, grey_HW = finding.remembered(), _to_grey(finding)
    if grey_HW.any() or options.on_missing != "skip":
        write_png_grey(output, grey_HW, note={**note, **seen})
    return seen


def _masks_of_frames(
    video: Path, finder: SubjectFinder, every: int
) -> Iterator[Callable[[], tuple[NDArray[np.uint8], Mapping[str, object]]]]:
    """Yield for each frame a function that returns its mask; the frames between two that are looked at repeat the first."""
    follower = ClipFollower(finder)
    finding: Finding
    for number, rgb_HW3 in enumerate(read_frames(video)):
        if number % every == 0:
            finding = follower.look(rgb_HW3)
        yield functools.partial(_result, finding)


def _result(finding: Finding) -> tuple[NDArray[np.uint8], Mapping[str, object]]:
    return _to_grey(finding), finding.remembered()


def _to_grey(finding: Finding) -> NDArray[np.uint8]:
    return finding.mask_HW.astype(np.uint8) * np.uint8(255)


def _over_frames(seen: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """Sum up the frames of a clip: its surest verdict with that frame's scores, and in how many frames the subject is."""
    scores = [read_score(frame) for frame in seen]
    order = {verdict: position for position, verdict in enumerate(_SUREST_FIRST)}
    best = min(scores, key=lambda score: (order[score.verdict], score.distance if score.distance is not None else 9.0), default=None)
    if best is None:
        raise MaskError("the video has no frames")
    present = [score.covered for score in scores if score.covered > 0]
    summed = dataclasses.replace(best, covered=sum(present) / max(1, len(scores)), carried=any(score.carried for score in scores))
    return {**summed.to_json(), "frames_with_subject": len(present)}


def _remembered(item: PlannedItem) -> Mapping[str, object]:
    """Return what the note of a finished output remembers; empty when there is none of ours."""
    output = item.output
    assert output is not None
    if output.is_dir():
        return read_clip_results(output)
    note = read_note(output) if output.is_file() else None
    return note.content if note is not None and note.content.get("command") == COMMAND else {}


def _sheet_entries(items: Sequence[PlannedItem], scores: Mapping[str, Score]) -> list[SheetEntry]:
    shown = [(item, scores[item.key]) for item in items if item.key in scores and item.output is not None and item.output.exists()]
    return [
        SheetEntry(item.inputs[0].name, item.inputs[0], item.output, numbers_of(score), remarks_of(score), badness_of(score))
        for item, score in shown
        if item.output is not None
    ]
