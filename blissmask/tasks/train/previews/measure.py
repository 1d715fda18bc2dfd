"""Measure how alike the faces of previews and the subjects are. It reads finished pictures; training never sees it.

``NAME-likeness.jsonl`` beside the LoRA has one line for each time that previews were drawn: every picture with every
face that was found, and their means. H, W: rows and columns; 3 = RGB.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blissmask.dataset.item_keys import VIDEO_SUFFIXES
from blissmask.errors import BlissmaskError, InputError, Problem
from blissmask.events import Advanced, Noted, PhaseFinished, PhaseStarted, Warned
from blissmask.media.image import read_image
from blissmask.media.video import read_frames, read_info
from blissmask.people.faces.face_reader import MIN_FACE_PIXELS, Face, FaceReader
from blissmask.people.subject_likeness import (
    ONLY,
    DrawnPicture,
    FaceLikeness,
    LikenessMeter,
    LikenessSummary,
    SubjectsSummary,
    summarise,
)
from blissmask.plurals import counted, verb
from blissmask.storage import atomic
from blissmask.storage.ordinary import read_text
from blissmask.tasks.run.plan import RunContext, places_of
from blissmask.tasks.train.previews.likeness_plan import DrawnPreview, LikenessPlan
from blissmask.training.record.metrics import Values

_CLIP_FRAMES = 3
"""Frames of a drawn clip that are measured, spread over it; the last ones have drifted farthest from the first."""


def open_meter(plan: LikenessPlan, context: RunContext) -> LikenessMeter | None:
    """Return the meter with the faces of the photos; None, with a warning, where no photo shows a subject alone.

    Args:
        plan: names the photos.
        context: its reporter shows the progress, and the photos that are passed over.
    """
    embeddings: dict[str, list[NDArray[np.float32]]] = {}
    passed_over: list[Path] = []
    context.reporter.emit(PhaseStarted("Reading faces", sum(len(subject.photos) for subject in plan.subjects)))
    for subject in plan.subjects:
        found = embeddings.setdefault(subject.name, [])
        for photo in subject.photos:
            faces = [face for face in _read_faces(plan.reader, photo) if face.sure]
            if len(faces) == 1 and faces[0].clear:
                found.append(faces[0].embedding_D)
            else:
                passed_over.append(photo)
            context.reporter.emit(Advanced(1, photo.name))
    context.reporter.emit(PhaseFinished("Reading faces"))
    # Of several subjects all are needed: the faces of one without photos would count as another's.
    is_measured = all(embeddings.values())
    if passed_over and not (plan.any_face and is_measured):
        what = f"{counted(len(passed_over), 'photo')} {verb(len(passed_over), 'does', 'do')} not show one clear face"
        result = "the others are" if is_measured else "the likeness of previews is not"
        without = [f"`{name}`" for name, found in embeddings.items() if not found and name != ONLY]
        if without:
            what += f", and {' and '.join(without)} {verb(len(without), 'has', 'have')} no other"
        fix = f"use photos of the subject alone, from the front, the face {MIN_FACE_PIXELS} pixels wide or more"
        context.reporter.emit(Warned(Problem(f"{what}; {result} measured", places_of(passed_over), fix)))
    if not is_measured:
        return None
    meter = LikenessMeter(plan.reader, embeddings, max_distance=plan.max_distance)
    for name, of_subject in embeddings.items():
        context.reporter.emit(Noted(_reference_note(meter, name, len(of_subject))))
    return meter


def _read_faces(reader: FaceReader, photo: Path) -> list[Face]:
    try:
        return reader.faces(read_image(photo).rgb_HW3)
    except BlissmaskError:
        return []


def _reference_note(meter: LikenessMeter, name: str, count: int) -> str:
    whose = "" if name == ONLY else f" to {name}"
    parts = [f"likeness{whose} is measured against {counted(count, 'face')}; from 0.5 on it is the same person"]
    if among := meter.among_references(name):
        parts.append(f"the photos have {min(among):.2f} to {max(among):.2f} among themselves")
    others = [other for other in meter.names if other != name]
    parts += [f"those of {other} have {meter.between_references(name, other):.2f}" for other in others]
    return "; ".join(parts)


def measure_picture(meter: LikenessMeter, path: Path) -> list[tuple[FaceLikeness, ...]]:
    """Return the faces of a picture, or of some frames of a clip.

    Raises:
        MediaError: it cannot be read.
    """
    return [meter.measure(rgb_HW3) for rgb_HW3 in _frames(path)]


def _frames(path: Path) -> Iterator[NDArray[np.uint8]]:
    if path.suffix not in VIDEO_SUFFIXES:
        yield read_image(path).rgb_HW3
        return
    count = read_info(path, count=True).frame_count
    wanted = sorted({round(at) for at in np.linspace(0, count - 1, _CLIP_FRAMES)})
    yield from read_frames(path, wanted)


class LikenessLog:
    """Measures the previews of a run each time they are drawn, and keeps the results.

    Args:
        meter: compares faces.
        path: ``NAME-likeness.jsonl``.
        keep_until: last step of the lines to keep; a run that starts anew keeps none.
        record: takes a step and its means, for logs and trackers.
        context: its reporter shows the means.
    """

    def __init__(
        self,
        meter: LikenessMeter,
        path: Path,
        *,
        keep_until: int,
        record: Callable[[int, Values], None],
        context: RunContext,
    ) -> None:
        self._meter, self._path, self._record, self._context = meter, path, record, context
        self._lines = [line for line in read_likeness(path) if int(line["step"]) <= keep_until] if keep_until else []
        self._warned = False
        if path.exists():
            self._write()

    def measure(self, drawn: Sequence[DrawnPreview], step: int) -> None:
        """Measure the pictures of a step, unless an earlier part of the run did. An error is a warning, no more."""
        if any(line["step"] == step for line in self._lines):
            return
        try:
            line, summary = measure_drawn(self._meter, drawn, folder=self._path.parent)
            self._lines.append({"step": step, **line})
            self._write()
        except BlissmaskError as error:
            problem = error.as_one()
            what = f"the likeness of previews could not be measured: {problem.what}"
            self._context.reporter.emit(Warned(Problem(what, problem.where, problem.fix)))
            return
        self._context.reporter.emit(Noted(f"likeness after step {step}: {described(summary)}"))
        self._warn_of_small_faces(summary.whole)
        if summary.values():
            self._record(step, summary.values())

    def _write(self) -> None:
        atomic.write_text(self._path, "".join(f"{json.dumps(line)}\n" for line in self._lines))

    def _warn_of_small_faces(self, summary: LikenessSummary) -> None:
        if self._warned or summary.unclear * 2 <= summary.faces:
            return
        self._warned = True
        are = verb(summary.unclear, "is", "are")
        what = (
            f"{summary.unclear} of {counted(summary.faces, 'face')} in previews {are} too small or turned to be judged"
        )
        fix = f"draw larger pictures or closer portraits: faces need {MIN_FACE_PIXELS} pixels"
        self._context.reporter.emit(Warned(Problem(what, fix=fix)))


def measure_drawn(
    meter: LikenessMeter, drawn: Sequence[DrawnPreview], *, folder: Path
) -> tuple[dict[str, object], SubjectsSummary]:
    """Return what the log keeps of some pictures, JSON values, and their means.

    Args:
        meter: compares faces.
        drawn: the pictures; those that are not there are left out.
        folder: that the log names them from.

    Raises:
        MediaError: a picture cannot be read.
    """
    pictures, lines = [], []
    for preview in drawn:
        if not preview.path.is_file():
            continue
        found = measure_picture(meter, preview.path)
        pictures += [DrawnPicture(faces, preview.asked) for faces in found]
        lines.append(
            {
                "file": preview.path.relative_to(folder).as_posix(),
                "prompt": preview.prompt,
                "asked": list(preview.asked),
                "frames": [[_face_line(face) for face in faces] for faces in found],
            }
        )
    summary = summarise(pictures, meter.names)
    return {"pictures": lines, "summary": summary.to_json()}, summary


def _face_line(face: FaceLikeness) -> dict[str, object]:
    """Return a face as JSON values; a thousandth is far below what two photos of one person differ by."""
    return {
        "box_xyxy": [round(edge, 1) for edge in face.box_xyxy],
        "likeness": {name: round(value, 3) for name, value in face.likeness.items()},
        "distance": {name: round(value, 3) for name, value in face.distance.items()},
        "width": round(face.width, 3),
        "clear": face.clear,
    }


def described(summary: SubjectsSummary) -> str:
    """Return the means of some pictures in words, e.g. ``0.62, a face in 4 of 4 pictures; other people 0.21``."""
    if len(summary.subjects) == 1:
        return _described_of_one(summary.whole)
    parts = [f"{name} {_described_of_one(of_one)}" for name, of_one in summary.subjects.items()]
    parts += [f"{one} in the faces of {other} {value:.2f}" for (one, other), value in summary.between.items()]
    return "; ".join(parts)


def _described_of_one(summary: LikenessSummary) -> str:
    parts = []
    if summary.subject is not None and not summary.faces:
        # A picture without a face counts 0 in the mean, which here would say nothing of the subject.
        parts.append(f"no face in {counted(summary.pictures, 'picture')}")
    elif summary.subject is not None:
        parts.append(f"{summary.subject:.2f}, a face in {summary.faces} of {counted(summary.pictures, 'picture')}")
    if summary.others is not None:
        parts.append(f"other people {summary.others:.2f}")
    return "; ".join(parts) or "no face in any picture"


def read_likeness(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a likeness log, in order; empty where there is none.

    Raises:
        InputError: a line is not ours.
    """
    if not path.is_file():
        return []
    lines = []
    # Bytes that are no text are kept as they are: the line that holds them is named.
    for text in read_text(path, errors="surrogateescape").splitlines():
        try:
            line = json.loads(text)
            lines.append({**line, "step": int(line["step"])})
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            what = f"the likeness log holds a line that is not ours: {text[:60]}"
            raise InputError(what, where=[path], fix="move the log away, then run again") from error
    return lines
