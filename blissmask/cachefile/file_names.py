"""The names of cache files: which item, size and clip one holds the latents of, and which text."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SUFFIX = ".safetensors"
_TEXT_ENDING = re.compile(r"(?:(?:te|class)(?:[1-9]\d{0,3})?|empty)\.safetensors")
_SIZE = re.compile(r"(\d{4,})x(\d{4,})")
# Source: musubi-tuner, which adds the number of the section for FramePack; it is not used here.
_WINDOW = re.compile(r"(\d{5,})-(\d{3,})(?:-\d+)?")


@dataclass(frozen=True, slots=True)
class Window:
    """Which frames of a video a clip holds.

    Attributes:
        start: first frame, counted after the change to the family's frame rate.
        frame_count: how many frames, 4k+1 for the causal video VAEs.
    """

    start: int
    frame_count: int


@dataclass(frozen=True, slots=True)
class LatentName:
    """The parts of a latent file's name; ``window`` is None for pictures."""

    stem: str
    size_wh: tuple[int, int]
    window: Window | None


@dataclass(frozen=True, slots=True)
class TextKind:
    """Which text of an item a text file holds.

    Attributes:
        order: 0 for the tags as they are written, 1 and up for other orders.
        is_class: whether it has the class word instead of the trigger.
        is_empty: whether it is no caption at all; then the others have their defaults.
    """

    order: int = 0
    is_class: bool = False
    is_empty: bool = False

    @property
    def ending(self) -> str:
        """Return what the name of the file ends in."""
        if self.is_empty:
            return f"empty{_SUFFIX}"
        return f"{'class' if self.is_class else 'te'}{self.order or ''}{_SUFFIX}"


WRITTEN = TextKind()
"""The caption as it is written: the text that every trainer reads."""
CLASS = TextKind(is_class=True)
EMPTY = TextKind(is_empty=True)


def as_unicode(text: str) -> str:
    """Escape bytes of a file name that are no valid UTF-8; safetensors refuses them in paths and in metadata."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def latent_name(stem: str, size_wh: tuple[int, int], suffix: str, window: Window | None = None) -> str:
    """Return the file name of an item's latents: ``clip_00000-025_0960x0544_wan.safetensors``."""
    frames = f"_{window.start:05d}-{window.frame_count:03d}" if window else ""
    return f"{as_unicode(stem)}{frames}_{size_wh[0]:04d}x{size_wh[1]:04d}_{suffix}{_SUFFIX}"


def text_name(stem: str, suffix: str, kind: TextKind = WRITTEN) -> str:
    """Return the file name of a text's embeddings: ``clip_wan_te.safetensors``."""
    return f"{as_unicode(stem)}_{suffix}_{kind.ending}"


def parse_latent_name(name: str, suffix: str, *, is_clip: bool) -> LatentName | None:
    """Read the name of a latent file; None when it is not one of family ``suffix``.

    Args:
        name: the file's name.
        suffix: the family's short name.
        is_clip: whether the file's metadata has a ``frame_count``. A clip and a picture called ``clip_00000-025`` have
            the same name.
    """
    ending = f"_{suffix}{_SUFFIX}"
    stem, _, size_text = name.removesuffix(ending).rpartition("_")
    size = _SIZE.fullmatch(size_text)
    if not name.endswith(ending) or size is None:
        return None
    size_wh = (int(size[1]), int(size[2]))
    if not is_clip:
        return LatentName(stem, size_wh, None)
    stem, _, window_text = stem.rpartition("_")
    window = _WINDOW.fullmatch(window_text)
    if window is None:
        return None
    return LatentName(stem, size_wh, Window(int(window[1]), int(window[2])))


def parse_text_name(name: str, suffix: str) -> str | None:
    """Return the stem in the name of a text file of family ``suffix``, of any kind; None when it is not one."""
    stem, separator, ending = name.rpartition(f"_{suffix}_")
    return stem if separator and _TEXT_ENDING.fullmatch(ending) else None
