"""Scan one data set: which entries and captions it needs, and which of them its cache holds already.

Reads names, headers, captions and fingerprints, and counts the frames of videos; unchanged photos and videos are not
opened, since their cache entries remember what was found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from blissmask.cachefile.file_names import EMPTY, TextKind, as_unicode
from blissmask.cachefile.fingerprint import Prints, Sameness
from blissmask.cachefile.metadata import CROP, EMPTY_MASK, GEOMETRY, LOOK, OURS, SUBJECT, read_mean_weight
from blissmask.cachefile.redo import Redo, decide, decide_text
from blissmask.dataset.captions.caption_orders import orders_of, tag_orders
from blissmask.dataset.captions.caption_words import without_trigger, zoom_caption
from blissmask.dataset.clip_ranges import FrameRange, clip_ranges, frames_at_rate
from blissmask.dataset.collect import Collected, collect
from blissmask.dataset.frame_source import frame_files, measure
from blissmask.dataset.geometry import Geometry
from blissmask.dataset.item import DatasetItem, MaskSource, MediaKind
from blissmask.dataset.mask_source import resolve_mask_source
from blissmask.errors import InputError, Problem, naming_files
from blissmask.media.image import read_header
from blissmask.media.video import read_info, read_times
from blissmask.storage.seen import output_state, states_of, states_with_output
from blissmask.tasks.cache.cached_dataset import CachedDataset
from blissmask.tasks.cache.photo_look import Look
from blissmask.tasks.cache.planned_entries import Facts, LatentEntry, TextEntry
from blissmask.tasks.cache.planning.cache_folder import CacheFolder
from blissmask.tasks.cache.planning.caption_faults import CaptionFaults
from blissmask.tasks.cache.shown_subject import ShownSubject


@dataclass(slots=True)
class Scanned:
    """What was found out about a data set.

    Attributes:
        dataset: how it is cached.
        collected: its items.
        folder: what its cache holds.
        prints: compares files with fingerprints.
        masked: whether it has masks at all: from alpha, from a folder, or named in a list.
        entries: latent files it needs, in order; empty when only captions are cached.
        texts: text files it needs; empty when only latents are cached.
        unreadable: items that cannot be read, with the reason.
        too_short: videos that give no clip.
        damaged: videos that were measured now and have frames that cannot be decoded, with the numbers of the frames.
        hdr: HDR videos that were measured now, with their curve.
        other_texts: what else is encoded of captions where it is asked for: their tags in other orders, the class word
            instead of the trigger, and no caption.
        caption_faults: captions that cannot be encoded.
        geometries: how media of each size that was met are fitted, with the window in the middle.
        facts: of each kind of photo that was met, by themselves: cameras give few.
        known: cache files that were looked into, by name.
    """

    dataset: CachedDataset
    collected: Collected
    folder: CacheFolder
    prints: Prints
    masked: bool
    entries: list[LatentEntry] = field(default_factory=list)
    texts: list[TextEntry] = field(default_factory=list)
    other_texts: list[TextEntry] = field(default_factory=list)
    unreadable: list[tuple[DatasetItem, Problem]] = field(default_factory=list)
    too_short: list[DatasetItem] = field(default_factory=list)
    damaged: list[tuple[DatasetItem, tuple[int, ...]]] = field(default_factory=list)
    hdr: list[tuple[DatasetItem, str]] = field(default_factory=list)
    caption_faults: CaptionFaults = field(default_factory=CaptionFaults)
    geometries: dict[tuple[int, int], Geometry] = field(default_factory=dict)
    facts: dict[Facts, Facts] = field(default_factory=dict)
    known: dict[str, _Known] = field(default_factory=dict)


def scan(dataset: CachedDataset, prints: Prints, *, latents: bool, texts: bool, force: bool, verify: bool) -> Scanned:
    """Find out what a data set needs, but for the windows and zooms that masks decide about; see ``place_windows``.

    Args:
        dataset: how it is cached.
        prints: compares files with fingerprints, for all data sets of a run.
        latents: look at photos, videos and masks.
        texts: look at captions.
        force: everything is made anew.
        verify: read the cache files whole.

    Raises:
        InputError, UsageError: as ``collect``, or the cache folder cannot be listed.
    """
    folder = CacheFolder(dataset.folder, dataset.family.cache_suffix, verify=verify)
    collected = collect(dataset.section, dataset.number)
    masked = (
        dataset.section.alpha_mask
        or any(item.mask_paths for item in collected.items)
        or dataset.section.mask_directory is not None
    )
    found = Scanned(dataset, collected, folder, prints, masked)
    for item in found.collected.items:
        try:
            with naming_files():
                # Which zooms there are, and so which captions, depends on the masks.
                if latents or dataset.section.zoom:
                    _scan_latents(item, found, force=force)
                if texts:
                    scan_text(item, found, force=force)
        except InputError as error:
            found.unreadable.append((item, error.as_one()))
    return found


def _scan_latents(item: DatasetItem, found: Scanned, *, force: bool) -> None:
    # Before anything is looked into: what changes after that is noticed when it is read.
    states = b"".join(map(found.prints.state_of, item.pixel_paths))
    mask_states = b"".join(map(found.prints.state_of, item.mask_paths))
    facts = _facts(item, found)
    ranges = list(_ranges(item, facts, found.dataset))
    if not ranges:
        found.too_short.append(item)
    for frames in ranges:
        entry = LatentEntry(
            item=item,
            dataset=found.dataset,
            facts=facts if facts.times else found.facts.setdefault(facts, facts),
            frames=frames,
            geometry=_geometry(facts.size_wh, found),
            mask_source=_mask_source(item, facts, found),
        )
        inputs = states + mask_states if entry.mask_files else states
        entry = replace(entry, states=inputs + output_state(entry.path))
        found.entries.append(decided(entry, found, force=force))


def _geometry(size_wh: tuple[int, int], found: Scanned) -> Geometry:
    """Return how media of one size are fitted; each size is looked up once, since cameras give few sizes."""
    if size_wh not in found.geometries:
        found.geometries[size_wh] = found.dataset.buckets.fit(size_wh)
    return found.geometries[size_wh]


def decided(entry: LatentEntry, found: Scanned, *, force: bool) -> LatentEntry:
    """Decide what is done for an entry.

    Where the mask decides about the window and the cache does not remember what it shows, this is decided for the
    window in the middle first, and again when the mask was looked at; see ``LatentEntry.needs_look``.
    """
    name = entry.name
    known = _look_into(name, entry.item, found)
    if known is None:
        return replace(entry, redo=Redo.LATENTS, reason="new")
    metadata = known.metadata
    if not metadata:
        return replace(entry, redo=Redo.LATENTS, reason="damaged")
    mask = found.prints.compare(metadata.get(f"{OURS}mask_print", ""), entry.mask_files)
    if entry.needs_look:
        entry = _with_remembered_window(entry, known, mask)
    if force:
        return replace(entry, redo=Redo.LATENTS, reason="redone")
    redo, reason = decide(metadata, entry.wanted, media=known.media, mask=mask)
    is_fresh = redo in (Redo.NOTHING, Redo.LABELS)
    return replace(
        entry,
        redo=redo,
        reason=_told(reason, entry, metadata),
        mean_weight=read_mean_weight(metadata) if is_fresh else entry.mean_weight,
        look=None if redo is Redo.LATENTS else Look.parse(metadata.get(LOOK, "")),
    )


def _with_remembered_window(entry: LatentEntry, known: _Known, mask: Sameness) -> LatentEntry:
    """Return the entry with the window that its file was made with, where the same mask would give it again."""
    metadata = known.metadata
    if mask is Sameness.CHANGED:
        return entry
    if entry.mask_source is MaskSource.ALPHA and known.media is Sameness.CHANGED:
        return entry
    wanted = {name: value for name, value in entry.wanted.mask.items() if name != EMPTY_MASK}
    if any(metadata.get(f"{OURS}{name}") != value for name, value in wanted.items()):
        return entry
    if metadata.get(f"{OURS}{CROP}", "") != entry.crop:
        return entry
    shown = ShownSubject.parse(metadata.get(f"{OURS}{SUBJECT}", ""))
    made = metadata.get(f"{OURS}{GEOMETRY}", "")
    geometry = entry.geometry.with_window_of(made) if entry.crop == "subject" else entry.geometry
    return entry if shown is None or geometry is None else replace(entry, shown=shown, geometry=geometry)


def _told(reason: str, entry: LatentEntry, metadata: Mapping[str, str]) -> str:
    """Return the reason, which for a window that moved alone says so."""
    if reason != "geometry changed" or entry.geometry.with_window_of(metadata.get(f"{OURS}{GEOMETRY}", "")) is None:
        return reason
    return "the crop follows the subject" if entry.dataset.section.crop == "subject" else "the crop is in the middle"


def _look_into(name: str, item: DatasetItem, found: Scanned) -> _Known | None:
    """Return what a cache file remembers; None where there is no such file."""
    if name not in found.known:
        metadata = found.folder.metadata(name)
        if metadata is None:
            return None
        found.known[name] = _Known(metadata, _compare_media(item, metadata, found.prints))
    return found.known[name]


@dataclass(frozen=True, slots=True)
class _Known:
    """A cache file that was looked into.

    Attributes:
        metadata: what it remembers; empty when the file is damaged.
        media: how the media compare with it.
    """

    metadata: Mapping[str, str]
    media: Sameness


def _facts(item: DatasetItem, found: Scanned) -> Facts:
    """Return what the media are, from the cache when the file is untouched."""
    for name in found.folder.latents_of(as_unicode(item.media.stem), clips=item.media.kind is MediaKind.VIDEO)[:1]:
        known = _look_into(name, item, found)
        if known is None or known.media is Sameness.CHANGED:
            continue
        remembered = Facts.parse(known.metadata.get(f"{OURS}source", ""))
        if remembered:
            return _with_times(remembered, item, found)
    _look_at_controls(item)
    if item.media.kind is MediaKind.IMAGE:
        header = read_header(item.media.path)
        return Facts(header.size_wh, header.has_alpha, profile=header.profile)
    extent = measure(item.media.path)
    if extent.damaged:
        found.damaged.append((item, extent.damaged))
    if extent.hdr:
        found.hdr.append((item, extent.hdr))
    return Facts(
        extent.size_wh,
        frame_count=extent.frame_count,
        fps=extent.fps,
        is_uneven=bool(extent.times),
        times=extent.times,
    )


def _with_times(facts: Facts, item: DatasetItem, found: Scanned) -> Facts:
    """Return remembered facts with the times of an uneven video where frames are chosen by them."""
    if not facts.is_uneven or found.dataset.section.source_fps is None:
        return facts
    return replace(facts, times=read_times(item.media.path, facts.frame_count))


def _look_at_controls(item: DatasetItem) -> None:
    """Read the headers of an item's controls; raise InputError that names all that cannot be read."""
    problems: list[Problem] = []
    for path in item.control_paths:
        try:
            if path.is_dir():
                read_header(frame_files(path)[0])
            elif item.media.kind is MediaKind.VIDEO:
                read_info(path)
            else:
                read_header(path)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError.several(problems)


def _compare_media(item: DatasetItem, metadata: Mapping[str, str], prints: Prints) -> Sameness:
    return prints.compare(metadata.get(f"{OURS}media_print", ""), item.pixel_paths)


def _ranges(item: DatasetItem, facts: Facts, dataset: CachedDataset) -> Iterator[FrameRange | None]:
    if item.media.kind is MediaKind.IMAGE:
        yield None
        return
    family = dataset.family
    kept = len(frames_at_rate(facts.frame_count, dataset.section.source_fps, family.default_fps, facts.times))
    yield from clip_ranges(kept, dataset.section, family.latent.temporal_stride)


def _mask_source(item: DatasetItem, facts: Facts, found: Scanned) -> MaskSource | None:
    if not found.masked:
        return None
    alpha_mask = found.dataset.section.alpha_mask
    return resolve_mask_source(alpha_mask=alpha_mask, has_alpha=facts.has_alpha, has_file=bool(item.mask_paths))


def scan_text(item: DatasetItem, found: Scanned, *, force: bool) -> None:
    """Add the caption of an item to the texts that its data set needs; a zoom has the one that its template makes.

    Raises:
        InputError: the caption cannot be read.
    """
    section = found.dataset.section
    entry = TextEntry(item, found.dataset, "")
    states = states_of(entry.inputs, entry.path)
    caption = found.caption_faults.text_of(item, section)
    if caption is None:
        return
    entry = replace(entry, caption=zoom_caption(item, caption, section), states=states)
    found.texts.append(_decided_text(entry, found, force=force))
    for other in _other_texts(entry, caption):
        other = replace(other, states=states_with_output(states, other.path))
        found.other_texts.append(_decided_text(other, found, force=force))


def _other_texts(written: TextEntry, caption: str) -> Iterator[TextEntry]:
    """Yield what else is encoded of an item's caption, as the data set asks for it.

    Args:
        written: the caption as it is written, with the template of a zoom.
        caption: the same without the template, which keeps its place where tags are shuffled.
    """
    dataset, item, section = written.dataset, written.item, written.dataset.section
    orders = [written]
    count = 1 + len(orders_of(caption, section, zoom=item.zoom))
    _, *others = tag_orders(caption, keep_tokens=section.keep_tokens, count=count, seed=item.media.stem)
    for number, tags in enumerate(others, 1):
        text = zoom_caption(item, tags, section)
        orders.append(replace(written, caption=text, kind=TextKind(number), order_of=written.caption))
    yield from orders[1:]
    if dataset.class_words is not None:
        for entry in orders:
            class_caption = without_trigger(entry.caption, dataset.class_words)
            if class_caption is not None:
                yield replace(entry, caption=class_caption, kind=TextKind(entry.kind.order, is_class=True))
    if section.caption_dropout_rate:
        yield replace(written, caption="", kind=EMPTY)


def _decided_text(entry: TextEntry, found: Scanned, *, force: bool) -> TextEntry:
    reason = _text_reason(entry, found, force=force)
    if reason and entry.controls:
        _look_at_controls(entry.item)
    return replace(entry, reason=reason, states=entry.states if reason else b"")


def _text_reason(entry: TextEntry, found: Scanned, *, force: bool) -> str:
    """Return why a caption is encoded; empty when its file is fresh."""
    metadata = found.folder.metadata(entry.path.name)
    if metadata is None:
        return "new caption"
    if not metadata:
        return "caption file damaged"
    if force:
        return "redone"
    controls = found.prints.compare(metadata.get(f"{OURS}controls_print", ""), entry.controls)
    return decide_text(metadata, entry.caption, entry.labels, controls=controls)
