"""One thing to learn from: a picture or a clip, with its caption and its mask."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class MediaKind(StrEnum):
    """What an item is made of."""

    IMAGE = "image"
    VIDEO = "video"


class MaskSource(StrEnum):
    """Where an item's mask weights come from."""

    ALPHA = "alpha"
    FILE = "file"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class MediaFile:
    """A picture or video found in a folder.

    Attributes:
        key: what masks, captions and cache entries are matched by; see ``names.item_key``.
        stem: the file's name without suffix, as written; cache file names start with it.
        path: the file.
        kind: picture or video.
    """

    key: str
    stem: str
    path: Path
    kind: MediaKind
