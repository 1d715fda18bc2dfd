"""What a run of `cache` did: counted from the main thread and the writing thread alike."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from blissmask.errors import BlissmaskError, Problem
from blissmask.tasks.cache.planned_entries import Entry, TextEntry
from blissmask.tasks.cache.report import MaskTally
from blissmask.tasks.run.plan import Failure
from blissmask.tasks.run.wording import counted, verb


@dataclass(frozen=True, slots=True)
class Counts:
    """What one process counted; attributes as in :class:`CacheRun`."""

    tally: MaskTally
    failures: list[Failure]
    doubts: list[str]
    empty: list[str]


@dataclass(slots=True)
class CacheRun:
    """Counts and failures of one run.

    Attributes:
        fail_fast: raise the first failure instead of noting it.
        failures: items that failed.
        tally: mask sources of everything that is in the cache now.
        doubts: mask files that may not be what was meant, with the reason.
        empty: masks with frames that turned out to be zero in all of a clip; the plan reads no frames, so it could not
            tell.
    """

    fail_fast: bool = False
    failures: list[Failure] = field(default_factory=list)
    tally: MaskTally = field(default_factory=MaskTally)
    doubts: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wrote(self, entry: Entry, mean_weight: float | None, doubt: str = "") -> None:
        """Count a latent file that was written, or whose mask or labels were renewed."""
        with self._lock:
            self.tally.add(entry.mask_source, mean_weight)
            if doubt:
                self.doubts.append(f"{entry.mask_path}: {doubt}")
            if mean_weight == 0.0 and entry.mean_weight is None:
                self.empty.append(mask_place(entry))

    def kept(self, entry: Entry) -> None:
        """Count a latent file that was fresh."""
        with self._lock:
            self.tally.add(entry.mask_source, entry.mean_weight)

    def failed(self, entry: Entry | TextEntry, error: BlissmaskError) -> None:
        """Note an item that failed; what is finished is kept.

        Raises ``error`` when the first failure is to end the run.
        """
        if self.fail_fast:
            raise error
        key = entry.key if isinstance(entry, Entry) else f"{entry.item.media.path} caption"
        with self._lock:
            self.failures.append(Failure(key, error.problems[0]))

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
        """Return what is to be said of masks that are doubtful or empty."""
        return [*self._doubt_warnings, *empty_warning(self.empty)]

    @property
    def _doubt_warnings(self) -> list[Problem]:
        if not self.doubts:
            return []
        # One mask may be that of many clips.
        doubts = tuple(dict.fromkeys(self.doubts))
        count = len(doubts)
        what = "1 mask is perhaps not what was meant" if count == 1 else f"{count} masks are perhaps not what was meant"
        return [Problem(what, doubts, "use 8-bit grey PNG masks")]


def mask_place(entry: Entry) -> str:
    """Return where an entry's mask is: its file, or the picture whose alpha channel it is, and for clips which frames."""
    frames = f" frames {entry.frames}" if entry.frames else ""
    return f"{entry.mask_path or entry.item.media.path}{frames}"


def empty_warning(places: Sequence[str]) -> list[Problem]:
    """Return one warning about masks that are zero everywhere; none when there are none."""
    if not places:
        return []
    zero, them = verb(len(places), "is", "are"), verb(len(places), "it", "them")
    what = f"{counted(len(places), 'mask')} {zero} zero everywhere; nothing would be learned from {them}"
    fix = "mend the masks, leave the items out, or set `--empty-mask full` to train them at full weight"
    return [Problem(what, tuple(places), fix)]
