"""A remark about an item: its kind holds the sentence and the advice, which are the same for all items."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from blissmask.errors import Problem
from blissmask.plurals import counted


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of remark.

    Attributes:
        noun: what it is about, in the singular: ``photo``, ``mask``, ``caption``.
        what: the rest of a sentence that begins with their number: ``enlarged more than twice``.
        fix: how to mend it.
    """

    noun: str
    what: str
    fix: str


@dataclass(frozen=True, slots=True)
class Remark:
    """What is odd about one item.

    Attributes:
        kind: of the remark.
        media: the photo or video.
        place: the file at fault, with what is odd about it in particular.
        short: a few words for the contact sheet.
    """

    kind: Kind
    media: Path
    place: str
    short: str


def as_problems(remarks: Iterable[Remark]) -> list[Problem]:
    """Return one problem for each kind, which names all its places once."""
    places: dict[Kind, dict[str, None]] = {}
    for remark in remarks:
        places.setdefault(remark.kind, {})[remark.place] = None
    return [
        Problem(f"{counted(len(found), kind.noun)} {kind.what}", tuple(found), kind.fix)
        for kind, found in places.items()
    ]


def shorts_by_media(remarks: Iterable[Remark]) -> dict[Path, tuple[str, ...]]:
    """Return the short texts about each photo or video, in order and each once."""
    shorts: dict[Path, dict[str, None]] = {}
    for remark in remarks:
        shorts.setdefault(remark.media, {})[remark.short] = None
    return {media: tuple(texts) for media, texts in shorts.items()}
