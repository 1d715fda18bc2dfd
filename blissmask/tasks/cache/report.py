"""Report what `cache` plans and did: mask sources, buckets, what is fresh, how much room it takes, what failed.

A run is counted from the main thread and the writing thread alike.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from blissmask.cachefile.file_names import TextKind
from blissmask.cachefile.redo import Redo
from blissmask.dataset.item import MaskSource
from blissmask.dataset.mask_source import NAMES
from blissmask.errors import BlissmaskError, Problem
from blissmask.tasks.cache.empty_masks import EmptyMask, empty_warnings
from blissmask.tasks.cache.planned_entries import LatentEntry, TextEntry
from blissmask.tasks.cache.remarks.mask_values import doubt_remark
from blissmask.tasks.remarks.remark import Remark, as_problems
from blissmask.tasks.run.plan import Failure, Table
from blissmask.tasks.run.wording import bytes_text

_FLOAT32_BYTES = 4
_MIDDLE = "in the middle"
_STEPS = {Redo.LATENTS: "encode", Redo.MASK: "renew the mask", Redo.LABELS: "fresh", Redo.NOTHING: "fresh"}


@dataclass(slots=True)
class MaskTally:
    """Counts of mask sources and sums of mean weights; tallies of several processes add up exactly.

    Attributes:
        items: source -> number of entries.
        weights: source -> sum of their mean weights.
        known: source -> number of entries whose mean weight is known.
    """

    items: Counter[MaskSource] = field(default_factory=Counter)
    weights: dict[MaskSource, float] = field(default_factory=dict)
    known: Counter[MaskSource] = field(default_factory=Counter)

    def add(self, source: MaskSource | None, mean_weight: float | None) -> None:
        """Count one entry; entries of data sets without masks are not counted."""
        if source is None:
            return
        self.items[source] += 1
        if source is MaskSource.FULL:
            mean_weight = 1.0
        if mean_weight is not None:
            self.known[source] += 1
            self.weights[source] = self.weights.get(source, 0.0) + mean_weight

    def merge(self, other: MaskTally) -> None:
        """Add the counts of ``other``."""
        self.items.update(other.items)
        self.known.update(other.known)
        for source, weight in other.weights.items():
            self.weights[source] = self.weights.get(source, 0.0) + weight

    @property
    def mean_weight(self) -> float | None:
        """Return the mean over all entries whose weight is known."""
        known = self.known.total()
        return sum(self.weights.values()) / known if known else None

    def details(self) -> dict[str, object]:
        """Return the JSON values."""
        mean = self.mean_weight
        sources = {source.value: self.items[source] for source in MaskSource}
        return {"mask_sources": sources, "mean_weight": None if mean is None else round(mean, 3)}

    def table(self) -> list[Table]:
        """Return the table of mask sources; none when no data set has masks."""
        total = self.items.total()
        if not total:
            return []
        rows = tuple(self._row(source, total) for source in NAMES if self.items[source])
        footer = ("total", str(total), "100.0%", _weight_text(self.mean_weight))
        return [Table("", ("Mask source", "Items", "Share", "Mean weight"), rows, footer)]

    def _row(self, source: MaskSource, total: int) -> tuple[str, ...]:
        count, known = self.items[source], self.known[source]
        return (
            NAMES[source],
            str(count),
            f"{count / total:.1%}",
            _weight_text(self.weights[source] / known if known else None),
        )


def plan_tables(
    entries: Sequence[LatentEntry], texts: Sequence[TextEntry], other_texts: Sequence[TextEntry]
) -> list[Table]:
    """Return what `--dry-run` shows: mask sources, buckets, and what is fresh."""
    tally = MaskTally()
    for entry in entries:
        tally.add(entry.mask_source, entry.mean_weight)
    work = _work_table(entries, texts, other_texts)
    return [*tally.table(), *_bucket_table(entries), *_crop_table(entries), *work]


def plan_details(
    entries: Sequence[LatentEntry], texts: Sequence[TextEntry], outdated: Sequence[Path]
) -> dict[str, object]:
    """Return what `--dry-run --json` adds."""
    tally = MaskTally()
    for entry in entries:
        tally.add(entry.mask_source, entry.mean_weight)
    return {
        **tally.details(),
        "buckets": {_bucket_text(entry): count for entry, count in _buckets(entries)},
        "crops": dict(_crops(entries)),
        "work": dict(Counter(_STEPS[entry.redo] for entry in entries)),
        "captions": {
            "encode": sum(bool(text.reason) for text in texts),
            "fresh": sum(not text.reason for text in texts),
        },
        "outdated": [path.name for path in outdated],
        "bytes": sum(entry_bytes(entry) for entry in entries if entry.redo is Redo.LATENTS),
    }


def entry_bytes(entry: LatentEntry) -> int:
    """Return about how large the entry's file becomes: latents and mask in float32."""
    latent = entry.latent
    width, height = entry.geometry.size_wh
    frames = (entry.frames.frame_count - 1) // latent.temporal_stride + 1 if entry.frames else 1
    cells = frames * (width // latent.spatial_stride) * (height // latent.spatial_stride)
    grids = 1 if latent.subcells == 1 else 1 + latent.subcells**2
    planes = latent.channels + (3 * grids if entry.mask_source else 0)
    return cells * planes * _FLOAT32_BYTES


def _bucket_table(entries: Sequence[LatentEntry]) -> list[Table]:
    rows = tuple((_bucket_text(entry), str(count)) for entry, count in _buckets(entries))
    return [Table("", ("Training size", "Items"), rows)] if rows else []


def _buckets(entries: Sequence[LatentEntry]) -> list[tuple[LatentEntry, int]]:
    counts: Counter[str] = Counter()
    first: dict[str, LatentEntry] = {}
    for entry in entries:
        text = _bucket_text(entry)
        counts[text] += 1
        first.setdefault(text, entry)
    return [(first[text], count) for text, count in counts.most_common()]


def _bucket_text(entry: LatentEntry) -> str:
    width, height = entry.geometry.size_wh
    return f"{width}x{height}" + (f", {entry.frames.frame_count} frames" if entry.frames else "")


def _crop_table(entries: Sequence[LatentEntry]) -> list[Table]:
    """Return how windows were chosen; none where all stand in the middle."""
    counts = _crops(entries)
    if not counts.keys() - {_MIDDLE}:
        return []
    return [Table("", ("Crop", "Items"), tuple((name, str(count)) for name, count in counts.most_common()))]


def _crops(entries: Sequence[LatentEntry]) -> Counter[str]:
    return Counter(_crop_of(entry) for entry in entries)


def _crop_of(entry: LatentEntry) -> str:
    if entry.item.zoom:
        return f"zoom to the {entry.item.zoom}"
    return "moved to the subject" if entry.is_moved else _MIDDLE


def _work_table(
    entries: Sequence[LatentEntry], texts: Sequence[TextEntry], other_texts: Sequence[TextEntry]
) -> list[Table]:
    counts: Counter[str] = Counter(_STEPS[entry.redo] for entry in entries)
    rows: list[tuple[str, ...]] = []
    for step in dict.fromkeys(_STEPS.values()):
        need = sum(entry_bytes(entry) for entry in entries if _STEPS[entry.redo] == step and entry.redo is Redo.LATENTS)
        if counts[step]:
            rows.append((f"latents: {step}", str(counts[step]), bytes_text(need) if need else ""))
    for name, found in _by_kind(texts, other_texts).items():
        rows += _text_rows(name, found)
    return [Table("", ("Work", "Items", "Disk"), tuple(rows))] if rows else []


def caption_table(texts: Sequence[TextEntry], other_texts: Sequence[TextEntry]) -> list[Table]:
    """Return how many texts of each kind are cached; none where captions are cached as they are written alone."""
    if not other_texts:
        return []
    counts = text_counts(texts, other_texts)
    return [Table("", ("Text", "Items"), tuple((name, str(count)) for name, count in counts.items()))]


def text_counts(texts: Sequence[TextEntry], other_texts: Sequence[TextEntry]) -> dict[str, int]:
    """Return how many texts of each kind the cache holds."""
    return {name: len(found) for name, found in _by_kind(texts, other_texts).items()}


def _by_kind(texts: Sequence[TextEntry], other_texts: Sequence[TextEntry]) -> dict[str, list[TextEntry]]:
    kinds: dict[str, list[TextEntry]] = {}
    for text in (*texts, *other_texts):
        kinds.setdefault(_kind_name(text.kind), []).append(text)
    return kinds


def _kind_name(kind: TextKind) -> str:
    if kind.is_empty:
        return "no caption, for dropout"
    if kind.is_class:
        return "captions with the class word"
    return "captions in other orders" if kind.order else "captions"


def _text_rows(name: str, texts: Sequence[TextEntry]) -> list[tuple[str, ...]]:
    counts = Counter("encode" if text.reason else "fresh" for text in texts)
    return [(f"{name}: {step}", str(counts[step]), "") for step in ("encode", "fresh") if counts[step]]


def _weight_text(weight: float | None) -> str:
    return "-" if weight is None else f"{weight:.3f}"


@dataclass(frozen=True, slots=True)
class Counts:
    """What one process counted; attributes as in :class:`CacheRun`."""

    tally: MaskTally
    failures: list[Failure]
    doubts: list[Remark]
    empty: list[EmptyMask]


@dataclass(slots=True)
class CacheRun:
    """Counts and failures of one run.

    Attributes:
        fail_fast: raise the first failure instead of noting it.
        failures: items that failed.
        tally: mask sources of everything that is in the cache now.
        doubts: masks that may not be what was meant, with the reason.
        empty: masks with frames that are zero in all of a clip; the plan reads no frames and cannot know them.
    """

    fail_fast: bool = False
    failures: list[Failure] = field(default_factory=list)
    tally: MaskTally = field(default_factory=MaskTally)
    doubts: list[Remark] = field(default_factory=list)
    empty: list[EmptyMask] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wrote(self, entry: LatentEntry, mean_weight: float | None, doubt: str = "") -> None:
        """Count a latent file that was written, or whose mask or labels were renewed."""
        with self._lock:
            self.tally.add(entry.mask_source, mean_weight)
            # The plan has named what it knew of.
            if doubt and doubt != entry.doubt:
                self.doubts.append(doubt_remark(entry, doubt, place=entry.mask_place))
            if mean_weight == 0.0 and entry.mean_weight is None:
                self.empty.append(EmptyMask.of(entry))

    def kept(self, entry: LatentEntry) -> None:
        """Count a latent file that was fresh."""
        with self._lock:
            self.tally.add(entry.mask_source, entry.mean_weight)

    def failed(self, entry: LatentEntry | TextEntry, error: BlissmaskError) -> None:
        """Note an item that failed; what is finished is kept.

        Raises ``error`` when the first failure is to end the run.
        """
        if self.fail_fast:
            raise error
        key = entry.key if isinstance(entry, LatentEntry) else f"{entry.item.name} caption"
        with self._lock:
            self.failures.append(Failure(key, error.as_one().of(entry.item.media.path)))

    def merge(self, other: Counts) -> None:
        """Add what another process counted."""
        self.tally.merge(other.tally)
        self.failures += other.failures
        self.doubts += other.doubts
        self.empty += other.empty

    @property
    def counts(self) -> Counts:
        """Return what other processes need to know of this run."""
        return Counts(self.tally, self.failures, self.doubts, self.empty)

    @property
    def warnings(self) -> list[Problem]:
        """Return the warnings about masks that are doubtful or empty."""
        return [*as_problems(self.doubts), *empty_warnings(self.empty)]
