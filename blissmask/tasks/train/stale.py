"""Cache entries that are older than what they were made from: training on them would ignore a mask that was mended since."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from blissmask.cachefile.entry import CacheHeader
from blissmask.cachefile.fingerprint import Sameness, compare
from blissmask.cachefile.layout import CAPTION, OURS, as_unicode
from blissmask.cachefile.read import read_metadata
from blissmask.config.dataset import DatasetSection
from blissmask.config.model import Config, complete
from blissmask.dataset.captions import read_caption
from blissmask.dataset.collect import collect
from blissmask.dataset.item import DatasetItem, MaskSource
from blissmask.errors import InputError, Problem, UsageError
from blissmask.tasks.wording import counted, verb
from blissmask.training.cached_set import CachedSet


def stale_warnings(config: Config, sets: Iterable[CachedSet]) -> list[Problem]:
    """Compare each data set's cache with its photos, masks and captions, where they are on this machine; one ``stat`` per file.

    Args:
        config: whose data sets name the folders.
        sets: their caches.

    Returns:
        What is to be said: entries whose files changed, and items that were never cached.
    """
    problems = []
    for cached in sets:
        dataset = complete(config.datasets[cached.number - 1], config.general)
        items = _items(dataset, cached.number)
        headers: dict[str, list[CacheHeader]] = {}
        for header in cached.headers:
            headers.setdefault(header.stem, []).append(header)
        stale = [f"{item.media.path}: {change}" for item in items if (change := _change(item, headers, dataset))]
        missing = [str(item.media.path) for item in items if as_unicode(item.media.stem) not in headers]
        fix = "run `blissmask cache` again; it redoes these alone"
        if stale:
            were = verb(len(stale), "it was", "they were")
            what = f"{counted(len(stale), 'item')} changed since {were} cached; the old version is trained"
            problems.append(Problem(what, tuple(stale), fix))
        if missing:
            what = f"{counted(len(missing), 'item')} {verb(len(missing), 'is', 'are')} not in the cache and will not be trained"
            problems.append(Problem(what, tuple(missing), fix))
    return problems


def _items(dataset: DatasetSection, number: int) -> tuple[DatasetItem, ...]:
    """Return the items of a data set; none where it names a cache alone, or its folders are not on this machine."""
    try:
        return collect(dataset, number).items
    except (InputError, UsageError):
        return ()


def _change(item: DatasetItem, headers: Mapping[str, list[CacheHeader]], dataset: DatasetSection) -> str:
    """Say what changed since an item was cached; empty when nothing did, or another tool made the cache and nobody knows."""
    for header in headers.get(as_unicode(item.media.stem), []):
        metadata = header.metadata
        if f"{OURS}media_print" not in metadata:
            continue
        try:
            if compare(metadata[f"{OURS}media_print"], item.pixel_paths) is Sameness.CHANGED:
                return "photo or video changed"
            if _mask_changed(item, metadata):
                return "mask changed"
            if not dataset.shuffle_caption and _caption_changed(item, header):
                return "caption changed"
        except InputError as error:
            return error.problems[0].what
    return ""


def _mask_changed(item: DatasetItem, metadata: Mapping[str, str]) -> bool:
    """Say whether the mask file is another one, came, or went; an alpha channel is part of the photo."""
    if metadata.get(f"{OURS}mask_source") == MaskSource.ALPHA:
        return False
    paths = (item.mask_path,) if item.mask_path else ()
    return compare(metadata.get(f"{OURS}mask_print", ""), paths) is Sameness.CHANGED


def _caption_changed(item: DatasetItem, header: CacheHeader) -> bool:
    caption = read_caption(item.caption_path) if item.caption is None and item.caption_path is not None else item.caption
    return caption != read_metadata(header.text_path).get(CAPTION)
