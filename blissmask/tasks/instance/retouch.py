"""`instance --retouch`: say who the subject is by a click, and mend subject masks by hand, on a page."""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blissmask.config.model import Config
from blissmask.errors import InputError
from blissmask.masks.resize import resize_labels
from blissmask.masks.weighted_mask import INSTANCE_THRESHOLD
from blissmask.media.image import read_image
from blissmask.media.mask_picture import read_grey
from blissmask.media.overlay import SUBJECT_COLOUR, fit_size, subject_labels
from blissmask.media.png import read_note, write_png_grey
from blissmask.media.sheets.card import Badness, Measure, SheetText, deflate_values
from blissmask.media.sheets.html_page import as_text
from blissmask.people.face_identity import FaceIdentity
from blissmask.tasks.instance.answers import NO_ANSWER, Answer, Box, box_of
from blissmask.tasks.instance.plan import InstancePlan
from blissmask.tasks.instance.plan import outputs as outputs_of_search
from blissmask.tasks.instance.plan import plan as plan_search
from blissmask.tasks.instance.references import build_identity, thresholds_of
from blissmask.tasks.instance.report import FARTHEST, badness_of, measures_of, read_score, remarks_of
from blissmask.tasks.instance.scores import COMMAND, record_answer
from blissmask.tasks.instance.subject import SubjectFinder
from blissmask.tasks.mask_files.media_plan import is_video
from blissmask.tasks.retouch.desk import NO_MASK, SIDE, Described, Desk, Kind, RetouchItem
from blissmask.tasks.retouch.retouching import page_title, plan_retouch, refuse_unfit, retouch, videos_warning
from blissmask.tasks.run.plan import Plan, RunContext, Summary

_SUBJECT = 255
_MOST_PEOPLE = 255
"""More than fit into a byte cannot be told apart on a page."""


@dataclass(slots=True, kw_only=True)
class RetouchPlan(Plan):
    """What is shown, and how masks are made where a person is chosen."""

    search: InstancePlan


def outputs(config: Config) -> tuple[Path, ...]:
    """Return the folders that are written to. Raises UsageError when folders are missing or wrong."""
    return outputs_of_search(config)


def plan(config: Config) -> RetouchPlan:
    """Find the photos and their masks; errors as in ``instance.plan.plan``.

    Raises:
        MissingPackageError: the server's packages are missing.
    """
    refuse_unfit(explain=config.instance.explain, quiet=config.run.quiet)
    search = plan_search(config)
    assert isinstance(search, InstancePlan), "it is one without `--explain`"
    photos = [item for item in search.items if not is_video(item.inputs[0])]
    items = [plan_retouch(item.inputs[0], item.target, item.key) for item in photos]
    warnings = videos_warning([item.inputs[0] for item in search.items])
    return RetouchPlan(
        command=COMMAND, items=items, outputs=search.outputs, warnings=warnings, details=search.details, search=search
    )


def run(plan: RetouchPlan, context: RunContext) -> Summary:
    """Serve the page until it is finished. Raises MachineError when no port can be opened."""
    title = page_title("Subject masks", len(plan.items), videos=len(plan.search.items) - len(plan.items))
    text = SheetText(title, ("photo", "subject", "latent grid"), (("subject", SUBJECT_COLOUR),), worst=FARTHEST)
    return retouch(
        plan.items,
        Kind((0, _SUBJECT), subject_labels, _describe),
        text,
        context,
        command=COMMAND,
        training_area=plan.search.training_area,
        people=functools.partial(SubjectChooser, plan.search),
    )


def _describe(item: RetouchItem) -> Described:
    if not item.mask.is_file():
        return NO_MASK
    note = read_note(item.mask)
    if note is not None and note.untouched and note.content.get("command") == COMMAND:
        score = read_score(note.content)
        return Described(measures_of(score), remarks_of(score), badness_of(score))
    covered = float((read_grey(item.mask) > INSTANCE_THRESHOLD).mean())
    measures = (Measure("made by hand"), Measure(f"{covered:.1%} of the picture", "share of the picture", covered))
    return Described(measures, () if covered else ("empty mask",), Badness(0.0 if covered else 4.0))


class SubjectChooser:
    """Finds the people in photos and writes the mask of the one who is chosen; see ``server.PeopleFinder``.

    Args:
        search: how masks are made.
        desk: the items.
    """

    def __init__(self, search: InstancePlan, desk: Desk) -> None:
        self._search, self._desk = search, desk
        self._answers = dict(search.answers)
        self._shown: dict[int, dict[str, object]] = {}
        self._boxes: dict[int, list[Box]] = {}
        self._identity: FaceIdentity | None = None
        self._turn = threading.Lock()
        # One photo at a time: backends need not bear several, and each takes all cores.
        self._looking = threading.Lock()

    def shown(self, number: int) -> dict[str, object]:
        """Return who is in the photo of an item."""
        with self._looking:
            if number not in self._shown:
                self._shown[number] = self._look(self._desk.item(number), number)
            return self._shown[number]

    def _look(self, item: RetouchItem, number: int) -> dict[str, object]:
        rgb_HW3 = read_image(item.photo).rgb_HW3
        people = self._finder(with_identity=False).people(rgb_HW3)[:_MOST_PEOPLE]
        width, height = fit_size((rgb_HW3.shape[1], rgb_HW3.shape[0]), (SIDE, SIDE))
        labels_HW = np.zeros((height, width), np.uint8)
        places = []
        for position, person in enumerate(people, 1):
            small_HW = resize_labels(person.mask_HW.astype(np.uint8), (width, height)) > 0
            labels_HW[small_HW] = position
            places.append(_place_in(small_HW))
        self._boxes[number] = [box_of(person.mask_HW) for person in people]
        return {"labels": as_text(deflate_values(labels_HW)), "count": len(places), "places": places}

    def choose(self, number: int, person: int, *, is_subject: bool, expected: str) -> str:
        """Write the mask of the subject by what was said so far, and remember it in the scores file.

        Raises:
            ChangedError: the mask is not ``expected``.
            InputError: there is no such person.
            MaskError: nothing says who the subject is.
        """
        item = self._desk.item(number)
        answer = self._answer(number, person, is_subject=is_subject)
        with self._looking:
            finding = self._finder(with_identity=answer.subject is None).find(read_image(item.photo).rgb_HW3, answer)
        with self._desk.turn:
            self._desk.refuse_changed(item, expected)
            self._desk.keep_copy(item.mask)
            making = self._search.making.with_own(item.photo, {"answer": answer.to_json()} if answer else {})
            note = {**making.note_for(item.photo), **finding.remembered()}
            write_png_grey(item.mask, finding.mask_HW.astype(np.uint8) * np.uint8(_SUBJECT), note=note)
            self._answers[item.key] = answer
            references = [str(path) for path in self._search.references]
            record_answer(self._search.output, item.key, read_score(note), self._answers, making, references)
            return self._desk.written(number)

    def _answer(self, number: int, person: int, *, is_subject: bool) -> Answer:
        """Return what is said of a photo once ``person`` was clicked on."""
        if person == 0:
            return NO_ANSWER
        boxes = self._boxes.get(number, [])
        if not 1 <= person <= len(boxes):
            raise InputError(f"there is no person {person}")
        box = boxes[person - 1]
        before = self._answers.get(self._desk.item(number).key, NO_ANSWER)
        if is_subject:
            return Answer(box, tuple(other for other in before.strangers if other != box))
        subject = None if before.subject == box else before.subject
        return Answer(subject, tuple(dict.fromkeys((*before.strangers, box))))

    def _finder(self, *, with_identity: bool) -> SubjectFinder:
        search = self._search
        with self._turn:
            if with_identity and search.reader is not None and self._identity is None:
                thresholds = thresholds_of(search.options, search.reader)
                self._identity, _ = build_identity(search.reader, thresholds, search.references, search.negatives)
            identity = self._identity if with_identity else None
        return SubjectFinder(search.backend, identity, or_largest=search.options.on_missing == "largest")


def _place_in(mask_HW: NDArray[np.bool_]) -> Sequence[float]:
    """Return the pixel of a mask that is nearest to its centre, in shares of width and height."""
    rows, columns = np.nonzero(mask_HW)
    if not rows.size:
        return 0.5, 0.5
    nearest = int(np.hypot(rows - rows.mean(), columns - columns.mean()).argmin())
    height, width = mask_HW.shape
    return float((columns[nearest] + 0.5) / width), float((rows[nearest] + 0.5) / height)
