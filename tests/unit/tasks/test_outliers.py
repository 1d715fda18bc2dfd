"""Items that are unlike the others, by their losses with a LoRA and without."""

from blissmask.tasks.rank_items.outliers import FEWEST, WHOLE, ItemLoss, judge, percent


def item(name, *, learned=0.3, face=0.4, base=1.0):
    return ItemLoss(
        name,
        trained={WHOLE: base * (1 - learned), "face": base * (1 - face)},
        base={WHOLE: base, "face": base},
    )


def usual(count=6):
    return [item(f"kyla{number}", learned=0.3 + number / 100, face=0.4 + number / 100) for number in range(count)]


def test_items_that_are_alike_have_no_remark_and_the_least_learned_comes_first():
    judged = judge(usual())
    assert [each.loss.name for each in judged] == [f"kyla{number}" for number in range(6)]
    assert all(each.remarks == () and each.badness == 0 for each in judged)


def test_a_face_that_is_not_learned_is_another_person_or_a_wrong_mask():
    (first, *others) = judge([*usual(), item("anne", face=0.0)])
    assert first.loss.name == "anne"
    assert first.remarks == (
        "less of the face is learned than elsewhere, 0% against 42%: another person, or a wrong mask?",
    )
    assert all(each.remarks == () for each in others)


def test_a_photo_of_another_kind_is_known_before_any_training():
    (first, *_) = judge([*usual(), item("drawing", base=2.0)])
    assert first.loss.name == "drawing"
    assert any("2.0 times their loss" in remark for remark in first.remarks)


def test_more_learned_and_less_loss_is_no_fault():
    assert all(each.remarks == () for each in judge([*usual(), item("best", learned=0.9, face=0.9, base=0.1)]))


def test_of_a_few_items_nothing_is_usual():
    assert all(each.remarks == () for each in judge([*usual(FEWEST - 2), item("anne", face=0.0)]))
    assert judge([*usual(FEWEST - 1), item("anne", face=0.0)])[0].remarks


def test_items_without_a_region_are_not_compared_in_it():
    bare = ItemLoss("bare", {WHOLE: 0.7}, {WHOLE: 1.0})
    assert bare.learned("face") is None
    assert judge([*usual(), bare])[0].remarks == ()


def test_a_little_less_than_nothing_is_no_percent():
    assert [percent(share) for share in (-0.004, 0.126, None)] == ["0%", "13%", "-"]


def test_the_worst_remark_stands_first():
    (first, *_) = judge([*usual(), item("anne", learned=0.2, face=-3.0)])
    assert first.remarks[0].startswith("less of the face")
    assert first.badness >= 3.5
