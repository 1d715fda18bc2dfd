"""Look for the subject in one photo or clip, and write its mask; ``--on-missing`` decides where the subject is missing.

H, W: rows and columns.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from blissmask.errors import MaskError
from blissmask.media.image import read_image
from blissmask.media.png import write_png_grey
from blissmask.media.video import read_frames, read_info
from blissmask.people.people_backend import Verdict
from blissmask.tasks.instance.answers import NO_ANSWER, Answer
from blissmask.tasks.instance.report import Score, read_score
from blissmask.tasks.instance.subject import ClipFollower, Finding, SubjectFinder, distance_text
from blissmask.tasks.mask_files.clip_forms import is_ours, remove
from blissmask.tasks.mask_files.clips import read_clip_results, sampled, write_clip
from blissmask.tasks.mask_files.media_plan import Making, is_video
from blissmask.tasks.mask_files.output_notes import keep_copy
from blissmask.tasks.run.plan import PlannedItem

OnMissing = Literal["empty", "skip", "error", "largest"]

_NOT_WRITTEN = ("skip", "error")
"""Values of ``--on-missing`` that write no mask where the subject is missing."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one item.

    Attributes:
        seen: what the note of its mask remembers.
        left_out: how the mask would have been made, see ``output_notes.make_note``; None where a mask was written.
    """

    seen: Mapping[str, object]
    left_out: Mapping[str, object] | None = None


def search(
    item: PlannedItem,
    finder: SubjectFinder,
    making: Making,
    on_missing: OnMissing,
    answers: Mapping[str, Answer],
) -> Outcome:
    """Write one item's mask.

    Args:
        item: the photo or video, and where its mask goes.
        finder: finds the subject.
        making: how masks are made.
        on_missing: ``skip`` writes nothing where the subject is in no frame, and removes the mask that we wrote there
            before.
        answers: what was said about who the subject is in a photo, by item.

    Raises:
        MaskError: the subject is missing and ``on_missing`` is ``error``, or there is no reference and several people.
        MediaError: the photo or video cannot be read.
        MachineError: the mask cannot be written.
    """
    source = item.inputs[0]
    note = making.note_for(source)
    if making.is_clip(source):
        return _search_frames(item, note, finder, making, on_missing)
    if is_video(source):
        findings = list(_look_at_samples(source, finder))
        seen = _over_frames([finding.remembered() for finding in findings])
    else:
        findings = [finder.find(read_image(source).rgb_HW3, answers.get(item.key, NO_ANSWER))]
        seen = findings[0].remembered()
    if on_missing in _NOT_WRITTEN and not any(finding.present for finding in findings):
        return _leave_out(item, note, seen, making, on_missing)
    grey_HW = functools.reduce(np.maximum, (_to_grey(finding) for finding in findings))
    keep_copy(item.target)
    write_png_grey(item.target, grey_HW, note={**note, **seen}, seen=item.seen)
    return Outcome(seen)


def _search_frames(
    item: PlannedItem, note: Mapping[str, object], finder: SubjectFinder, making: Making, on_missing: OnMissing
) -> Outcome:
    """Write one mask per frame.

    Where no mask may be written without the subject, none is written before the subject has been seen in a frame.
    """
    findings = _look_at_frames(item.inputs[0], finder, making.video_every)
    if on_missing in _NOT_WRITTEN:
        first = _up_to_the_subject(findings)
        if not any(finding.present for finding in first):
            seen = _over_frames([finding.remembered() for finding in first])
            return _leave_out(item, note, seen, making, on_missing)
        findings = itertools.chain(first, findings)
    masks = (functools.partial(_grey_and_note, finding) for finding in findings)
    write_clip(item.target, note, masks, force=making.force, summarise=_over_frames, seen=item.seen)
    return Outcome(read_clip_results(item.target))


def _leave_out(
    item: PlannedItem, note: Mapping[str, object], seen: Mapping[str, object], making: Making, on_missing: OnMissing
) -> Outcome:
    """Refuse an item without the subject, or remove the mask we wrote for it before.

    An earlier mask must not stay: it would be trained although nobody is in it.
    """
    if on_missing == "error":
        score = read_score(seen)
        place = " in any frame" if is_video(item.inputs[0]) else ""
        raise MaskError(f"the subject is not found{place}: {score.verdict.value}{distance_text(score.distance)}")
    if is_ours(item.target, making.command, item.inputs[0]):
        remove(item.target)
    return Outcome(seen, left_out=note)


def _look_at_samples(video: Path, finder: SubjectFinder) -> Iterator[Finding]:
    follower = ClipFollower(finder)
    for rgb_HW3 in read_frames(video, sampled(read_info(video, count=True).frame_count)):
        yield follower.look(rgb_HW3)


def _look_at_frames(video: Path, finder: SubjectFinder, every: int) -> Iterator[Finding]:
    """Yield a finding for each frame; frames between two that are looked at repeat the first of them."""
    follower = ClipFollower(finder)
    finding: Finding
    for number, rgb_HW3 in enumerate(read_frames(video)):
        if number % every == 0:
            finding = follower.look(rgb_HW3)
        yield finding


def _up_to_the_subject(findings: Iterator[Finding]) -> list[Finding]:
    """Return the findings up to the first with the subject; all of them when it is in none."""
    first: list[Finding] = []
    for finding in findings:
        first.append(finding)
        if finding.present:
            break
    return first


def _grey_and_note(finding: Finding) -> tuple[NDArray[np.uint8], Mapping[str, object]]:
    return _to_grey(finding), finding.remembered()


def _to_grey(finding: Finding) -> NDArray[np.uint8]:
    return finding.mask_HW.view(np.uint8) * np.uint8(255)


def _over_frames(seen: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """Sum up a clip: its surest verdict with the scores of that frame, and in how many frames the subject is."""
    if not seen:
        raise MaskError("the video has no frames")
    scores = [read_score(frame) for frame in seen]
    # Verdicts are declared surest first.
    order = {verdict: position for position, verdict in enumerate(Verdict)}

    def doubtfulness(score: Score) -> tuple[int, float]:
        return order[score.verdict], math.inf if score.distance is None else score.distance

    best = min(scores, key=doubtfulness)
    present = [score.covered for score in scores if score.covered > 0]
    summed = dataclasses.replace(
        best, covered=sum(present) / len(scores), carried=any(score.carried for score in scores)
    )
    return {**summed.to_json(), "frames_with_subject": len(present)}
