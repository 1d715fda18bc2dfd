"""Look at one data set: which entries and captions it needs, and which of them its cache holds already.

Reads names, headers, captions and fingerprints, and counts the frames of videos; unchanged photos and videos are not
opened, since their cache entries remember what was found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from blissmask.cachefile.fingerprint import Prints, Sameness
from blissmask.cachefile.layout import OURS, as_unicode, read_mean_weight, text_name
from blissmask.cachefile.redo import Redo, decide, decide_text
from blissmask.dataset.captions import read_caption, shuffle_tags
from blissmask.dataset.clip_ranges import FrameRange, clip_ranges, frames_at_rate
from blissmask.dataset.collect import Collected, collect
from blissmask.dataset.frame_source import measure
from blissmask.dataset.geometry import Geometry
from blissmask.dataset.item import DatasetItem, MaskSource, MediaKind
from blissmask.dataset.mask_source import resolve_mask_source
from blissmask.errors import InputError, Problem
from blissmask.media.image import read_header
from blissmask.tasks.cache.cached_dataset import TEXT_DTYPE, Recipe
from blissmask.tasks.cache.planned_entries import Entry, Facts, TextEntry
from blissmask.tasks.cache.planning.cache_folder import CacheFolder

_FAR_FEWER = 0.1
"""A container that states this share of frames too many deserves a word: its film was trimmed, or is damaged."""


@dataclass(slots=True)
class Scanned:
    """What was found out about a data set.

    Attributes:
        recipe: how it is cached.
        collected: its items.
        folder: what its cache holds.
        prints: compares files with fingerprints.
        masked: whether it has masks at all: from alpha, from a folder, or named in a list.
        entries: latent files it needs, in order; empty when only captions are cached.
        texts: text files it needs; empty when only latents are cached.
        unreadable: items that cannot be read, with the reason.
        too_short: videos that give no clip.
        shortened: videos that were measured now and give far fewer frames than they state, with both numbers.
        without_caption: items that lack their caption file.
        geometries: how media of each size that was met are fitted.
    """

    recipe: Recipe
    collected: Collected
    folder: CacheFolder
    prints: Prints
    masked: bool
    entries: list[Entry] = field(default_factory=list)
    texts: list[TextEntry] = field(default_factory=list)
    unreadable: list[tuple[DatasetItem, Problem]] = field(default_factory=list)
    too_short: list[DatasetItem] = field(default_factory=list)
    shortened: list[tuple[DatasetItem, int, int]] = field(default_factory=list)
    without_caption: list[DatasetItem] = field(default_factory=list)
    geometries: dict[tuple[int, int], Geometry] = field(default_factory=dict)


def scan(recipe: Recipe, prints: Prints, *, latents: bool, texts: bool, force: bool, verify: bool) -> Scanned:
    """Find out what a data set needs.

    Args:
        recipe: how it is cached.
        prints: compares files with fingerprints, for all data sets of a run.
        latents: look at photos, videos and masks.
        texts: look at captions.
        force: everything is made anew.
        verify: read the cache files whole.

    Raises:
        InputError, UsageError: as ``collect``, or the cache folder cannot be listed.
    """
    folder = CacheFolder(recipe.folder, recipe.model.family.cache_suffix, verify=verify)
    collected = collect(recipe.section, recipe.number)
    masked = (
        recipe.section.alpha_mask
        or any(item.mask_path for item in collected.items)
        or recipe.section.mask_directory is not None
    )
    found = Scanned(recipe, collected, folder, prints, masked)
    for item in found.collected.items:
        try:
            if latents:
                _scan_latents(item, found, force=force)
            if texts:
                _scan_text(item, found, force=force)
        except InputError as error:
            found.unreadable.append((item, error.problems[0]))
    return found


def _scan_latents(item: DatasetItem, found: Scanned, *, force: bool) -> None:
    facts, known = _facts(item, found)
    ranges = list(_ranges(item, facts, found.recipe))
    if not ranges:
        found.too_short.append(item)
    for frames in ranges:
        entry = Entry(
            item=item,
            recipe=found.recipe,
            facts=facts,
            frames=frames,
            geometry=_geometry(facts.size_wh, found),
            mask_source=_mask_source(item, facts, found),
        )
        found.entries.append(_decided(entry, found, known, force=force))


def _geometry(size_wh: tuple[int, int], found: Scanned) -> Geometry:
    """Return how media of one size are fitted, looked for once: photos of one camera are of one size, and there are dozens of buckets."""
    if size_wh not in found.geometries:
        found.geometries[size_wh] = found.recipe.buckets.fit(size_wh)
    return found.geometries[size_wh]


def _decided(entry: Entry, found: Scanned, known: dict[str, _Known], *, force: bool) -> Entry:
    name = entry.path.name
    if name not in known:
        metadata = found.folder.metadata(name)
        if metadata is None:
            return replace(entry, reason="new")
        known[name] = _Known(metadata, _compare_media(entry.item, metadata, found.prints))
    metadata = known[name].metadata
    if not metadata:
        return replace(entry, reason="damaged")
    if force:
        return replace(entry, reason="redone")
    mask_paths = (entry.mask_path,) if entry.mask_path else ()
    mask = found.prints.compare(metadata.get(f"{OURS}mask_print", ""), mask_paths)
    redo, reason = decide(metadata, entry.wanted, media=known[name].media, mask=mask)
    is_fresh = redo in (Redo.NOTHING, Redo.LABELS)
    return replace(entry, redo=redo, reason=reason, mean_weight=read_mean_weight(metadata) if is_fresh else None)


@dataclass(frozen=True, slots=True)
class _Known:
    """A cache file that was looked into: what it says of itself, empty when damaged, and how the media compare with it."""

    metadata: Mapping[str, str]
    media: Sameness


def _facts(item: DatasetItem, found: Scanned) -> tuple[Facts, dict[str, _Known]]:
    """Return what the media are, from the cache when the file is untouched, and the cache files looked into by name."""
    known: dict[str, _Known] = {}
    for name in found.folder.latents_of(as_unicode(item.media.stem), clips=item.media.kind is MediaKind.VIDEO)[:1]:
        metadata = found.folder.metadata(name) or {}
        known[name] = _Known(metadata, _compare_media(item, metadata, found.prints))
        remembered = Facts.parse(metadata.get(f"{OURS}source", ""))
        if remembered and known[name].media is not Sameness.CHANGED and _is_counted(remembered, item):
            return remembered, known
    if item.media.kind is MediaKind.IMAGE:
        header = read_header(item.media.path)
        return Facts(header.size_wh, header.has_alpha), known
    extent = measure(item.media.path)
    if extent.stated_count - extent.frame_count > max(2, extent.stated_count * _FAR_FEWER):
        found.shortened.append((item, extent.frame_count, extent.stated_count))
    return Facts(extent.size_wh, frame_count=extent.frame_count, fps=extent.fps), known


def _is_counted(facts: Facts, item: DatasetItem) -> bool:
    """Say whether the frames were counted; the number that an earlier version took from a container may be wrong."""
    return item.media.kind is MediaKind.IMAGE or facts.fps is not None or item.media.path.is_dir()


def _compare_media(item: DatasetItem, metadata: Mapping[str, str], prints: Prints) -> Sameness:
    return prints.compare(metadata.get(f"{OURS}media_print", ""), item.pixel_paths)


def _ranges(item: DatasetItem, facts: Facts, recipe: Recipe) -> Iterator[FrameRange | None]:
    if item.media.kind is MediaKind.IMAGE:
        yield None
        return
    family = recipe.model.family
    kept = len(frames_at_rate(facts.frame_count, recipe.section.source_fps, family.default_fps))
    yield from clip_ranges(kept, recipe.section, family.latent.temporal_stride)


def _mask_source(item: DatasetItem, facts: Facts, found: Scanned) -> MaskSource | None:
    if not found.masked:
        return None
    alpha_mask = found.recipe.section.alpha_mask
    return resolve_mask_source(alpha_mask=alpha_mask, has_alpha=facts.has_alpha, has_file=item.mask_path is not None)


def _scan_text(item: DatasetItem, found: Scanned, *, force: bool) -> None:
    recipe = found.recipe
    if item.caption is None:
        if item.caption_path is None or not item.caption_path.is_file():
            found.without_caption.append(item)
            return
        caption = read_caption(item.caption_path)
    else:
        caption = item.caption
    if recipe.section.shuffle_caption:
        caption = shuffle_tags(caption, keep_tokens=recipe.section.keep_tokens or 0, seed=item.media.stem)
    path = recipe.folder / text_name(item.media.stem, recipe.model.family.cache_suffix)
    metadata = found.folder.metadata(path.name)
    if metadata is None:
        reason = "new caption"
    elif not metadata:
        reason = "caption file damaged"
    elif force:
        reason = "redone"
    else:
        controls = found.prints.compare(metadata.get(f"{OURS}controls_print", ""), seen_controls(item, recipe))
        reason = decide_text(metadata, caption, text_labels(recipe), controls=controls)
    found.texts.append(TextEntry(item, recipe, caption, path, reason))


def seen_controls(item: DatasetItem, recipe: Recipe) -> tuple[Path, ...]:
    """Return the control pictures that the item's caption is encoded with; none for most families."""
    return item.control_paths if recipe.model.family.task.text_sees_controls else ()


def text_labels(recipe: Recipe) -> dict[str, str]:
    """Return what a text file should say of itself besides the caption, without the prefix."""
    return {"text_encoder": recipe.model.text_encoder, "text_dtype": TEXT_DTYPE}
