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
        key: what masks, captions and cache entries are matched by; see ``item_keys.item_key``.
        stem: the file's name without suffix, as written; cache file names start with it.
        path: the file.
        kind: picture or video.
    """

    key: str
    stem: str
    path: Path
    kind: MediaKind


@dataclass(frozen=True, slots=True)
class DatasetItem:
    """One thing to learn from.

    Attributes:
        media: the photo or video; a video may be a folder of frames.
        caption_path: its caption file; None when ``caption`` holds the text or there is no file.
        caption: the text where a JSONL line gives it; None when it stands in a file.
        mask_path: its mask in the mask folder: a picture, a video, or a folder of frames; None when there is none.
        control_paths: its control pictures in their order, or its control video.
    """

    media: MediaFile
    caption_path: Path | None = None
    caption: str | None = None
    mask_path: Path | None = None
    control_paths: tuple[Path, ...] = ()

    @property
    def pixel_paths(self) -> tuple[Path, ...]:
        """Return every file whose colours the item's latents depend on."""
        return (self.media.path, *self.control_paths)
