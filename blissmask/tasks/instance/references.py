"""Reference photos and negatives of `instance`: which files they are, and the identity made from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

from blissmask.config.sections.mask_sections import InstanceSection
from blissmask.dataset.discover import list_files
from blissmask.dataset.item_keys import IMAGE_SUFFIXES
from blissmask.errors import Hint, InputError, MediaError, Problem, UsageError
from blissmask.media.image import read_image, read_size
from blissmask.people.face_identity import FaceIdentity, Reference, read_references
from blissmask.people.faces.face_reader import MIN_FACE_PIXELS, FaceReader, Thresholds
from blissmask.people.people_backend import Verdict
from blissmask.plurals import counted
from blissmask.storage.content import content_hash
from blissmask.storage.ordinary import why_no_file
from blissmask.tasks.run.plan import Table, places_of


def thresholds_of(options: InstanceSection, reader: FaceReader) -> Thresholds:
    """Return how alike two faces of one person must be: the identity's own thresholds, but for what the user set."""
    own = reader.thresholds
    return dataclasses.replace(
        own,
        max_distance=own.max_distance if options.face_distance is None else options.face_distance,
        min_margin=own.min_margin if options.face_margin is None else options.face_margin,
    )


def threshold_table(name: str, thresholds: Thresholds) -> Table:
    """Return which verdict a face gets at which distance, for ``--explain``."""
    nearest, farthest = thresholds.max_distance, thresholds.max_distance + thresholds.uncertain_band
    rows = (
        (
            f"up to {nearest:.2f}; small or turned faces up to {nearest - thresholds.unclear_tighter:.2f}",
            Verdict.FOUND.value,
        ),
        (f"up to {farthest:.2f}, with the runner-up {thresholds.min_margin:.2f} farther away", Verdict.UNCERTAIN.value),
        (f"above {farthest:.2f}", Verdict.ABSENT.value),
    )
    return Table(f"Faces by `{name}`", ("Distance to the nearest reference", "Verdict"), rows)


def photos_of(paths: Sequence[Path], option: str) -> list[Path]:
    """Return the photos among ``paths``: files as they are, folders as the pictures in them.

    Args:
        paths: files and folders.
        option: the flag they were given with, for messages.

    Raises:
        UsageError: a path does not lead to photos that can be read; names all of them.
    """
    photos: list[Path] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            found = _photos_at(path)
        except InputError as error:
            problems += error.problems
        else:
            photos += found
            # Of the headers alone: the backends take minutes to load before the photos are decoded.
            problems += [problem for photo in found for problem in _unreadable(photo)]
    if problems:
        raise UsageError.several(_of_option(problems, option))
    return photos


def _of_option(problems: Iterable[Problem], option: str) -> list[Problem]:
    """Return problems as those of an option; several paths that have the same fault are one of them."""
    general = f"name photos, or a folder of them; paths start at {Path.cwd()}"
    places: dict[tuple[str, str | Hint], list[str]] = {}
    for problem in problems:
        places.setdefault((f"`{option}`: {problem.what}", problem.fix or general), []).extend(problem.where)
    return [Problem(what, tuple(where), fix) for (what, fix), where in places.items()]


def _photos_at(path: Path) -> list[Path]:
    """Return a photo, or the photos in a folder.

    Raises:
        InputError: there is nothing at the path, or something else, or no picture in the folder.
    """
    if path.is_dir():
        found = list_files(path, IMAGE_SUFFIXES)
        if not found:
            raise InputError("the folder holds no pictures", where=[path])
        return found
    why = why_no_file(path, "photo or folder")
    if why:
        raise InputError(why, where=[path])
    return [path]


def _unreadable(photo: Path) -> Sequence[Problem]:
    """Return what is wrong with the header of a photo."""
    try:
        read_size(photo)
    except MediaError as error:
        return error.problems
    return ()


def settings_of(
    options: InstanceSection, reader: FaceReader | None, references: Sequence[Path], negatives: Sequence[Path]
) -> dict[str, object]:
    """Return what identity contributes to the fingerprint of a subject mask.

    The order and the names of the photos do not count.

    Args:
        options: thresholds, and how missing subjects are treated.
        reader: finds and embeds faces; None without references.
        references, negatives: the photos.
    """
    return {
        "identity": reader.identity if reader else "none",
        "references": sorted({content_hash(path) for path in references}),
        "negatives": sorted({content_hash(path) for path in negatives}),
        "thresholds": dataclasses.asdict(thresholds_of(options, reader)) if reader else {},
        "on_missing": options.on_missing,
    }


def build_identity(
    reader: FaceReader, thresholds: Thresholds, references: Sequence[Path], negatives: Sequence[Path]
) -> tuple[FaceIdentity, list[Problem]]:
    """Embed the references and everybody in the negatives.

    Returns:
        The identity, and warnings about references and negatives that are poor.

    Raises:
        MaskError: a reference does not show exactly one clear face; names all of them.
        MediaError: a photo cannot be read.
    """
    faces = read_references(reader, [Reference(str(path), read_image(path).rgb_HW3) for path in references])
    others = [face.embedding_D for path in negatives for face in reader.faces(read_image(path).rgb_HW3)]
    small = [path for path, face in zip(references, faces, strict=True) if face.width_pixels < MIN_FACE_PIXELS]
    warnings = []
    if small:
        what = f"{counted(len(small), 'reference')} with a face under {MIN_FACE_PIXELS} pixels wide"
        warnings.append(Problem(what, places_of(small), "small faces say little; use larger photos"))
    if negatives and not others:
        warnings.append(Problem("no face was found in the negatives", places_of(negatives), "they have no effect"))
    return FaceIdentity(reader, [face.embedding_D for face in faces], others, thresholds=thresholds), warnings
