"""The cache entries of a plan: for each file its item, frames, size and mask, and what the run does to it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from blissmask.cachefile.file_names import WRITTEN, LatentName, TextKind, Window, as_unicode, latent_name, text_name
from blissmask.cachefile.metadata import (
    CROP,
    EMPTY_MASK,
    FILLED,
    GEOMETRY,
    KEEP_TOKENS,
    ORDER_OF,
    SUBJECT,
    SUBJECTS,
    ZOOM,
    subjects_text,
    tiers_text,
)
from blissmask.cachefile.redo import Redo, Wanted
from blissmask.dataset.clip_ranges import FrameRange, frames_at_rate
from blissmask.dataset.crop import has_choice
from blissmask.dataset.geometry import Geometry
from blissmask.dataset.item import DatasetItem, MaskSource, MediaKind
from blissmask.families.protocol import LatentSpec
from blissmask.storage.seen import Seen, States
from blissmask.storage.short_path import full
from blissmask.tasks.cache.cached_dataset import TEXT_DTYPE, CachedDataset
from blissmask.tasks.cache.photo_look import Look
from blissmask.tasks.cache.shown_subject import ShownSubject

# All clips of a video ask for the same list.
_kept_frames = lru_cache(maxsize=16)(frames_at_rate)
_FACTS = re.compile(
    r"([1-9]\d{0,5})x([1-9]\d{0,5})( alpha)? ([1-9]\d{0,8}) frames"
    r"(?: at (\d+(?:\.\d+)?) fps(, uneven)?)?(?: in (\S.*))?"
)
"""What ``str(Facts)`` writes. Numbers of more digits are of no file: 999,999 pixels a side, 11 months at 30 fps."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a photo or video is. The cache remembers it as text, so that unchanged files are not opened.

    Attributes:
        size_wh: upright size.
        has_alpha: whether a picture has an alpha channel.
        frame_count: frames of a video, counted; 1 for pictures.
        fps: frames per second of a video file, 0 where it does not say; None for pictures and folders of frames.
        profile: name of the colour profile from which a picture is converted to sRGB; empty when it need not.
        is_uneven: whether the frames of a video come so unevenly that their numbers do not say when.
        times: when each frame of an uneven video is shown, seconds from the first one; empty where nobody needs it.
    """

    size_wh: tuple[int, int]
    has_alpha: bool = False
    frame_count: int = 1
    fps: float | None = None
    profile: str = ""
    is_uneven: bool = False
    times: tuple[float, ...] = field(default=(), compare=False, repr=False)

    def __str__(self) -> str:
        """Return ``3000x2000 alpha 1 frames in Display P3`` or ``1920x1080 121 frames at 23.976 fps``."""
        alpha = " alpha" if self.has_alpha else ""
        rate = "" if self.fps is None else f" at {rate_text(self.fps)} fps{', uneven' if self.is_uneven else ''}"
        profile = f" in {self.profile}" if self.profile else ""
        return f"{self.size_wh[0]}x{self.size_wh[1]}{alpha} {self.frame_count} frames{rate}{profile}"

    @classmethod
    def parse(cls, text: str) -> Facts | None:
        """Return the facts in ``text``, or None when it is not such a text."""
        match = _FACTS.fullmatch(text)
        if not match:
            return None
        return cls(
            size_wh=(int(match[1]), int(match[2])),
            has_alpha=match[3] is not None,
            frame_count=int(match[4]),
            fps=float(match[5]) if match[5] else None,
            profile=match[7] or "",
            is_uneven=match[6] is not None,
        )


def rate_text(fps: float) -> str:
    """Return a frame rate with up to three decimals: ``24``, ``23.976``."""
    return f"{fps:.3f}".rstrip("0").rstrip(".")


@dataclass(frozen=True, slots=True)
class LatentEntry:
    """A latent file of the plan.

    Attributes:
        item: what it is made from.
        dataset: what it shares with the other items of its data set.
        facts: what the media file is.
        frames: the clip, in frames at the family's rate; None for pictures.
        geometry: from the upright media to the training size.
        mask_source: where the weights come from; None when the data set has no masks.
        redo: what the run does.
        reason: why, in a few words.
        mean_weight: mean mask weight where it is known before the run.
        states: of the files that are read and of the latent file, before the plan looked into them; see
            ``storage.seen``.
        doubt: why the mask file may not be what was meant, where it was looked at; empty when there is no doubt.
        look: what the photo shows; None for videos and for what was not looked at.
        shown: what the mask shows, by which the window was placed; None where there is no mask, or it does not matter.
        region_wh: of a zoom, the size of the part of the photo that it shows; None for whole photos.
    """

    item: DatasetItem
    dataset: CachedDataset
    facts: Facts
    frames: FrameRange | None
    geometry: Geometry
    mask_source: MaskSource | None
    redo: Redo = Redo.LATENTS
    reason: str = ""
    mean_weight: float | None = field(default=None, compare=False)
    states: States = field(default=b"", compare=False)
    doubt: str = field(default="", compare=False)
    look: Look | None = field(default=None, compare=False)
    shown: ShownSubject | None = field(default=None, compare=False)
    region_wh: tuple[int, int] | None = None

    @property
    def _shows_subject(self) -> bool:
        """Return whether it matters what the mask shows.

        It places windows and zooms, and tells how large faces are. Masks of videos are decoded for windows alone.
        """
        if not self.has_mask or self.item.zoom:
            return False
        if not self.is_moving:
            return True
        return self.crop == "subject"

    @property
    def crop(self) -> str:
        """Return what the window follows, ``subject`` or ``centre``; empty where it has no choice."""
        return self.dataset.section.crop if has_choice(self.geometry, cell=self.latent.spatial_stride) else ""

    @property
    def is_moved(self) -> bool:
        """Return whether the window does not stand in the middle of the photo or video."""
        return not self.geometry.is_centred

    @property
    def needs_look(self) -> bool:
        """Return whether it matters what the mask shows, and nobody has looked."""
        return self.shown is None and self._shows_subject

    @property
    def latent(self) -> LatentSpec:
        """Return the geometry of the family's latents."""
        return self.dataset.family.latent

    @property
    def latent_name(self) -> LatentName:
        """Return the parts of the file's name: with a picture's own size, or a clip's training size."""
        stem = as_unicode(self.item.media.stem)
        if self.frames is None:
            return LatentName(stem, self.region_wh or self.facts.size_wh, None)
        return LatentName(stem, self.geometry.size_wh, Window(self.frames.start, self.frames.frame_count))

    @property
    def name(self) -> str:
        """Return the name of the latent file."""
        name = self.latent_name
        return latent_name(name.stem, name.size_wh, self.dataset.family.cache_suffix, name.window)

    @property
    def path(self) -> Path:
        """Return the latent file."""
        return self.dataset.folder / self.name

    @property
    def key(self) -> str:
        """Return what the entry is called in plans and messages."""
        return f"{self.item.media.path} frames {self.frames}" if self.frames else self.item.name

    @property
    def is_moving(self) -> bool:
        """Return whether the entry is a clip."""
        return self.item.media.kind is MediaKind.VIDEO

    @property
    def has_mask(self) -> bool:
        """Return whether the weights come from an alpha channel or a mask file."""
        return self.mask_source in (MaskSource.ALPHA, MaskSource.FILE)

    @property
    def mask_files(self) -> tuple[Path, ...]:
        """Return the mask files that are used: one, or those of several subjects.

        There are none where the weights come from elsewhere, even if the item has a mask.
        """
        return self.item.mask_paths if self.mask_source is MaskSource.FILE else ()

    @property
    def mask_place(self) -> str:
        """Return where the mask is: its file, or the picture with the alpha channel, and the frames of a clip."""
        frames = f" frames {self.frames}" if self.frames else ""
        return f"{self.mask_text or self.item.media.path}{frames}"

    @property
    def mask_text(self) -> str:
        """Return the mask files that are used, for messages; empty when there are none."""
        return ", ".join(map(str, self.mask_files))

    @property
    def subject_files(self) -> tuple[Path | None, ...]:
        """Return the mask file of each of several subjects, None for one without; empty where there is one subject."""
        return tuple(map(full, self.item.subject_masks)) if self.mask_source is MaskSource.FILE else ()

    @property
    def seen(self) -> Seen:
        """Return what the plan saw of the files of this entry."""
        return Seen((*self.item.pixel_paths, *self.mask_files), self.path, self.states)

    @property
    def frame_indices(self) -> list[int]:
        """Return which frames of the file the clip holds; none for pictures."""
        if self.frames is None:
            return []
        fps = self.dataset.family.default_fps
        kept = _kept_frames(self.facts.frame_count, self.dataset.section.source_fps, fps, self.facts.times)
        return kept[self.frames.start : self.frames.start + self.frames.frame_count]

    @property
    def wanted(self) -> Wanted:
        """Return the metadata that a fresh file has."""
        dataset, model, family = self.dataset, self.dataset.model, self.dataset.family
        tiers = tiers_text(dataset.tiers) if self.has_mask else ""
        filled = FILLED if self.has_mask and dataset.empty_mask == "full" else ""
        inverted = "true" if self.has_mask and dataset.section.invert_mask else ""
        profile = {"profile": self.facts.profile} if self.facts.profile else {}
        several = {SUBJECTS: subjects_text(self._has_mask_of)} if self._has_mask_of else {}
        return Wanted(
            latents={
                **profile,
                "task": family.task_name,
                GEOMETRY: str(self.geometry),
                "frames": self._frames_text,
                "controls": self._controls_text,
                "vae": model.vae,
                "vae_dtype": model.vae_dtype,
            },
            mask={
                "mask_source": str(self.mask_source or ""),
                "tiers": tiers,
                EMPTY_MASK: filled,
                "mask_inverted": inverted,
                **several,
            },
            labels=self._labels,
        )

    @property
    def _has_mask_of(self) -> dict[str, bool]:
        """Return of each of several subjects whether it has a mask file; empty where the data set shows one."""
        names = self.dataset.section.several if self.subject_files else ()
        return {name: file is not None for name, file in zip(names, self.subject_files, strict=True)}

    @property
    def _labels(self) -> dict[str, str]:
        labels = {
            "arch": self.dataset.family.name,
            "media": as_unicode(self.item.media.path.name),
            "source": str(self.facts),
        }
        if self.shown is not None:
            labels[SUBJECT] = str(self.shown)
            if self.crop:
                labels[CROP] = self.crop
        if self.item.zoom:
            labels[ZOOM] = self.item.zoom
        return labels

    @property
    def _frames_text(self) -> str:
        if self.frames is None:
            return ""
        source_fps = self.dataset.section.source_fps
        rate = f" of {source_fps} fps at {self.dataset.family.default_fps} fps" if source_fps else ""
        rate += " by time" if rate and self.facts.is_uneven else ""
        return f"{self.frames}{rate}"

    @property
    def _controls_text(self) -> str:
        count = len(self.item.control_paths)
        if not count:
            return ""
        section, one_frame = self.dataset.section, self.dataset.one_frame
        indices = f" at {one_frame.clean_indices}, target {one_frame.target_index}" if one_frame else ""
        return f"{count}, size {section.control_resolution}, resized {not section.no_resize_control}{indices}"


@dataclass(frozen=True, slots=True)
class TextEntry:
    """A text file of the plan.

    Attributes:
        item: whose caption.
        dataset: what it shares with the other items of its data set.
        caption: the text.
        kind: which of the item's texts it is.
        order_of: of a caption in another order, the caption as it is written.
        reason: why it is encoded; empty when the file is fresh.
        states: of the files that are read and of the text file, before the plan looked into them; see ``storage.seen``.
    """

    item: DatasetItem
    dataset: CachedDataset
    caption: str
    reason: str = ""
    states: States = b""
    kind: TextKind = WRITTEN
    order_of: str = ""

    @property
    def name(self) -> str:
        """Return the name of the text file."""
        return text_name(self.item.media.stem, self.dataset.family.cache_suffix, self.kind)

    @property
    def path(self) -> Path:
        """Return the text file."""
        return self.dataset.folder / self.name

    @property
    def controls(self) -> tuple[Path, ...]:
        """Return the control pictures that the caption is encoded with; none for most families."""
        return self.item.control_paths if self.dataset.family.task.text_sees_controls else ()

    @property
    def inputs(self) -> tuple[Path, ...]:
        """Return the files that are read: the caption's, where a file holds it, and the control pictures."""
        captions = () if self.item.caption_path is None else (self.item.caption_path,)
        return (*captions, *self.controls)

    @property
    def seen(self) -> Seen:
        """Return what the plan saw of the files of this entry."""
        return Seen(self.inputs, self.path, self.states)

    @property
    def labels(self) -> dict[str, str]:
        """Return the metadata that a fresh file has besides the caption, without the prefix."""
        labels = {"text_encoder": self.dataset.model.text_encoder, "text_dtype": TEXT_DTYPE}
        if self.kind.order:
            labels |= {ORDER_OF: self.order_of, KEEP_TOKENS: str(self.dataset.section.keep_tokens)}
        return labels
