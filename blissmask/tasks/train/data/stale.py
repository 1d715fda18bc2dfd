"""Warn of cache entries that are older than their photo, mask or caption: training would ignore the newer file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from blissmask.cachefile.entry import CacheHeader
from blissmask.cachefile.file_names import as_unicode
from blissmask.cachefile.fingerprint import Prints, Sameness
from blissmask.cachefile.metadata import CAPTION, CROP, GEOMETRY, OURS, SUBJECTS, subjects_text
from blissmask.cachefile.read_file import read_metadata
from blissmask.config.model import Config
from blissmask.config.sections.dataset_section import DatasetSection
from blissmask.dataset.buckets import Buckets, make_buckets
from blissmask.dataset.captions.caption_file import caption_of
from blissmask.dataset.captions.caption_words import fill_in, words_for
from blissmask.dataset.collect import collect, media_kind
from blissmask.dataset.geometry import Geometry, read_geometry
from blissmask.dataset.item import DatasetItem, MaskSource, MediaKind
from blissmask.dataset.item_keys import zoom_stem
from blissmask.errors import CacheError, Hint, InputError, Problem, UsageError
from blissmask.families.family import FamilyForTask
from blissmask.plurals import counted, verb
from blissmask.training.data.cached_set import CachedSet

_PRINT = f"{OURS}media_print"

_AGAIN = "run `{command}` again, which redoes these alone, or train with `--prepare`"


@dataclass(slots=True)
class _DataSet:
    """A data set whose folders are on this machine.

    Attributes:
        section: its configuration.
        items: that are in its folders now.
        buckets: fit the size of a photo.
        prints: compares fingerprints.
    """

    section: DatasetSection
    items: tuple[DatasetItem, ...]
    buckets: Buckets
    prints: Prints = field(default_factory=Prints)
    _geometries: dict[tuple[int, int], Geometry] = field(default_factory=dict)

    def geometry(self, source_wh: tuple[int, int]) -> Geometry:
        """Return how a photo of this size is fitted now, its window in the middle; computed once per size."""
        if source_wh not in self._geometries:
            self._geometries[source_wh] = self.buckets.fit(source_wh)
        return self._geometries[source_wh]


def stale_warnings(config: Config, family: FamilyForTask, sets: Iterable[CachedSet]) -> list[Problem]:
    """Compare each data set's cache with its photos, masks, captions and sizes, where these are on this machine.

    Each file costs one ``stat``.

    Args:
        config: whose data sets name the folders.
        family: the family.
        sets: their caches.

    Returns:
        Warnings about entries whose files or sizes changed, items that were never cached, and entries whose items are
        gone.
    """
    problems: list[Problem] = []
    for cached in sets:
        found = _data_set(config.datasets[cached.number - 1], cached.number, family)
        if found is None:
            continue
        headers: dict[str, list[CacheHeader]] = {}
        for header in cached.headers:
            headers.setdefault(header.stem, []).append(header)
        told = [*_changed(found, headers), *_never_cached(found, headers), *_gone(found, headers)]
        # Data sets of several subjects share their photos: what is the same of both is told once.
        problems += [problem for problem in told if problem not in problems]
    return problems


def _data_set(section: DatasetSection, number: int, family: FamilyForTask) -> _DataSet | None:
    """Return the data set; None when it only names a cache, or when its folders are not on this machine."""
    try:
        clips = media_kind(section, number) is MediaKind.VIDEO
        buckets = make_buckets(section, grid_multiple=family.latent.grid_multiple, always_bucket=clips)
        return _DataSet(section, collect(section, number).items, buckets)
    except (InputError, UsageError):
        return None


def _changed(found: _DataSet, headers: Mapping[str, list[CacheHeader]]) -> list[Problem]:
    """Name the items that are not as they were cached, and apart from them those of which nobody can know."""
    stale, unknown = [], []
    for item in found.items:
        try:
            change = _change(item, found, headers)
        except CacheError as error:
            stale.append(f"{item.media.path}: {error.as_one().line}")
        except InputError as error:
            unknown.append(error.as_one().of(item.media.path).line)
        else:
            if change:
                stale.append(f"{item.media.path}: {change}")
    problems = []
    if stale:
        were = verb(len(stale), "it was", "they were")
        what = f"{counted(len(stale), 'item')} changed since {were} cached; the old version is trained"
        problems.append(Problem(what, tuple(stale), Hint(_AGAIN, "cache")))
    if unknown:
        # To run `cache` again would not mend it: it fails by the same file.
        what = f"{counted(len(unknown), 'item')} with a file that cannot be read any more; what was cached is trained"
        fix = "mend the files, or remove the items; then run `{command}` again, which redoes these alone"
        problems.append(Problem(what, tuple(unknown), Hint(fix, "cache")))
    return problems


def _never_cached(found: _DataSet, headers: Mapping[str, list[CacheHeader]]) -> list[Problem]:
    missing = [str(item.media.path) for item in found.items if as_unicode(item.media.stem) not in headers]
    if not missing:
        return []
    what = f"{counted(len(missing), 'item')} {verb(len(missing), 'is', 'are')} not in the cache and will not be trained"
    return [Problem(what, tuple(missing), Hint(_AGAIN, "cache"))]


def _gone(found: _DataSet, headers: Mapping[str, list[CacheHeader]]) -> list[Problem]:
    """Name the entries that no item needs any more; entries of other tools may have come from other folders."""
    stems = {as_unicode(item.media.stem) for item in found.items}
    stems |= {zoom_stem(stem, kind) for stem in stems for kind in found.section.zoom}
    left = []
    for stem, group in headers.items():
        if stem not in stems:
            left += [header.path for header in group if _PRINT in header.metadata]
    if not left:
        return []
    entries = counted(len(left), "cache entry", "cache entries")
    what = f"{entries} of photos or videos that are gone {verb(len(left), 'is', 'are')} trained"
    return [
        Problem(
            what,
            tuple(map(str, left)),
            Hint("run `{command}` again, which removes them, or train with `--prepare`", "cache"),
        )
    ]


def _change(item: DatasetItem, found: _DataSet, headers: Mapping[str, list[CacheHeader]]) -> str:
    """Return what changed since an item was cached; empty when nothing did, and for caches of other tools.

    Raises:
        InputError: a file of the item, or of its cache entry, cannot be read.
    """
    for header in headers.get(as_unicode(item.media.stem), []):
        metadata = header.metadata
        if _PRINT not in metadata:
            continue
        if found.prints.compare(metadata[_PRINT], item.pixel_paths) is Sameness.CHANGED:
            return "photo or video changed"
        if _mask_changed(item, found, metadata):
            return "mask changed"
        if _caption_changed(item, found, header):
            return "caption changed"
        if _size_changed(found, metadata):
            return "another training size"
    return ""


def _mask_changed(item: DatasetItem, found: _DataSet, metadata: Mapping[str, str]) -> bool:
    """Return whether the mask file changed, was added or was removed; an alpha channel is part of the photo."""
    if metadata.get(f"{OURS}mask_source") == MaskSource.ALPHA:
        return False
    if found.prints.compare(metadata.get(f"{OURS}mask_print", ""), item.mask_paths) is Sameness.CHANGED:
        return True
    # The same file may have become the mask of somebody else.
    has_mask = dict(zip(found.section.several, map(bool, item.subject_masks), strict=False))
    return bool(has_mask) and metadata.get(f"{OURS}{SUBJECTS}") != subjects_text(has_mask)


def _caption_changed(item: DatasetItem, found: _DataSet, header: CacheHeader) -> bool:
    section = found.section
    caption = fill_in(caption_of(item, section.caption_style or "text"), words_for(section))
    return caption != read_metadata(header.text_path).get(CAPTION)


def _size_changed(found: _DataSet, metadata: Mapping[str, str]) -> bool:
    """Return whether the resolution or the buckets would give the photo another size or crop now.

    Where a window follows the mask only the size is compared: a mask that changed is named for itself.
    """
    made = metadata.get(f"{OURS}{GEOMETRY}", "")
    before = read_geometry(made)
    if before is None:
        return False
    now = found.geometry(before.source_wh)
    if metadata.get(f"{OURS}{CROP}") == found.section.crop == "subject":
        return now.with_window_of(made) is None
    return str(now) != made
