"""Report what a run of `masks` found: how much of the photos is what, and which items need a look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from blissmask.errors import InputError, Problem
from blissmask.masks.tiers import TIERS, TierTable, WeightTier
from blissmask.masks.weighted_mask import measure
from blissmask.media.likeness import Likeness
from blissmask.media.mask_picture import read_grey
from blissmask.media.png import read_note
from blissmask.media.sheets.card import Badness, Measure
from blissmask.plurals import counted
from blissmask.storage.short_path import ShortPath
from blissmask.tasks.mask_files.clips import read_clip_results
from blissmask.tasks.mask_files.contact_sheet import NEARLY_EMPTY
from blissmask.tasks.mask_files.output_notes import read_count, read_number
from blissmask.tasks.remarks.odd_photos import copy_remarks, side_remark
from blissmask.tasks.remarks.remark import Remark
from blissmask.tasks.run.plan import Table, places_of

LEAST = "least in the mask"
"""What comes first on a sheet of weighted masks where remarks are alike."""

SEVERAL_PEOPLE = "several people"
"""The remark about a mask that covers more than one person."""

NOBODY = "body, but nobody's face or limbs"
"""The remark about a mask that may show a thing as a person: a cup, a cat, or a head and shoulders from behind."""

HEAD_CUT = "head cut off"
"""The remark about a photo whose frame cuts a head: such crops are learned, too."""

IN_FRONT = "something in front of the body?"
"""The remark about a mask whose body may hold something else, see ``vision.in_front``.

Of six such regions, three were things, two were people behind, and one was a sleeve.
"""


ODD_PHOTO = 0.2
"""Sort key on the contact sheet of a photo that is odd itself: its mask may be right, so wrong masks come first."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the note of one mask remembers.

    Attributes:
        coverage: share of the pixels of each tier, 0..1; empty when not known.
        people, faces: how many the backend saw; None when it does not count them.
        limbs: of how many people it saw a limb; None likewise.
        cut_heads: how many heads the frame cuts; None when not known.
        in_front: share of the picture, 0..1, that may be things in front of a body; None when not known.
        on_its_side: whether a face lies on its side, and EXIF does not say so; not of videos.
        likeness: by which the same photo is known in another file; None of videos, and where it is not known.
    """

    coverage: Mapping[WeightTier, float]
    people: int | None
    faces: int | None
    limbs: int | None = None
    cut_heads: int | None = None
    in_front: float | None = None
    on_its_side: bool = False
    likeness: Likeness | None = None

    @property
    def covered(self) -> float:
        """Return the share of the picture that is not background."""
        return sum(share for tier, share in self.coverage.items() if tier is not WeightTier.BACKGROUND)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Return what is wrong with the mask, worst first."""
        remarks = []
        if self.covered == 0:
            remarks.append("empty mask")
        elif self.covered < NEARLY_EMPTY:
            remarks.append("nearly empty")
        if self.covered and self.faces == 0 and self.limbs == 0:
            remarks.append(NOBODY)
        elif self.people == 0:
            remarks.append("no person")
        elif self.faces == 0:
            remarks.append("no face")
        if self.people is not None and self.people > 1:
            remarks.append(SEVERAL_PEOPLE)
        if self.cut_heads:
            remarks.append(HEAD_CUT)
        if self.in_front:
            remarks.append(IN_FRONT)
        return tuple(remarks)

    @property
    def badness(self) -> Badness:
        """Return how early the item comes on the contact sheet; its number is how little the mask covers."""
        worst = {
            # `train` leaves out an item with an empty mask, and learns this one.
            NOBODY: 5.0,
            "empty mask": 4.0,
            "no person": 3.0,
            "nearly empty": 2.0,
            "no face": 1.0,
            SEVERAL_PEOPLE: 0.5,
            HEAD_CUT: 0.4,
            IN_FRONT: 0.3,
        }
        remark = max((worst[remark] for remark in self.remarks), default=0.0)
        return Badness(remark, number=-self.covered)


def read_seen(note: Mapping[str, object]) -> Seen | None:
    """Return what a note remembers; None when it is not one of `masks`."""
    shares = note.get("coverage")
    if not isinstance(shares, dict):
        return None
    likeness = note.get("likeness")
    return Seen(
        {tier: read_number(shares.get(tier.value)) or 0.0 for tier in TIERS},
        people=read_count(note.get("people")),
        faces=read_count(note.get("faces")),
        limbs=read_count(note.get("limbs")),
        cut_heads=read_count(note.get("cut_heads")),
        in_front=read_number(note.get("in_front")),
        on_its_side=note.get("on_its_side") is True,
        likeness=Likeness.parse(likeness) if isinstance(likeness, str) else None,
    )


def seen_in(mask: Path, tiers: TierTable) -> Seen | None:
    """Return what is known of a finished mask; None when nothing is.

    The note of a mask remembers it. A mask that was made or edited by hand is measured instead.

    Args:
        mask: the mask of a photo or video, or a folder of frames.
        tiers: the values of the tiers.
    """
    if mask.is_dir():
        return read_seen(read_clip_results(mask))
    if not mask.is_file():
        return None
    note = read_note(mask)
    remembered = read_seen(note.content) if note is not None else None
    if remembered is not None and note is not None and note.untouched:
        return remembered
    try:
        measured = measure(read_grey(mask), tiers).coverage
    except InputError:
        return None
    if remembered is None:
        return Seen(measured, people=None, faces=None)
    # Edited by hand: the photo is the same, and a cut head and what was in front of a body have been looked at.
    return replace(remembered, coverage=measured, cut_heads=None, in_front=None)


def coverage_table(seen: Sequence[Seen], tiers: TierTable) -> Table:
    """Return how much of the photos each tier is, and how much of what is learned: means over all items."""
    means = mean_coverage(seen)
    weight = sum(means[tier] * tiers.weight(tier) for tier in TIERS)
    rows = []
    for tier in TIERS:
        own = tiers.weight(tier)
        learned = f"{means[tier] * own / weight:.1%}" if weight else ""
        rows.append((tier.value, str(tiers.value(tier)), f"{own:.3f}", f"{means[tier]:.1%}", learned))
    columns = ("Tier", "Value", "Weight", "Of the photos", "Of what is learned")
    footer = (counted(len(seen), "item"), "", f"{weight:.3f}", "100.0%", "100.0%" if weight else "")
    return Table("", columns, tuple(rows), footer)


def mean_coverage(seen: Sequence[Seen]) -> dict[WeightTier, float]:
    """Return the mean share of each tier, 0..1."""
    return {tier: sum(item.coverage[tier] for item in seen) / max(1, len(seen)) for tier in TIERS}


def told_shares(shares: Mapping[WeightTier, float]) -> dict[str, float]:
    """Return shares by the name of their tier, as notes and JSON hold them: to ten pixels of a megapixel."""
    return {tier.value: round(share, 5) for tier, share in shares.items()}


def warnings_about(seen: Mapping[str, Seen], *, sheet: Path | None) -> list[Problem]:
    """Name the items with an empty mask, body of nobody, no person, no face, several people, a thing before a body.

    Args:
        seen: of the items.
        sheet: the contact sheet where they can be looked at; None where there is none.
    """
    look = f"look at them in `{sheet}`" if sheet else "look at them in a contact sheet (`--sheet sheet.html`)"
    groups = (
        (
            "empty mask",
            "empty mask",
            "",
            "nothing would be learned from these; leave them out, or paint the masks (`--retouch`)",
        ),
        (
            NOBODY,
            "item",
            f" with {NOBODY}",
            f"{look}: leave out what is a thing, or erase its mask (`--retouch`); a person from behind may stay",
        ),
        ("no person", "item", " in which no person was found", look),
        ("no face", "item", " in which no face was found", look),
        (
            SEVERAL_PEOPLE,
            "item",
            " with several people",
            "all of them are learned like the subject, unless `blissmask instance` and `apply` take the "
            "others out, or you erase them (`--retouch`)",
        ),
        (
            IN_FRONT,
            "item",
            " with something in front of the body, perhaps",
            f"{look}: where a thing lies inside the outline of the person, erase it (`--retouch`)",
        ),
    )
    problems = []
    for remark, noun, condition, fix in groups:
        names = [key for key, item in seen.items() if remark in item.remarks]
        if remark == "no person":
            # Where nobody is found the mask is empty, too, which says it all.
            names = [key for key in names if seen[key].covered]
        if names:
            places = [f"{key}: {_covered_text(seen[key])}" for key in names] if remark == NOBODY else names
            problems.append(Problem(counted(len(names), noun) + condition, places_of(places), fix))
    return problems


def _covered_text(seen: Seen) -> str:
    """Return how much a mask covers: "30% of the picture is covered", below 1% with a decimal."""
    share = f"{seen.covered:.0%}" if seen.covered >= 0.01 else f"{seen.covered:.1%}"
    return f"{share} of the picture is covered"


def look_remarks(photos: Mapping[Path, Seen]) -> list[Remark]:
    """Return remarks about photos that lie on their side, and those that are there twice.

    Args:
        photos: each once, though it may have a mask for each of several data sets.
    """
    of_side = [side_remark(path) for path, seen in photos.items() if seen.on_its_side]
    return [*of_side, *copy_remarks(list(map(ShortPath.of, photos)), [seen.likeness for seen in photos.values()])]


def measures_of(seen: Seen) -> tuple[Measure, ...]:
    """Return the line of a contact sheet: "face 12.0% · hair 5.0% · body 40.0%", and how many people there are."""
    measures = []
    for tier, share in seen.coverage.items():
        if tier is not WeightTier.BACKGROUND:
            measures.append(Measure(f"{tier.value} {share:.1%}", tier.value, share))
    if seen.people is not None:
        measures.append(Measure(counted(seen.people, "person", "people"), "people", seen.people))
    return tuple(measures)
