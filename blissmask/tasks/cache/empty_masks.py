"""Masks that are zero everywhere, as the plan and the run name them: whose they are decides what is to be done."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from blissmask.errors import Problem
from blissmask.plurals import counted, verb
from blissmask.tasks.cache.cached_dataset import CachedDataset
from blissmask.tasks.cache.planned_entries import LatentEntry
from blissmask.tasks.run.wording import absent_notice

Handling = Literal["warn", "error", "full"]
"""Value of `--empty-mask`."""


@dataclass(frozen=True, slots=True)
class EmptyMask:
    """A mask that is zero everywhere.

    Attributes:
        place: the mask, see ``LatentEntry.mask_place``.
        subjects: of its data set; the item shows none of them. Empty where the data set names none.
        handling: what is to happen to such masks.
    """

    place: str
    subjects: tuple[str, ...]
    handling: Handling

    @classmethod
    def of(cls, entry: LatentEntry) -> EmptyMask:
        """Return the mask of an entry as one that is zero everywhere."""
        return cls(entry.mask_place, tuple(entry.dataset.section.subject), entry.dataset.empty_mask)


def empty_warnings(found: Iterable[EmptyMask]) -> list[Problem]:
    """Return one warning for each kind of data set that has masks that are zero everywhere."""
    groups: dict[tuple[tuple[str, ...], Handling], list[str]] = {}
    for mask in found:
        groups.setdefault((mask.subjects, mask.handling), []).append(mask.place)
    return [_warning(places, subjects, handling) for (subjects, handling), places in groups.items()]


def way_out(dataset: CachedDataset) -> str:
    """Return what to do about masks that are zero everywhere and may not be."""
    return _way_out(dataset.section.subject)


def _warning(places: Sequence[str], subjects: Sequence[str], handling: Handling) -> Problem:
    # Photos may be shared by the data sets of several subjects: it is no fault that one of them is not there.
    if subjects and handling == "warn":
        return absent_notice(subjects, places)
    are, them = verb(len(places), "is", "are"), verb(len(places), "it", "them")
    empty = f"{counted(len(places), 'mask')} {are} zero everywhere"
    if handling == "full":
        fix = "`--empty-mask full` asks for it; without it, items without a subject are left out of training"
        return Problem(f"{empty}, and full weight takes the place of {them}", tuple(places), fix)
    return Problem(f"{empty}; nothing would be learned from {them}", tuple(places), _way_out(subjects))


def _way_out(subjects: Sequence[str]) -> str:
    if subjects:
        # At full weight whoever is there would be trained as the subject.
        return "mend the masks, or leave `--empty-mask error` out: items without the subject are left out of training"
    return "mend the masks, leave the items out, or set `--empty-mask full` to train them at full weight"
