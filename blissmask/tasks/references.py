"""Reference photos and negatives of `instance`: which files they are, and the identity made from them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from blissmask.config.masks import InstanceSection
from blissmask.dataset.discover import list_files
from blissmask.dataset.names import IMAGE_SUFFIXES
from blissmask.errors import Problem, UsageError
from blissmask.media.image import read_image
from blissmask.people.identity import MIN_FACE_PIXELS, EmbeddedIdentity, Reference, Thresholds, read_references
from blissmask.people.protocol import FaceIdentity
from blissmask.tasks.freshness import content_hash
from blissmask.tasks.plan import name_some
from blissmask.tasks.wording import counted

IDENTITIES = ("embedded",)


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


def settings_of(options: InstanceSection, references: Sequence[Path], negatives: Sequence[Path]) -> dict[str, object]:
    """Return what identity contributes to the fingerprint of a subject mask; the order and names of the photos do not count."""
    thresholds = Thresholds()
    return {
        "identity": EmbeddedIdentity.identity if references else "none",
        "references": sorted({content_hash(path) for path in references}),
        "negatives": sorted({content_hash(path) for path in negatives}),
        "max_distance": thresholds.max_distance,
        "uncertain_band": thresholds.uncertain_band,
        "min_margin": thresholds.min_margin,
        "on_missing": options.on_missing,
    }


def refuse_unknown_identity(options: InstanceSection) -> None:
    """Raise UsageError when the identity network is not one there is."""
    if options.identity not in IDENTITIES:
        raise UsageError(f"unknown identity `{options.identity}`; there are {', '.join(IDENTITIES)}")


def build_identity(references: Sequence[Path], negatives: Sequence[Path]) -> tuple[FaceIdentity | None, list[Problem]]:
    """Embed the references and everybody in the negatives.

    Returns:
        The identity, None without references, and warnings about references that are poor.

    Raises:
        MaskError: a reference does not show exactly one clear face, names all of them.
        MediaError: a photo cannot be read.
    """
    if not references:
        return None, []
    faces = read_references([Reference(str(path), read_image(path).rgb_HW3) for path in references])
    embeddings = [face.embedding_D for face in faces]
    subject = EmbeddedIdentity(embeddings)
    others = [embedding for path in negatives for _, embedding in subject.embed(read_image(path).rgb_HW3)]
    small = [face.name for face in faces if face.width_pixels < MIN_FACE_PIXELS]
    warnings = []
    if small:
        what = f"{counted(len(small), 'reference')} with a face under {MIN_FACE_PIXELS} pixels wide"
        warnings.append(Problem(what, name_some(small), "small faces say little; use larger photos"))
    if negatives and not others:
        warnings.append(Problem("no face was found in the negatives", name_some(negatives), "they have no effect"))
    return EmbeddedIdentity(embeddings, others), warnings
