"""One cache entry to be: which item, which frames, which size, which mask, and what has to be done for it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

from blissmask.cachefile.layout import EMPTY_MASK, FILLED, LatentName, Window, as_unicode, latent_name, tiers_text
from blissmask.cachefile.redo import Redo, Wanted
from blissmask.dataset.clip_ranges import FrameRange, frames_at_rate
from blissmask.dataset.geometry import Geometry
from blissmask.dataset.item import DatasetItem, MaskSource, MediaKind
from blissmask.tasks.cache.cached_dataset import Recipe

# All clips of a video ask for the same list.
_kept_frames = lru_cache(maxsize=16)(frames_at_rate)
_FACTS = re.compile(r"([1-9]\d{0,5})x([1-9]\d{0,5})( alpha)? ([1-9]\d{0,8}) frames(?: at (\d+(?:\.\d+)?) fps)?")


@dataclass(frozen=True, slots=True)
class Facts:
    """What a photo or video is; its text is remembered in the cache, so that unchanged files are not opened.

    Attributes:
        size_wh: upright size.
        has_alpha: whether a picture has an alpha channel.
        frame_count: frames of a video, counted; 1 for pictures.
        fps: frames per second of a video file, 0 where it does not say; None for pictures and folders of frames. Facts
            of a video without it are of an earlier version, which believed the container about the number of frames.
    """

    size_wh: tuple[int, int]
    has_alpha: bool = False
    frame_count: int = 1
    fps: float | None = None

    def __str__(self) -> str:
        """Return ``3000x2000 alpha 1 frames`` or ``1920x1080 121 frames at 23.976 fps``."""
        alpha = " alpha" if self.has_alpha else ""
        rate = "" if self.fps is None else f" at {rate_text(self.fps)} fps"
        return f"{self.size_wh[0]}x{self.size_wh[1]}{alpha} {self.frame_count} frames{rate}"

    @classmethod
    def parse(cls, text: str) -> Facts | None:
        """Return the facts in ``text``, or None when it is not such a text."""
        match = _FACTS.fullmatch(text)
        if not match:
            return None
        return cls(
            (int(match[1]), int(match[2])), match[3] is not None, int(match[4]), float(match[5]) if match[5] else None
        )


def rate_text(fps: float) -> str:
    """Return a frame rate with up to three decimals: ``24``, ``23.976``."""
    return f"{fps:.3f}".rstrip("0").rstrip(".")


@dataclass(frozen=True)
class Entry:
    """A latent file of the plan.

    Attributes:
        item: what it is made from.
        recipe: how.
        facts: what the media file is.
        frames: the clip, in frames at the family's rate; None for pictures.
        geometry: from the upright media to the training size.
        mask_source: where the weights come from; None when the data set has no masks.
        redo: what the run does.
        reason: why, in a few words.
        mean_weight: mean mask weight where it is known before the run.
    """

    item: DatasetItem
    recipe: Recipe
    facts: Facts
    frames: FrameRange | None
    geometry: Geometry
    mask_source: MaskSource | None
    redo: Redo = Redo.LATENTS
    reason: str = ""
    mean_weight: float | None = field(default=None, compare=False)

    @property
    def latent_name(self) -> LatentName:
        """Return what the file's name says: a picture's own size, a clip's training size."""
        stem = as_unicode(self.item.media.stem)
        if self.frames is None:
            return LatentName(stem, self.facts.size_wh, None)
        return LatentName(stem, self.geometry.size_wh, Window(self.frames.start, self.frames.frame_count))

    @cached_property
    def path(self) -> Path:
        """Return the latent file."""
        name = self.latent_name
        return self.recipe.folder / latent_name(
            name.stem, name.size_wh, self.recipe.model.family.cache_suffix, name.window
        )

    @property
    def key(self) -> str:
        """Return what the entry is called in plans and messages."""
        return f"{self.item.media.path} frames {self.frames}" if self.frames else str(self.item.media.path)

    @property
    def mask_path(self) -> Path | None:
        """Return the mask file that is used, None when the weights come from elsewhere."""
        return self.item.mask_path if self.mask_source is MaskSource.FILE else None

    @property
    def frame_indices(self) -> list[int]:
        """Return which frames of the file the clip holds."""
        assert self.frames is not None
        kept = _kept_frames(
            self.facts.frame_count, self.recipe.section.source_fps, self.recipe.model.family.default_fps
        )
        return kept[self.frames.start : self.frames.start + self.frames.frame_count]

    @property
    def wanted(self) -> Wanted:
        """Return what the file should say of itself."""
        recipe, model = self.recipe, self.recipe.model
        has_mask = self.mask_source in (MaskSource.ALPHA, MaskSource.FILE)
        rate = (
            f" of {recipe.section.source_fps} fps at {model.family.default_fps} fps"
            if recipe.section.source_fps
            else ""
        )
        return Wanted(
            latents={
                "task": model.family.task_name,
                "geometry": str(self.geometry),
                "frames": f"{self.frames}{rate}" if self.frames else "",
                "controls": self._controls,
                "vae": model.vae,
                "vae_dtype": model.vae_dtype,
            },
            mask={
                "mask_source": str(self.mask_source or ""),
                "tiers": tiers_text(recipe.tiers) if has_mask else "",
                EMPTY_MASK: FILLED if has_mask and recipe.empty_mask == "full" else "",
                "mask_inverted": "true" if has_mask and recipe.section.invert_mask else "",
            },
            labels={
                "arch": model.family.name,
                "media": as_unicode(self.item.media.path.name),
                "source": str(self.facts),
            },
        )

    @property
    def _controls(self) -> str:
        section, one_frame = self.recipe.section, self.recipe.one_frame
        if not self.item.control_paths:
            return ""
        indices = f" at {one_frame.clean_indices}, target {one_frame.target_index}" if one_frame else ""
        return f"{len(self.item.control_paths)}, size {section.control_resolution}, resized {not section.no_resize_control}{indices}"

    @property
    def is_moving(self) -> bool:
        """Say whether the entry is a clip."""
        return self.item.media.kind is MediaKind.VIDEO


@dataclass(frozen=True, slots=True)
class TextEntry:
    """A text file of the plan.

    Attributes:
        item: whose caption.
        recipe: how it is cached.
        caption: the text, shuffled when the data set says so.
        reason: why it is encoded; empty when the file is fresh.
    """

    item: DatasetItem
    recipe: Recipe
    caption: str
    path: Path
    reason: str
