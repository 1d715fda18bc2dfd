"""The items of a data set: pictures and videos with their captions, masks and controls."""

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
    """A picture or video.

    Attributes:
        key: matches masks, captions and cache entries to the file; see ``item_keys.item_key``.
        stem: the file's name without suffix, as written; the names of its cache files start with it.
        path: the file, or the folder of a video's frames.
        kind: picture or video.
    """

    key: str
    stem: str
    path: Path
    kind: MediaKind


@dataclass(frozen=True, slots=True)
class DatasetItem:
    """One picture or video to learn from, with the files that belong to it.

    Attributes:
        media: the photo or video; a video may be a folder of frames.
        caption_path: its caption file, which may be missing on disk; None when ``caption`` holds the text.
        caption: the text where a JSONL line or the data set gives it; None when a file holds it.
        has_default_caption: whether ``caption`` is the one that the data set gives to all items without a file.
        mask_path: its mask: a picture, a video, or a folder of frames; None when there is none.
        control_paths: its control pictures in their order, or its control video.
        zoom: what the item is cut around, ``subject`` or ``face``; empty for the photo or video itself.
    """

    media: MediaFile
    caption_path: Path | None = None
    caption: str | None = None
    has_default_caption: bool = False
    mask_path: Path | None = None
    control_paths: tuple[Path, ...] = ()
    zoom: str = ""

    @property
    def name(self) -> str:
        """Return what the item is called in plans and messages."""
        return f"{self.media.path} zoom {self.zoom}" if self.zoom else str(self.media.path)

    @property
    def pixel_paths(self) -> tuple[Path, ...]:
        """Return the files whose colours decide the item's latents: the media file and its controls."""
        return (self.media.path, *self.control_paths)
