"""The lines of a plan of `cache`: what happens to each item, made when they are asked for.

A line repeats what the entries of an item hold, so a plan of a million items keeps the entries alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar, overload

from blissmask.cachefile.redo import Redo
from blissmask.dataset.item import DatasetItem
from blissmask.errors import Problem
from blissmask.processes import Processes
from blissmask.storage.short_path import ShortPath
from blissmask.tasks.cache.planned_entries import LatentEntry, TextEntry
from blissmask.tasks.run.plan import Action, PlannedItem


class _OfItem(Protocol):
    @property
    def item(self) -> DatasetItem: ...


_EntryT = TypeVar("_EntryT", bound=_OfItem)


@dataclass(frozen=True, slots=True)
class PlannedSet:
    """What is planned for one data set.

    Attributes:
        items: all of them, in order.
        entries, texts, other_texts: of whole photos and videos in the order of the items, then of zooms in the same
            order; not every item has some.
        failed: items that cannot be cached, by their photo or video.
    """

    items: Sequence[DatasetItem]
    entries: list[LatentEntry]
    texts: list[TextEntry]
    other_texts: list[TextEntry]
    failed: Mapping[ShortPath, Problem]

    def share(self, processes: Processes) -> PlannedSet:
        """Return what one process of a job array does."""
        items = processes.share(self.items)
        mine = {item.media.file for item in items}
        return PlannedSet(
            items,
            [entry for entry in self.entries if entry.item.media.file in mine],
            [text for text in self.texts if text.item.media.file in mine],
            [text for text in self.other_texts if text.item.media.file in mine],
            {file: problem for file, problem in self.failed.items() if file in mine},
        )

    def lines(self) -> Iterator[PlannedItem]:
        """Yield one line per latent file; the first line of an item names a caption that must be encoded."""
        entries = _by_item(self.entries)
        texts = (*_by_item(self.texts), *_by_item(self.other_texts))
        for item in self.items:
            path, file = item.media.path, item.media.file
            problem = self.failed.get(file)
            if problem is not None:
                yield PlannedItem(str(path), Action.FAIL, inputs=(path,)).failing(problem)
            captions: dict[str, list[TextEntry]] = {}
            for text in (text for cursor in texts for text in cursor.take(file)):
                captions.setdefault(text.item.name, []).append(text)
            for entry in (entry for cursor in entries for entry in cursor.take(file)):
                line = _line(entry, captions.pop(entry.item.name, []))
                # Other clips of a video may be fine; a photo whose caption fails does not count as fresh, too.
                if problem is None or entry.frames is not None or line.action is Action.WRITE:
                    yield line
            if problem is None:
                yield from map(_line_of_caption, captions.values())


@dataclass(slots=True)
class Listing(Sequence[PlannedItem]):
    """The lines of all data sets of a plan."""

    sets: list[PlannedSet] = field(default_factory=list)

    def __iter__(self) -> Iterator[PlannedItem]:
        for planned in self.sets:
            yield from planned.lines()

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @overload
    def __getitem__(self, index: int) -> PlannedItem: ...
    @overload
    def __getitem__(self, index: slice) -> list[PlannedItem]: ...
    def __getitem__(self, index: int | slice) -> PlannedItem | list[PlannedItem]:
        return list(self)[index]


@dataclass(slots=True)
class _Cursor(Generic[_EntryT]):
    """Walks through entries beside their items."""

    entries: Sequence[_EntryT]
    position: int = 0

    def take(self, file: ShortPath) -> Sequence[_EntryT]:
        """Return the entries of ``file``, which come next; none where the next ones are of another file."""
        first = self.position
        while self.position < len(self.entries) and self.entries[self.position].item.media.file == file:
            self.position += 1
        return self.entries[first : self.position]


def _by_item(entries: Sequence[_EntryT]) -> tuple[_Cursor[_EntryT], _Cursor[_EntryT]]:
    """Return entries of whole photos and videos, and those of zooms; both in the order of the items."""
    whole = [entry for entry in entries if not entry.item.zoom]
    zoomed = [entry for entry in entries if entry.item.zoom]
    return _Cursor(whole), _Cursor(zoomed)


def _text_reason(texts: Sequence[TextEntry]) -> str:
    """Return why texts of an item are encoded; its caption in all its forms, often for one reason."""
    return ", ".join(dict.fromkeys(text.reason for text in texts if text.reason))


def _line_of_caption(texts: Sequence[TextEntry]) -> PlannedItem:
    item, reason = texts[0].item, _text_reason(texts)
    action = Action.WRITE if reason else Action.SKIP
    return PlannedItem(item.name, action, reason or "already fresh", (item.media.path,), texts[0].path)


def _line(entry: LatentEntry, texts: Sequence[TextEntry]) -> PlannedItem:
    inputs = (entry.item.media.path, *entry.mask_files)
    caption = _text_reason(texts)
    if entry.redo in (Redo.MASK, Redo.LATENTS):
        # An entry and its caption may be written for one reason, such as --force.
        reasons = dict.fromkeys(filter(None, (entry.reason, caption)))
        pixels = math.prod(entry.facts.size_wh)
        return PlannedItem(entry.key, Action.WRITE, ", ".join(reasons), inputs, entry.path, pixels=pixels)
    action = Action.WRITE if caption else Action.SKIP
    return PlannedItem(entry.key, action, caption or entry.reason, inputs, entry.path)
