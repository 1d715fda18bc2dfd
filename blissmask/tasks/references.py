"""Reference photos and negatives of `instance`: which files they are, and the identity made from them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from blissmask.config.masks import InstanceSection
from blissmask.dataset.discover import list_files
from blissmask.dataset.names import IMAGE_SUFFIXES
from blissmask.errors import Problem, UsageError
from blissmask.licence import Licence
from blissmask.media.image import read_image
from blissmask.people.identity import MIN_FACE_PIXELS, EmbeddedIdentity, Reference, ReferenceFace, Thresholds, read_references
from blissmask.people.protocol import FaceIdentity
from blissmask.storage.content import content_hash
from blissmask.tasks.plan import name_some
from blissmask.tasks.wording import counted

Embedding: TypeAlias = NDArray[np.float32]

IDENTITIES = ("embedded", "insightface")


@dataclass(frozen=True, slots=True)
class Recogniser:
    """One way to recognise faces.

    Attributes:
        identity: names the networks and their version, for fingerprints.
        licence: what their weights may be used for.
        thresholds: how alike is alike enough.
        read: embeds the one face of each reference photo.
        make: builds the identity from embeddings of the subject and of people who are not the subject.
    """

    identity: str
    licence: Licence
    thresholds: Thresholds
    read: Callable[[list[Reference]], list[ReferenceFace]]
    make: Callable[[Sequence[Embedding], Sequence[Embedding]], FaceIdentity]


def recogniser(options: InstanceSection) -> Recogniser:
    """Return the recogniser that ``identity`` names.

    Raises:
        UsageError: there is no such recogniser.
        MissingPackageError, ModelError: its package or its networks are missing.
    """
    if options.identity == "embedded":
        return Recogniser(EmbeddedIdentity.identity, EmbeddedIdentity.licence, Thresholds(), read_references, EmbeddedIdentity)
    if options.identity != "insightface":
        raise UsageError(f"unknown identity `{options.identity}`; there are {', '.join(IDENTITIES)}")
    from blissmask.people import insightface

    reader = insightface.face_reader(options)
    return Recogniser(
        reader.identity,
        insightface.LICENCE,
        insightface.THRESHOLDS,
        functools.partial(insightface.read_references, reader),
        functools.partial(insightface.InsightFaceIdentity, reader),
    )


def photos_of(paths: Sequence[Path], option: str) -> list[Path]:
    """Return the photos among ``paths``: files as they are, folders as the pictures in them.

    Args:
        paths: files and folders.
        option: the flag they were given with, for messages.

    Raises:
        UsageError: a path does not exist, or a folder holds no pictures; names all of them.
    """
    photos: list[Path] = []
    problems = []
    for path in paths:
        found = list_files(path, IMAGE_SUFFIXES) if path.is_dir() else [path] if path.is_file() else []
        if not found:
            what = "the folder holds no pictures" if path.is_dir() else "no such file or folder"
            problems.append(Problem(f"`{option}`: {what}", (str(path),)))
        photos += found
    if problems:
        raise UsageError.several(problems)
    return photos


def settings_of(
    options: InstanceSection, known: Recogniser | None, references: Sequence[Path], negatives: Sequence[Path]
) -> dict[str, object]:
    """Return what identity contributes to the fingerprint of a subject mask; the order and names of the photos do not count.

    Args:
        options: how missing subjects are treated.
        known: the recogniser; None without references.
        references, negatives: the photos.
    """
    return {
        "identity": known.identity if known else "none",
        "references": sorted({content_hash(path) for path in references}),
        "negatives": sorted({content_hash(path) for path in negatives}),
        "thresholds": dataclasses.asdict(known.thresholds) if known else {},
        "on_missing": options.on_missing,
    }


def build_identity(known: Recogniser, references: Sequence[Path], negatives: Sequence[Path]) -> tuple[FaceIdentity, list[Problem]]:
    """Embed the references and everybody in the negatives.

    Returns:
        The identity, and warnings about references and negatives that are poor.

    Raises:
        MaskError: a reference does not show exactly one clear face; names all of them.
        MediaError: a photo cannot be read.
    """
    faces = known.read([Reference(str(path), read_image(path).rgb_HW3) for path in references])
    embeddings = [face.embedding_D for face in faces]
    subject = known.make(embeddings, [])
    others = [embedding for path in negatives for _, embedding in subject.embed(read_image(path).rgb_HW3)]
    small = [face.name for face in faces if face.width_pixels < MIN_FACE_PIXELS]
    warnings = []
    if small:
        what = f"{counted(len(small), 'reference')} with a face under {MIN_FACE_PIXELS} pixels wide"
        warnings.append(Problem(what, name_some(small), "small faces say little; use larger photos"))
    if negatives and not others:
        warnings.append(Problem("no face was found in the negatives", name_some(negatives), "they have no effect"))
    return known.make(embeddings, others), warnings
