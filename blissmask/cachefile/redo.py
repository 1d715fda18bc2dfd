"""Decide what a cache entry needs, from what it says of itself and what is wanted now. Pure: no files are read here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from blissmask.cachefile.fingerprint import Sameness
from blissmask.cachefile.layout import CAPTION, EMPTY_MASK, FILLED, OUR_FORMAT, OURS, read_mean_weight

FILE_CHANGED = "file changed"
"""The reason when photo, video or controls changed; their colours may still be the same, e.g. when only alpha did."""


class Redo(IntEnum):
    """What a run does to a latent file."""

    NOTHING = 0
    LABELS = 1
    """Rewrite the metadata: contents are fresh, but files were copied or the family's name changed."""
    MASK = 2
    """Rewrite the mask tensors; no VAE is needed."""
    LATENTS = 3


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an entry should say of itself, without the ``blissmask.`` prefix, grouped by what a difference costs.

    Attributes:
        latents: a difference means encoding again.
        mask: a difference means averaging the mask again.
        labels: a difference means rewriting the metadata.
    """

    latents: Mapping[str, str]
    mask: Mapping[str, str]
    labels: Mapping[str, str]

    @property
    def metadata(self) -> dict[str, str]:
        """Return all of it as it stands in the file."""
        return {
            f"{OURS}{name}": value for group in (self.latents, self.mask, self.labels) for name, value in group.items()
        }


def decide(found: Mapping[str, str], wanted: Wanted, *, media: Sameness, mask: Sameness) -> tuple[Redo, str]:
    """Return what to do with a latent file, and why in a few words.

    Args:
        found: the file's metadata.
        wanted: what it should be.
        media: how photo or video and controls compare with the recorded fingerprint.
        mask: how the mask file compares; SAME when there is none and was none.
    """
    if f"{OURS}format" not in found:
        return Redo.LATENTS, "made by another tool"
    if found[f"{OURS}format"] != OUR_FORMAT:
        return Redo.LATENTS, "made by another version"
    if changed := _differences(found, wanted.latents):
        return Redo.LATENTS, changed
    if media is Sameness.CHANGED:
        return Redo.LATENTS, FILE_CHANGED
    if mask is Sameness.CHANGED:
        return Redo.MASK, "mask changed"
    mask_matters = {name: value for name, value in wanted.mask.items() if name != EMPTY_MASK or _refills(found, value)}
    if changed := _differences(found, mask_matters):
        return Redo.MASK, changed
    if Sameness.MOVED in (media, mask) or _differences(found, wanted.labels):
        return Redo.LABELS, "already fresh"
    return Redo.NOTHING, "already fresh"


def decide_text(found: Mapping[str, str], caption: str, wanted: Mapping[str, str], *, controls: Sameness) -> str:
    """Return why a caption must be encoded again, in a few words; empty when its file is fresh.

    Args:
        found: the text file's metadata.
        caption: as it is now.
        wanted: what the file should say of itself besides, without the prefix.
        controls: how the control pictures that the caption sees compare; SAME where it sees none.
    """
    if found.get(f"{OURS}format") != OUR_FORMAT:
        return "caption made by another tool or version"
    if found.get(CAPTION) != caption:
        return "caption changed"
    if controls is Sameness.CHANGED:
        return "control pictures changed"
    return _differences(found, wanted)


def _refills(found: Mapping[str, str], wanted: str) -> bool:
    """Say whether an entry's mask is one that becomes another when empty masks are filled with full weight, or no longer are.

    An empty mask weighs 0 on average, a filled one 1. Whether empty masks are told of or refused changes no entry,
    though earlier versions recorded that, too.
    """
    fills = wanted == FILLED
    if fills == (found.get(f"{OURS}{EMPTY_MASK}") == FILLED):
        return False
    return read_mean_weight(found) in (None, 0.0 if fills else 1.0)


def _differences(found: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    names: Iterable[str] = [
        name.replace("_", " ") for name, value in wanted.items() if found.get(f"{OURS}{name}") != value
    ]
    return f"{', '.join(names)} changed" if names else ""
