"""parsing/labelsets.py and class_tiers.py: classes get their tier by name, never by number."""

import pytest

from blissmask.errors import ModelError
from blissmask.masks.tiers import WeightTier
from blissmask.parsing.class_tiers import mapped, tiers_by_name
from blissmask.parsing.labelsets import (
    ATR,
    CELEBAMASK,
    CIHP,
    FASHN,
    LABEL_SETS,
    LIP,
    PASCAL,
    SAPIENS,
    SAPIENS2,
    known_tiers,
    plain,
)

FACE, BODY, HAIR, BACKGROUND = WeightTier.FACE, WeightTier.BODY, WeightTier.HAIR, WeightTier.BACKGROUND


def having(table, tier):
    return {name for name, given in table.items() if given is tier}


@pytest.mark.parametrize(
    ("table", "count"),
    [(SAPIENS, 28), (SAPIENS2, 29), (ATR, 18), (LIP, 20), (CIHP, 20), (PASCAL, 7), (CELEBAMASK, 19), (FASHN, 18)],
)
def test_sets_have_as_many_classes_as_published(table, count):
    assert len(table) == count
    assert having(table, BACKGROUND) == {next(iter(table))}


def test_sapiens_faces_hold_neck_lips_teeth_and_tongue():
    assert having(SAPIENS, FACE) == {"Face_Neck", "Lower_Lip", "Upper_Lip", "Lower_Teeth", "Upper_Teeth", "Tongue"}
    assert having(SAPIENS, HAIR) == {"Hair"}
    assert [list(SAPIENS).index(name) for name in ("Face_Neck", "Hair", "Torso", "Upper_Clothing", "Tongue")] == [
        2,
        3,
        21,
        22,
        27,
    ]


def test_sapiens2_numbers_are_one_more_from_eyeglass_on_and_names_keep_their_tier():
    old, new = list(SAPIENS), list(SAPIENS2)
    assert new == [*old[:2], "Eyeglass", *old[2:]]
    assert SAPIENS2 == {**SAPIENS, "Eyeglass": FACE}


def test_necklace_and_earring_are_worn_but_ear_and_glasses_are_face():
    assert {CELEBAMASK[name] for name in ("neck_l", "ear_r", "neck", "hat", "cloth")} == {BODY}
    assert {CELEBAMASK[name] for name in ("l_ear", "r_ear", "eye_g", "skin")} == {FACE}


def test_cihp_is_lip_with_the_skin_of_the_torso_at_ten():
    assert list(LIP)[10] == "Jumpsuits"
    assert [name if number != 10 else "Torso-skin" for number, name in enumerate(LIP)] == list(CIHP)


def test_no_two_sets_give_one_name_different_tiers():
    known = known_tiers()
    for table in LABEL_SETS.values():
        assert {plain(name): tier for name, tier in table.items()} == {
            plain(name): known[plain(name)] for name in table
        }


def test_names_are_found_whatever_their_spelling():
    tiers = tiers_by_name(["background", "upper_clothes", "LEFT SHOE", "Hair"], [], where="model")
    assert list(tiers.values()) == [BACKGROUND, BODY, BODY, HAIR]


def test_map_wins_over_the_known_tables():
    assert tiers_by_name(["Background", "Hat"], ["Hat=hair"], where="model")["Hat"] is HAIR


def test_unmapped_class_prints_the_table_and_what_to_write():
    with pytest.raises(ModelError) as refusal:
        tiers_by_name(["background", "road", "Face", "sky dome"], ["road=background"], where="folder")
    problem = refusal.value.problems[0]
    assert problem.what == "1 of 4 classes of the model has no known tier"
    assert problem.where == (
        "folder",
        "  0  background  background",
        "  1  road        background",
        "  2  Face        face",
        "  3  sky dome    ?",
    )
    assert "--map 'sky dome=background'" in problem.fix


def test_classes_of_one_name_are_refused():
    with pytest.raises(ModelError, match="alike: Hair"):
        tiers_by_name(["Background", "Hair", "Hair"], [], where="model")


def test_more_classes_than_labels_can_hold_are_refused():
    with pytest.raises(ModelError, match="this one has 300"):
        tiers_by_name([f"class {number}" for number in range(300)], [], where="model")


def test_malformed_maps_are_left_to_the_task():
    assert mapped(["straw hat=hair", "hat", "=face", "hat=nose"]) == {"straw hat": HAIR}
