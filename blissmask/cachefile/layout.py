"""The cache format: file names, tensor keys, metadata.

A cache folder holds safetensors files. Names and keys are those of musubi-tuner and blissful-tuner, so their trainers
read our files and ours reads theirs. What only blissmask knows is metadata under ``blissmask.``, which they ignore.

File names. STEM is the media file's name without suffix, invalid UTF-8 escaped; SUFFIX is the family's short name, e.g.
``wan``.

    STEM_WWWWxHHHH_SUFFIX.safetensors             latents of a picture: width and height of the upright picture, at
                                                  least 4 digits
    STEM_SSSSS-FFF_WWWWxHHHH_SUFFIX.safetensors   latents of a clip: first frame after the fps change, frame count, size
                                                  of the bucket
    STEM_SUFFIX_te.safetensors                    the encoded caption; one per media file, however many clips it has
    STEM_SUFFIX_KIND.safetensors                  further texts of the item; other trainers do not look at them. KIND:
        class       the caption with the class word instead of the trigger, for trigger-free preservation
        te1, te2    the caption with its tags in another order, for ``shuffle_caption``; ``class1``, ``class2`` likewise
        empty       no caption, for ``caption_dropout_rate``

Keys of latent files: ``CONTENT_FxHxW_DTYPE`` for tensors on the latent grid (latent frames, rows, columns),
``CONTENT_DTYPE`` for the rest.

    latents_FxHxW_DTYPE          (C, F, H, W)   normalised latents; musubi-tuner's trainers of pictures want (C, H, W),
                                                under the same key or under latents_HxW_DTYPE: see ``FrameAxis``
    mask_weights_FxHxW_float32   (1, F, H, W)   mask weights in [0, 1] before gamma and floor; absent when the data set
                                                has no masks
    mask_regions_FxHxW_float16   (4, F, H, W)   share of face, body, hair, background in each cell: multiples of 1/2048
                                                that sum to exactly 1 (to 0 in control frames); only for masks that hold
                                                nothing but tier values
    mask_subcells_FxHxW_float32  (1, F, H, W)   for families whose latent cells hold several cells of the VAE in their
                                                channels: the mask weights of those, on a grid that is as many times
                                                finer. Other trainers read ``mask_weights``, which is their mean
    mask_subregions_FxHxW_float16 (4, F, H, W)  their region shares, under the rules of ``mask_regions``
    mask_subjects_FxHxW_float16  (4 S, F, H, W)  of data sets that show S subjects, two or more: the region shares of
                                                each one's own mask, one set after another, on the grid of sub-cells
                                                where there is one; 0 everywhere for one whom the item does not show
    latents_image_..., latents_control_..., clip_..., f_indices_int32 ...       what the family adds

Keys of text files: ``CONTENT_DTYPE``, or ``varlen_CONTENT_DTYPE`` where the first axis is the caption's own length. A
CONTENT that ends in ``_mask`` has no DTYPE. DTYPE is torch's name. Readers use the tensor's own dtype, not the key's:
musubi-tuner's ``clip_bfloat16`` holds float16.

Metadata, all strings. Both kinds of file: ``architecture``, ``format_version`` (1.0.1). Latents: ``width``, ``height``
(as in the name), ``frame_count`` (clips). Text: ``caption1``. Ours:

    blissmask.format          version of this page: 1
    blissmask.arch            family, as on the command line
    blissmask.media           name of the photo or video, without folders
    blissmask.media_print     fingerprint of the photo or video and its controls; see ``fingerprint.py``
    blissmask.colours         hash of the encoded pixels; a photo whose alpha alone changed is not encoded again
    blissmask.source          what the header of a picture states: ``3000x2000 alpha 1 frames``; of a video with its
                              frames counted and its own rate: ``1920x1080 121 frames at 23.976 fps``
    blissmask.profile         of a picture whose colours were converted to sRGB: the name of the profile they were in
    blissmask.look            pictures: perceptual hash and colours, share of transparent pixels, frames of an
                              animation, whether a face lies on its side: ``HEX hidden 0.000, frames 1``
    blissmask.subject         where the mask shows the subject, its largest head and the face of it, in shares of the
                              picture, ``none`` where it shows none
    blissmask.crop            what the window follows, ``subject`` or ``centre``, where it has a choice
    blissmask.zoom            of a zoom: ``subject`` or ``face``. Its file is called STEM-ZOOM, with the size of the
                              part of the photo that is shown
    blissmask.task            e.g. ``t2v``
    blissmask.geometry        ``3000x2000 -> 1248x832, crop 1248x832+0+0``
    blissmask.frames          clips: which frames of the file, e.g. ``0-24 of 30 fps at 16 fps``
    blissmask.controls        how control pictures are fitted; one-frame time indices
    blissmask.vae             identity of the VAE
    blissmask.vae_dtype       precision the VAE ran in
    blissmask.mask_source     alpha, file, full; empty when the data set has no masks
    blissmask.mask_print      fingerprint of the mask file, of several subjects that of all; empty when there is none
    blissmask.subjects        of data sets that show several: which of them have a mask file, in the order of
                              ``mask_subjects``: ``{"kyla": true, "tom": false}``
    blissmask.tiers           the values of face, body, hair, background that the region shares were computed with:
                              ``255,128,80,0``; empty without a mask
    blissmask.empty_mask      ``full`` where masks that are zero everywhere become full weight, else empty
    blissmask.mask_inverted   ``true`` where dark is what counts, else empty
    blissmask.mean_weight     mean of the mask weights, six decimals; 0.000000 only where all of them are zero
    blissmask.text_encoder    text files: identity of the text encoder
    blissmask.text_dtype      text files: precision the text encoder ran in
    blissmask.controls_print  text files of families that encode captions with the control pictures: their fingerprint
    blissmask.order_of        text files of captions in another order: the caption as it is written
    blissmask.keep_tokens     of the same: how many tags at the front stay where they are
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from blissmask.masks.tiers import TIERS, TierTable

if TYPE_CHECKING:
    import torch

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

MASK_WEIGHTS = "mask_weights"
MASK_REGIONS = "mask_regions"
# Not `mask_weights_...`: the mask fork takes every key that starts so for the weights of the latent grid.
MASK_SUBCELLS = "mask_subcells"
MASK_SUBREGIONS = "mask_subregions"
MASK_SUBJECTS = "mask_subjects"
MASK_CONTENTS = frozenset({MASK_WEIGHTS, MASK_REGIONS, MASK_SUBCELLS, MASK_SUBREGIONS, MASK_SUBJECTS})
"""What an entry holds of its mask; everything else depends on the pixels alone."""
LATENTS = "latents"

_SUFFIX = ".safetensors"
_TEXT_ENDING = re.compile(r"(?:(?:te|class)(?:[1-9]\d{0,3})?|empty)\.safetensors")
_SIZE = re.compile(r"(\d{4,})x(\d{4,})")
# Source: musubi-tuner, which adds the number of the section for FramePack; it is not used here.
_WINDOW = re.compile(r"(\d{5,})-(\d{3,})(?:-\d+)?")
_GRID = re.compile(r"(?:^|_)(\d+x\d+(?:x\d+)?)$")
_TIERS = re.compile(",".join([r"(\d{1,3})"] * len(TIERS)))
_VARIABLE_LENGTH = "varlen_"
# torch's names of all dtypes that safetensors files can hold.
_DTYPES = frozenset(
    {"bool", "complex64", "bfloat16", "float16", "float32", "float64"}
    | {f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)}
    | {f"float8_{kind}" for kind in ("e4m3fn", "e4m3fnuz", "e5m2", "e5m2fnuz", "e8m0fnu")}
    | {"float4_e2m1fn_x2"}
)


class FrameAxis(Enum):
    """How the latents of a family are spelled in cache files, so that musubi-tuner's trainer of it reads them.

    Readers take all three, and get (C, F, H, W).
    """

    KEPT = "latents_FxHxW_DTYPE of shape (C, F, H, W)"
    NAMED = "latents_1xHxW_DTYPE of shape (C, H, W)"
    ABSENT = "latents_HxW_DTYPE of shape (C, H, W)"


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


@dataclass(frozen=True, slots=True)
class Key:
    """The parts of a tensor key.

    Attributes:
        content: ``latents``, ``mask_weights``, ``t5`` ...: the name used in batches and in :class:`CacheEntry`.
        grid: the ``FxHxW`` part, empty when there is none.
        variable_length: whether the first axis is the item's own length.
    """

    content: str
    grid: str = ""
    variable_length: bool = False


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


def grid_key(content: str, shape: tuple[int, ...], dtype: torch.dtype, frame_axis: FrameAxis = FrameAxis.KEPT) -> str:
    """Return the key of a tensor on the latent grid; its last three axes are latent frames, rows, columns."""
    frames, rows, columns = shape[-3:]
    grid = f"{rows}x{columns}" if frame_axis is FrameAxis.ABSENT else f"{frames}x{rows}x{columns}"
    return f"{content}_{grid}_{dtype_name(dtype)}"


def plain_key(content: str, dtype: torch.dtype, *, variable_length: bool = False) -> str:
    """Return the key of a tensor that is not on the latent grid."""
    prefix = _VARIABLE_LENGTH if variable_length else ""
    return f"{prefix}{content}" if content.endswith("_mask") else f"{prefix}{content}_{dtype_name(dtype)}"


def parse_key(key: str) -> Key:
    """Read a tensor key of ours, of musubi-tuner or of blissful-tuner.

    ``content`` of mask weights is ``mask_weights`` for each of the three spellings.
    """
    variable_length = key.startswith(_VARIABLE_LENGTH)
    rest = key.removeprefix(_VARIABLE_LENGTH)
    if not rest.endswith("_mask"):
        rest = _without_dtype(rest)
    grid = _GRID.search(rest) if rest.startswith((LATENTS, "mask_")) else None
    content = rest[: grid.start()] if grid else rest
    if content in ("latents_mask_weights", "mask_weights_mask"):
        content = MASK_WEIGHTS
    return Key(content, grid[1] if grid else "", variable_length)


def dtype_name(dtype: torch.dtype) -> str:
    """Return torch's own name of ``dtype``, e.g. ``bfloat16``."""
    return str(dtype).removeprefix("torch.")


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


def _without_dtype(key: str) -> str:
    """Remove the longest dtype name at the end, so that ``x_float8_e4m3fn`` becomes ``x``."""
    parts = key.split("_")
    for start in range(1, len(parts)):
        if "_".join(parts[start:]) in _DTYPES:
            return "_".join(parts[:start])
    return key
