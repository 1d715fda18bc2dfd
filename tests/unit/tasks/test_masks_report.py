"""What `masks` says of the photos: how much is learned of each tier, and which items need a look."""

from __future__ import annotations

from dataclasses import replace

from blissmask.masks.tiers import TierTable, WeightTier
from blissmask.tasks.masks.report import NOBODY, Seen, coverage_table, warnings_about

TIERS = TierTable()


def seen(*, face: float = 0.0, body: float = 0.0, people: int = 1, limbs: int | None = None) -> Seen:
    shares = {WeightTier.FACE: face, WeightTier.BODY: body, WeightTier.HAIR: 0.0}
    return Seen({**shares, WeightTier.BACKGROUND: 1 - face - body}, people=people, faces=people, limbs=limbs)


def test_a_tier_is_told_with_its_share_of_the_photos_and_of_what_is_learned():
    table = coverage_table([seen(face=0.1, body=0.3), seen(face=0.1, body=0.1)], TIERS)
    assert [row[3] for row in table.rows] == ["10.0%", "20.0%", "0.0%", "70.0%"]
    # Faces count 255, bodies 128: 0.1 of 0.1 + 0.2 * 128/255.
    assert [row[4] for row in table.rows] == ["49.9%", "50.1%", "0.0%", "0.0%"]
    assert table.footer == ("2 items", "", "0.200", "100.0%", "100.0%")


def test_where_nothing_is_learned_there_are_no_shares_of_it():
    table = coverage_table([seen(people=0)], TIERS)
    assert {row[4] for row in (*table.rows, table.footer)} == {""}


def test_of_masks_that_are_alike_the_one_that_covers_least_comes_first():
    small, large = seen(face=0.1).badness, seen(face=0.1, body=0.3).badness
    assert small.worst_first < large.worst_first
    assert seen(face=0.1, people=2).badness.worst_first < small.worst_first


def test_an_item_without_a_person_is_named_once():
    items = {"cup": seen(people=0), "statue": seen(body=0.2, people=0)}
    named = {problem.what: problem.where for problem in warnings_about(items, sheet=None)}
    assert named == {"1 empty mask": ("cup",), "1 item in which no person was found": ("statue",)}


def test_body_without_a_face_and_limbs_is_told_with_its_share_and_comes_first():
    """A cup whose rim the networks take for shoulders would be learned; an empty mask is left out."""
    cup = replace(seen(body=0.3, limbs=0), faces=0)
    nobody = seen(body=0.3, people=0, limbs=0)
    assert cup.remarks == nobody.remarks == (NOBODY,)
    empty = seen(people=0, limbs=0)
    assert cup.badness.worst_first < empty.badness.worst_first
    (told,) = warnings_about({"cup": cup}, sheet=None)
    assert (told.what, told.where) == (
        "1 item with body, but nobody's face or limbs",
        ("cup: 30% of the picture is covered",),
    )
    (told,) = warnings_about({"cup": replace(seen(body=0.004, limbs=0), faces=0)}, sheet=None)
    assert told.where == ("cup: 0.4% of the picture is covered",)


def test_people_from_behind_who_show_a_limb_are_without_a_face_alone():
    assert replace(seen(body=0.3, limbs=1), faces=0).remarks == ("no face",)
    assert seen(face=0.1, body=0.3, limbs=0).remarks == ()
