"""The items of a data set: pictures and videos with their captions, masks and controls."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from blissmask.dataset.item_keys import split_name, stem_key, zoom_stem
from blissmask.storage.short_path import ShortPath, full


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
        folder: text of the folder that holds it; it is written here and not in a :class:`ShortPath` of its own, since
            plans hold millions.
        name: name of the file, or of the folder of a video's frames.
        kind: picture or video.
        has_suffix: whether a dot in its name begins a suffix; it does not in the name of a folder.
        zoom: what is cut out of the photo, ``subject`` or ``face``; empty for the photo or video itself.
    """

    folder: str
    name: str
    kind: MediaKind
    has_suffix: bool = True
    zoom: str = ""

    @classmethod
    def of(cls, path: Path, kind: MediaKind, *, has_suffix: bool = True) -> MediaFile:
        """Return the picture or video at ``path``."""
        file = ShortPath.of(path)
        return cls(file.folder, file.name, kind, has_suffix)

    @property
    def file(self) -> ShortPath:
        """Return the path in short, which tells zooms of one photo not apart."""
        return ShortPath(self.folder, self.name)

    @property
    def path(self) -> Path:
        """Return the file, or the folder of a video's frames."""
        return self.file.path

    @property
    def stem(self) -> str:
        """Return what the names of the cache files start with: the file's stem, of a zoom with its kind."""
        return zoom_stem(self.file_stem, self.zoom) if self.zoom else self.file_stem

    @property
    def file_stem(self) -> str:
        """Return the file's name without suffix, as written."""
        return split_name(self.name)[0] if self.has_suffix else self.name

    @property
    def key(self) -> str:
        """Return what matches masks, captions and cache entries to the file; see ``item_keys.item_key``."""
        return stem_key(self.stem)


@dataclass(frozen=True, slots=True)
class CaptionFolder:
    """Where the caption files of a data set lie: ``STEM`` and ``extension`` in ``folder``."""

    folder: Path
    extension: str

    def file_of(self, stem: str) -> Path:
        """Return the caption file of the photo or video with this stem."""
        return self.folder / f"{stem}{self.extension}"


@dataclass(frozen=True, slots=True)
class DatasetItem:
    """One picture or video to learn from, with the files that belong to it.

    Attributes:
        media: the photo or video; a video may be a folder of frames.
        captions: where its caption file lies, which may be missing on disk; None when ``caption`` holds the text.
        caption: the text where a JSONL line or the data set gives it; None when a file holds it.
        has_default_caption: whether ``caption`` is the one that the data set gives to all items without a file.
        mask: a picture, a video, or a folder of frames; None when there is none.
        subject_masks: where the data set shows several subjects, the mask of each in their order, instead of ``mask``;
            empty where none of them has one.
        controls: its control pictures in their order, or its control video.
    """

    media: MediaFile
    captions: CaptionFolder | None = None
    caption: str | None = None
    has_default_caption: bool = False
    mask: ShortPath | None = None
    controls: tuple[ShortPath, ...] = ()
    subject_masks: tuple[ShortPath | None, ...] = ()

    @property
    def zoom(self) -> str:
        """Return what the item is cut around, ``subject`` or ``face``; empty for the photo or video itself."""
        return self.media.zoom

    @property
    def name(self) -> str:
        """Return what the item is called in plans and messages."""
        return f"{self.media.path} zoom {self.zoom}" if self.zoom else str(self.media.path)

    @property
    def caption_path(self) -> Path | None:
        """Return the caption file; None when ``caption`` holds the text."""
        return None if self.captions is None else self.captions.file_of(self.media.file_stem)

    @property
    def mask_path(self) -> Path | None:
        """Return the one mask; None when there is none, or each of several subjects has its own."""
        return full(self.mask)

    @property
    def mask_paths(self) -> tuple[Path, ...]:
        """Return all masks: one, those of the subjects that have one, or none."""
        return tuple(mask.path for mask in (self.mask, *self.subject_masks) if mask is not None)

    @property
    def control_paths(self) -> tuple[Path, ...]:
        """Return the control pictures in their order, or the control video."""
        return tuple(control.path for control in self.controls)

    @property
    def pixel_paths(self) -> tuple[Path, ...]:
        """Return the files whose colours decide the item's latents: the media file and its controls."""
        return (self.media.path, *self.control_paths)
