"""The table of data sets on the page of a training: what each holds, a row for each number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from blissmask.config.sections.dataset_section import DatasetSection
from blissmask.masks.tiers import WeightTier
from blissmask.tasks.run.plan import Table
from blissmask.tasks.run.wording import pixels_text
from blissmask.tasks.train.saving.page.sections import table
from blissmask.tasks.train.train_plan import TrainPlan
from blissmask.training.data.cached_set import CachedSet
from blissmask.training.data.set_totals import SetTotals

_SIZES = 3
"""Training sizes that are named, the commonest ones: a folder of photos has a dozen, and the rest have few items."""


def data_sets(plan: TrainPlan, sets: Sequence[SetTotals]) -> Iterator[str]:
    """Yield the table; rows that say nothing of any data set are left out."""
    columns = []
    held_out, left_out = set(plan.data.held_out), set(plan.data.left_out)
    first = 0
    for cached, totals in zip(plan.data.sets, sets, strict=True):
        positions = range(first, first + len(cached.headers))
        first = positions.stop
        apart = (len(held_out.intersection(positions)), len(left_out.intersection(positions)))
        columns.append(_column(cached, plan.config.datasets[cached.number - 1], totals, *apart))
    rows = [(name, *(column[name] for column in columns)) for name in columns[0]]
    kept = [row for row in rows if any(text not in ("", "0") for text in row[1:])]
    heads = ("data set", *(str(cached.number) for cached in plan.data.sets))
    yield from table(Table("", heads, tuple(kept)), kind="facts")


def _column(
    cached: CachedSet, section: DatasetSection, totals: SetTotals, held_out: int, left_out: int
) -> dict[str, str]:
    """Return what is to be said of one data set, by the name of the row."""
    folder = section.image_directory or section.video_directory or section.cache_directory
    taught = totals.entries - held_out
    return {
        "folder": str(folder or ""),
        "subject": ", ".join(section.subject),
        "trigger": ", ".join(section.own_triggers),
        "items trained": str(0 if cached.prior_only else taught),
        "items held to the base model": str(taught if cached.prior_only else 0),
        "items held out": str(held_out),
        "items left out, their mask is empty": str(left_out),
        "repeats": str(cached.repeats) if cached.repeats > 1 else "",
        "clips among them": str(totals.clips),
        "zooms among them": str(totals.zooms),
        "with a mask": _of(totals.masked, totals.entries),
        **_areas(totals),
        "without a face in the mask": str(totals.without_face),
        "sizes of the files": _range(totals.smallest_wh, totals.largest_wh),
        "enlarged": str(totals.enlarged),
        "sizes in training": _sizes(totals.sizes),
        "different captions": str(len(totals.captions)),
        "captions with the trigger": _of(totals.with_trigger, totals.entries) if section.own_triggers else "",
        "empty captions": str(totals.without_caption),
    }


def _areas(totals: SetTotals) -> dict[str, str]:
    shares = totals.shares or {}
    tiers = (tier for tier in WeightTier if tier is not WeightTier.BACKGROUND)
    return {f"{tier.value}, of the picture": f"{shares[tier]:.1%}" if tier in shares else "" for tier in tiers}


def _of(count: int, entries: int) -> str:
    return f"{count} of {entries}" if entries else ""


def _range(smallest_wh: tuple[int, int] | None, largest_wh: tuple[int, int] | None) -> str:
    if smallest_wh is None or largest_wh is None:
        return ""
    if smallest_wh == largest_wh:
        return pixels_text(smallest_wh)
    return f"{pixels_text(smallest_wh)} to {pixels_text(largest_wh)}"


def _sizes(sizes: Counter[tuple[int, int]]) -> str:
    named = [f"{count} of {pixels_text(size_wh)}" for size_wh, count in sizes.most_common(_SIZES)]
    further = len(sizes) - len(named)
    if further > 0:
        named.append(f"and {further} more")
    return ", ".join(named)
