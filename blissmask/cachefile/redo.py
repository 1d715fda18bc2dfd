"""Decide what has to be done again for a cache entry: compare its metadata with what is wanted now.

Pure functions; no files are read here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from blissmask.cachefile.fingerprint import Sameness
from blissmask.cachefile.metadata import CAPTION, EMPTY_MASK, FILLED, OUR_FORMAT, OURS, read_mean_weight

FILE_CHANGED = "file changed"
"""The reason when a photo, a video or its controls changed. The colours may be the same, e.g. where only alpha did."""


class Redo(IntEnum):
    """What a run does to a latent file; a higher value costs more and includes the lower ones."""

    NOTHING = 0
    LABELS = 1
    """Rewrite the metadata. The contents are fresh, but files were copied or the family's name changed."""
    MASK = 2
    """Rewrite the mask tensors; no VAE is needed."""
    LATENTS = 3
    """Encode the pixels."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The metadata an entry should have, without the ``blissmask.`` prefix, grouped by what a difference costs.

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
        """Return the three groups together, with the prefix, as the file holds them."""
        wanted = {**self.latents, **self.mask, **self.labels}
        return {f"{OURS}{name}": value for name, value in wanted.items()}


def decide(found: Mapping[str, str], wanted: Wanted, *, media: Sameness, mask: Sameness) -> tuple[Redo, str]:
    """Return what to do with a latent file, and the reason in a few words.

    Args:
        found: the file's metadata.
        wanted: the metadata it should have.
        media: how the photo or video and its controls compare with the recorded fingerprint.
        mask: how the mask file compares with its fingerprint; SAME when there is none and was none.
    """
    if f"{OURS}format" not in found:
        return Redo.LATENTS, "made by another tool"
    if found[f"{OURS}format"] != OUR_FORMAT:
        return Redo.LATENTS, "made by another version"
    changed = _differences(found, wanted.latents)
    if changed:
        return Redo.LATENTS, changed
    if media is Sameness.CHANGED:
        return Redo.LATENTS, FILE_CHANGED
    if mask is Sameness.CHANGED:
        return Redo.MASK, "mask changed"
    changed = _differences(found, _that_change_the_mask(found, wanted.mask))
    if changed:
        return Redo.MASK, changed
    if Sameness.MOVED in (media, mask) or _differences(found, wanted.labels):
        return Redo.LABELS, "already fresh"
    return Redo.NOTHING, "already fresh"


def decide_text(found: Mapping[str, str], caption: str, wanted: Mapping[str, str], *, controls: Sameness) -> str:
    """Return why a caption must be encoded again, in a few words; empty when its file is fresh.

    Args:
        found: the text file's metadata.
        caption: the caption as it is now.
        wanted: the rest of the metadata that the file should have, without the prefix.
        controls: how the control pictures that are encoded with the caption compare; SAME where there are none.
    """
    if found.get(f"{OURS}format") != OUR_FORMAT:
        return "caption made by another tool or version"
    if found.get(CAPTION) != caption:
        return "caption changed"
    if controls is Sameness.CHANGED:
        return "control pictures changed"
    return _differences(found, wanted)


def _that_change_the_mask(found: Mapping[str, str], wanted: Mapping[str, str]) -> Mapping[str, str]:
    """Return the wanted metadata of the mask without the rule for empty masks where that rule changes nothing.

    The rule concerns masks that are zero everywhere: it leaves them, with a mean weight of 0, or fills them with full
    weight, 1.
    """
    rule_before, rule = found.get(f"{OURS}{EMPTY_MASK}"), wanted.get(EMPTY_MASK)
    affected = 0.0 if rule == FILLED else 1.0
    if rule_before == rule or read_mean_weight(found) in (None, affected):
        return wanted
    return {name: value for name, value in wanted.items() if name != EMPTY_MASK}


def _differences(found: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    names = [name.replace("_", " ") for name, value in wanted.items() if found.get(f"{OURS}{name}") != value]
    return f"{', '.join(names)} changed" if names else ""
