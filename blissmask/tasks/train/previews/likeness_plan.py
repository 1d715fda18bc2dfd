"""Plan whose faces the previews of a training are compared with, and on which photos these are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from blissmask.config.model import Config
from blissmask.config.sections.mask_sections import SubjectSection
from blissmask.dataset.captions.caption_words import holds_trigger
from blissmask.dataset.discover import list_files
from blissmask.dataset.item_keys import IMAGE_SUFFIXES
from blissmask.errors import BlissmaskError, Problem, UsageError
from blissmask.people.faces.face_reader import IDENTITIES, FaceReader
from blissmask.people.subject_likeness import ONLY
from blissmask.tasks.instance.references import photos_of, thresholds_of
from blissmask.tasks.mask_files.licences import Weights, refuse_non_commercial
from blissmask.tasks.train.previews.complete_prompt import PlannedPreview

_MOST_PHOTOS = 24
"""Photos of a data set that are looked at for faces, spread over its names; a face takes a quarter of a second, and the
median of two dozen moves little with more."""


@dataclass(frozen=True, slots=True)
class DrawnPreview:
    """A preview that was drawn.

    Attributes:
        path: of the picture or clip.
        prompt: that it was drawn from.
        asked: names of the subjects that the prompt asks for.
    """

    path: Path
    prompt: str
    asked: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KnownSubject:
    """Somebody whom faces are compared with.

    Attributes:
        name: of one of several subjects; :data:`ONLY` for one alone.
        photos: of the subject.
        trigger: prompts without this text do not ask for the subject; None where every prompt does.
    """

    name: str
    photos: tuple[Path, ...]
    trigger: str | None

    def is_asked_for(self, preview: PlannedPreview) -> bool:
        """Return whether a prompt asks for the subject."""
        return self.trigger is None or holds_trigger(preview.prompt, self.trigger)


@dataclass(frozen=True, slots=True)
class LikenessPlan:
    """What previews are compared with.

    Attributes:
        reader: finds and embeds faces; its networks are loaded at the first photo.
        max_distance: of two faces of one person.
        subjects: whom they are compared with, at least one.
        any_face: whether the photos are those of a data set, of which many may show no face, or several.
    """

    reader: FaceReader
    max_distance: float
    subjects: tuple[KnownSubject, ...]
    any_face: bool

    def drawn(self, previews: Sequence[PlannedPreview], paths: Sequence[Path]) -> list[DrawnPreview]:
        """Return what is to be measured: previews, and the files they are in."""
        return [
            DrawnPreview(path, preview.prompt, self._asked_in(preview))
            for preview, path in zip(previews, paths, strict=True)
        ]

    def _asked_in(self, preview: PlannedPreview) -> tuple[str, ...]:
        return tuple(subject.name for subject in self.subjects if subject.is_asked_for(preview))


def plan_likeness(config: Config) -> tuple[LikenessPlan | None, list[Problem]]:
    """Return what previews are compared with, and warnings; None where they are not.

    Raises:
        UsageError: a `likeness_reference` does not exist, options exclude each other, or the licence of the weights
            forbids the use.
        InputError: a folder of photos cannot be read, or holds none.
    """
    section, instance = config.previews, config.instance
    if section.likeness != "auto" and section.likeness_reference:
        raise UsageError(
            f"`likeness = {section.likeness}` uses no reference, and `likeness_reference` names one",
            fix="leave one of the two out",
        )
    if section.likeness == "off":
        return None, []
    from_sets = section.likeness == "photos"
    subjects, warnings = _known_subjects(config, from_sets=from_sets)
    if not subjects:
        return None, warnings
    reader: FaceReader = IDENTITIES.load(instance.identity).face_reader(instance)
    weights = Weights("--identity", instance.identity, reader.identity, reader.licence)
    refuse_non_commercial([weights], commercial_only=instance.commercial_only)
    likeness = LikenessPlan(
        reader=reader,
        max_distance=thresholds_of(instance, reader).max_distance,
        subjects=subjects,
        any_face=from_sets,
    )
    return likeness, warnings


def _known_subjects(config: Config, *, from_sets: bool) -> tuple[tuple[KnownSubject, ...], list[Problem]]:
    """Return whom previews are compared with, and warnings; nobody without photos.

    Photos that are named win over [[subjects]].

    Raises:
        UsageError: a `likeness_reference` does not exist, the photos of data sets are of several subjects, or a trigger
            is given beside those of the subjects.
        InputError: a folder of photos cannot be read, or holds none.
    """
    section = config.previews
    if config.subjects and from_sets:
        raise UsageError(
            "`likeness = photos` cannot tell whose face is in a photo, and there are [[subjects]]",
            fix="leave `likeness` out: faces are compared with the references of [[subjects]]",
        )
    if config.subjects and not section.likeness_reference:
        if section.likeness_trigger:
            raise UsageError(
                "`likeness_trigger` is of one subject, and each of [[subjects]] has its own `trigger`",
                fix="leave `likeness_trigger` out",
            )
        return _of_sections(config.subjects)
    trigger = section.likeness_trigger or next((data.trigger for data in config.datasets if data.trigger), None)
    if from_sets or section.likeness_reference:
        photos = _photos_of_sets(config) if from_sets else photos_of(section.likeness_reference, "--likeness-reference")
        return (KnownSubject(ONLY, tuple(photos), trigger),), []
    if not config.instance.reference:
        return (), []
    try:
        photos = photos_of(config.instance.reference, "reference")
    except BlissmaskError as error:
        return (), [_unmeasured(error, whose="", of="`reference` of [instance]")]
    return (KnownSubject(ONLY, tuple(photos), trigger),), []


def _of_sections(sections: Sequence[SubjectSection]) -> tuple[tuple[KnownSubject, ...], list[Problem]]:
    """Return the subjects of [[subjects]]; nobody, and warnings, where photos of one are missing or unreadable.

    Of several subjects all are needed: the faces of one without photos would count as another's.
    """
    known, warnings = [], []
    for section in sections:
        try:
            photos = photos_of(section.references, "references")
        except BlissmaskError as error:
            of = f"`references` of `{section.name}` in [[subjects]]"
            warnings.append(_unmeasured(error, whose=f"subject `{section.name}`: ", of=of))
        else:
            known.append(KnownSubject(section.name, tuple(photos), section.trigger))
    return (() if warnings else tuple(known)), warnings


def _unmeasured(error: BlissmaskError, *, whose: str, of: str) -> Problem:
    """Return the warning that likeness is not measured.

    The photos are for masks, and may be on another machine. Nobody asked for a likeness, so the training goes on.
    """
    problem = error.as_one()
    what = f"the likeness of previews is not measured: {whose}{problem.what}"
    return Problem(what, problem.where, f"correct {of}, or set `likeness = off`")


def _photos_of_sets(config: Config) -> list[Path]:
    folders = [dataset.image_directory for dataset in config.datasets if dataset.image_directory is not None]
    photos = [path for folder in folders for path in list_files(folder, IMAGE_SUFFIXES)]
    if not photos:
        raise UsageError(
            "`likeness = photos` compares with the photos of the data sets, and there are none",
            where=list(folders),
            fix="set `image_directory` of a data set, or name photos of the subject with `--likeness-reference`",
        )
    every = math.ceil(len(photos) / _MOST_PHOTOS)
    return photos[::every]
