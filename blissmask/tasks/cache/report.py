"""The tables and JSON values of `cache`: mask sources, buckets, what is fresh, how much room it takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from blissmask.cachefile.redo import Redo
from blissmask.dataset.item import MaskSource
from blissmask.dataset.mask_source import NAMES
from blissmask.tasks.cache.planned_entries import Entry, TextEntry
from blissmask.tasks.run.plan import Table
from blissmask.tasks.run.wording import bytes_text

_FLOAT32_BYTES = 4
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


def plan_tables(entries: Sequence[Entry], texts: Sequence[TextEntry]) -> list[Table]:
    """Return what `--dry-run` shows: mask sources, buckets, and what is fresh."""
    tally = MaskTally()
    for entry in entries:
        tally.add(entry.mask_source, entry.mean_weight)
    return [*tally.table(), *_bucket_table(entries), *_work_table(entries, texts)]


def plan_details(entries: Sequence[Entry], texts: Sequence[TextEntry], outdated: Sequence[Path]) -> dict[str, object]:
    """Return what `--dry-run --json` adds."""
    tally = MaskTally()
    for entry in entries:
        tally.add(entry.mask_source, entry.mean_weight)
    return {
        **tally.details(),
        "buckets": {_bucket_text(entry): count for entry, count in _buckets(entries)},
        "work": dict(Counter(_STEPS[entry.redo] for entry in entries)),
        "captions": {
            "encode": sum(bool(text.reason) for text in texts),
            "fresh": sum(not text.reason for text in texts),
        },
        "outdated": [path.name for path in outdated],
        "bytes": sum(entry_bytes(entry) for entry in entries if entry.redo is Redo.LATENTS),
    }


def entry_bytes(entry: Entry) -> int:
    """Return about how large the entry's file becomes: latents and mask in float32."""
    latent = entry.recipe.model.family.latent
    width, height = entry.geometry.size_wh
    frames = (entry.frames.frame_count - 1) // latent.temporal_stride + 1 if entry.frames else 1
    cells = frames * (width // latent.spatial_stride) * (height // latent.spatial_stride)
    planes = latent.channels + (3 if entry.mask_source else 0)
    return cells * planes * _FLOAT32_BYTES


def _bucket_table(entries: Sequence[Entry]) -> list[Table]:
    rows = tuple((_bucket_text(entry), str(count)) for entry, count in _buckets(entries))
    return [Table("", ("Training size", "Items"), rows)] if rows else []


def _buckets(entries: Sequence[Entry]) -> list[tuple[Entry, int]]:
    counts: Counter[str] = Counter()
    first: dict[str, Entry] = {}
    for entry in entries:
        text = _bucket_text(entry)
        counts[text] += 1
        first.setdefault(text, entry)
    return [(first[text], count) for text, count in counts.most_common()]


def _bucket_text(entry: Entry) -> str:
    width, height = entry.geometry.size_wh
    return f"{width}x{height}" + (f", {entry.frames.frame_count} frames" if entry.frames else "")


def _work_table(entries: Sequence[Entry], texts: Sequence[TextEntry]) -> list[Table]:
    counts: Counter[str] = Counter(_STEPS[entry.redo] for entry in entries)
    rows: list[tuple[str, ...]] = []
    for step in dict.fromkeys(_STEPS.values()):
        need = sum(entry_bytes(entry) for entry in entries if _STEPS[entry.redo] == step and entry.redo is Redo.LATENTS)
        if counts[step]:
            rows.append((f"latents: {step}", str(counts[step]), bytes_text(need) if need else ""))
    captions = Counter("encode" if text.reason else "fresh" for text in texts)
    rows += [(f"captions: {step}", str(captions[step]), "") for step in ("encode", "fresh") if captions[step]]
    return [Table("", ("Work", "Items", "Disk"), tuple(rows))] if rows else []


def _weight_text(weight: float | None) -> str:
    return "-" if weight is None else f"{weight:.3f}"
