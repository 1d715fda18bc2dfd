"""The metadata of cache files: its keys, and facts as texts and back."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping

from blissmask.cachefile.file_names import LatentName
from blissmask.masks.tiers import TIERS, TierTable

FORMAT_VERSION = "1.0.1"
"""``format_version`` of musubi-tuner's files."""

OUR_FORMAT = "1"
"""Our own version, ``blissmask.format``; an entry with another one is stale."""

ARCHITECTURE = "architecture"
CAPTION = "caption1"
FRAME_COUNT = "frame_count"
OURS = "blissmask."
"""Prefix of our metadata keys."""

EMPTY_MASK = "empty_mask"
LOOK = f"{OURS}look"
SUBJECT = "subject"
SUBJECTS = "subjects"
CROP = "crop"
GEOMETRY = "geometry"
ZOOM = "zoom"
ORDER_OF, KEEP_TOKENS = "order_of", "keep_tokens"
FILLED = "full"
"""Value of ``blissmask.empty_mask``."""

OWN_METADATA = (f"{OURS}media_print", f"{OURS}mask_print", f"{OURS}mean_weight")
"""Metadata of latent files that has another value in each of them."""
UNASKED_METADATA = (f"{OURS}media", f"{OURS}colours", LOOK, f"{OURS}{SUBJECT}")
"""Metadata of latent files that has another value in each of them, and that `cache` alone asks for."""

_TIERS = re.compile(",".join([r"(\d{1,3})"] * len(TIERS)))


def latent_metadata(architecture: str, name: LatentName) -> dict[str, str]:
    """Return the metadata of a latent file that every trainer expects."""
    width, height = name.size_wh
    metadata = {
        ARCHITECTURE: architecture,
        "width": str(width),
        "height": str(height),
        "format_version": FORMAT_VERSION,
    }
    if name.window:
        metadata[FRAME_COUNT] = str(name.window.frame_count)
    return metadata


def text_metadata(architecture: str, caption: str) -> dict[str, str]:
    """Return the metadata of a text file that every trainer expects."""
    return {ARCHITECTURE: architecture, CAPTION: caption, "format_version": FORMAT_VERSION}


@functools.lru_cache(maxsize=16)
def tiers_text(tiers: TierTable) -> str:
    """Return the values of the tiers as the metadata holds them: ``255,128,80,0``."""
    return ",".join(str(value) for value in tiers.as_dict().values())


def read_tiers(metadata: Mapping[str, str]) -> TierTable | None:
    """Return the tier values that an entry's region shares were computed with.

    None where there is no mask, and for entries of other tools.
    """
    match = _TIERS.fullmatch(metadata.get(f"{OURS}tiers", ""))
    if match is None:
        return None
    return TierTable(**{tier.value: int(value) for tier, value in zip(TIERS, match.groups(), strict=True)})


def subjects_text(has_mask: Mapping[str, bool]) -> str:
    """Return which of several subjects have a mask file, as the metadata holds it: ``{"kyla": true, "tom": false}``."""
    return json.dumps(has_mask)


def read_subjects(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Return the subjects whose region shares an entry holds, in their order; none where it was made for one."""
    try:
        names = json.loads(metadata.get(f"{OURS}{SUBJECTS}", "{}"))
    except (ValueError, RecursionError):
        return ()
    return tuple(names) if isinstance(names, dict) else ()


def mean_weight_text(mean_weight: float) -> str:
    """Return the mean of an entry's mask weights as the metadata holds it.

    Only a mask that is zero everywhere gives ``0.000000``, so that nobody has to read the mask to know that it is.
    """
    return f"{max(mean_weight, 1e-6) if mean_weight > 0 else 0.0:.6f}"


def read_mean_weight(metadata: Mapping[str, str]) -> float | None:
    """Return the mean of an entry's mask weights; None where the metadata has no such number."""
    try:
        weight = float(metadata.get(f"{OURS}mean_weight", ""))
    except ValueError:
        return None
    return weight if 0.0 <= weight <= 1.0 else None
