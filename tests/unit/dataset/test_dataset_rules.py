"""The small rules of data sets: mask sources, captions, control names."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blissmask.config.dataset_section import DatasetSection
from blissmask.dataset.captions.caption_file import caption_path
from blissmask.dataset.captions.caption_orders import order_count, orders_of, tag_orders
from blissmask.dataset.controls import match_numbered
from blissmask.dataset.item import MaskSource
from blissmask.dataset.item_keys import split_name
from blissmask.dataset.mask_source import (
    full_weight_warning,
    missing_file_warning,
    required_problem,
    resolve_mask_source,
)
from blissmask.errors import InputError


@pytest.mark.parametrize(
    ("alpha_mask", "has_alpha", "has_file", "source"),
    [
        (False, False, False, MaskSource.FULL),
        (False, False, True, MaskSource.FILE),
        (False, True, False, MaskSource.FULL),
        (False, True, True, MaskSource.FILE),
        (True, False, False, MaskSource.FULL),
        (True, False, True, MaskSource.FILE),
        (True, True, False, MaskSource.ALPHA),
        (True, True, True, MaskSource.ALPHA),
    ],
)
def test_masks_come_from_alpha_then_file_then_full_weight(alpha_mask, has_alpha, has_file, source):
    assert resolve_mask_source(alpha_mask=alpha_mask, has_alpha=has_alpha, has_file=has_file) is source


def test_missing_files_are_told_in_the_words_of_the_guide():
    assert missing_file_warning(["a.png", "b.png"], "masks").what == "2 images have no matching mask file"


def test_full_weight_is_told_in_the_words_of_the_guide():
    assert (
        full_weight_warning(["a", "b"]).what
        == "2 items had no mask (no alpha + no file). Filled with full-weight (255)"
    )


def test_a_required_mask_is_told_in_the_words_of_the_guide():
    assert (
        required_problem(["photos/a.png"], has_folder=True, takes_alpha=False).what
        == "require_mask=true but no mask found for photos/a.png"
    )


def test_captions_stand_beside_their_photo():
    assert caption_path(Path("photos/kyla.v2.png"), ".txt") == Path("photos/kyla.v2.txt")


TAGS = ", ".join(map(str, range(20)))


def test_orders_of_tags_begin_with_the_written_one_and_keep_the_first_tags():
    written, *others = tag_orders(TAGS, keep_tokens=2, count=4, seed="a")
    assert written == TAGS
    assert {order[:4] for order in others} == {"0, 1"}
    assert {tuple(sorted(order.split(", "))) for order in others} == {tuple(sorted(TAGS.split(", ")))}
    assert len({TAGS, *others}) == 4


def test_an_item_has_the_same_orders_again_and_more_of_them_begin_alike():
    four = tag_orders(TAGS, keep_tokens=0, count=4, seed="a")
    assert four == tag_orders(TAGS, keep_tokens=0, count=9, seed="a")[:4]
    assert four != tag_orders(TAGS, keep_tokens=0, count=4, seed="b")


@pytest.mark.parametrize("seed", "abcdefgh")
def test_two_tags_have_their_other_order_first(seed):
    assert tag_orders("red,  green", keep_tokens=0, count=2, seed=seed) == ["red,  green", "green, red"]


@pytest.mark.parametrize(
    ("caption", "orders"),
    [("a photo of ohwx", 1), ("red, red", 1), ("red, green", 2), ("red, red, green", 3), ("a, b, c", 6)],
)
def test_no_order_is_there_twice(caption, orders):
    found = tag_orders(caption, keep_tokens=0, count=9, seed="a")
    assert len(found) == len(set(found)) == orders


def test_commas_without_a_tag_are_no_tags():
    assert tag_orders("red, green,", keep_tokens=0, count=2, seed="a") == ["red, green,", "green, red"]


@pytest.mark.parametrize(
    ("caption", "keep_tokens", "count"),
    [("solo", 0, 1), ("solo,", 0, 1), ("red, red", 0, 1), ("red, green", 0, 2), ("red, green", 1, 1), (TAGS, 0, 64)],
)
def test_the_orders_of_a_caption_are_counted(caption, keep_tokens, count):
    assert order_count(caption, keep_tokens=keep_tokens, most=64) == count


@pytest.mark.parametrize(
    ("template", "numbers"), [("a close-up, {caption}", range(1, 4)), ("a close-up of {trigger}", range(1, 1))]
)
def test_a_zoom_has_the_orders_of_its_photo_where_its_template_holds_the_caption(template, numbers):
    section = DatasetSection(shuffle_caption=True, zoom=["face"], zoom_face_caption=template)
    assert orders_of(TAGS, section, zoom="face") == numbers
    assert orders_of(TAGS, section) == range(1, 4)


def matched(stems, names):
    return {
        key: [path.name for path in paths]
        for key, paths in match_numbered(stems, [Path(name) for name in names]).items()
    }


def test_controls_are_ordered_by_number_not_by_text():
    assert matched(["a"], ["a_10.png", "a_2.png", "a.png"]) == {"a": ["a.png", "a_2.png", "a_10.png"]}


def test_the_longest_stem_gets_the_control():
    assert matched(["kyla", "kyla_1"], ["kyla_1_0.png", "kyla_0.png"]) == {
        "kyla_1": ["kyla_1_0.png"],
        "kyla": ["kyla_0.png"],
    }


def test_controls_of_nobody_are_left_out():
    assert matched(["a"], ["b.png"]) == {}


def test_controls_without_a_number_are_refused():
    with pytest.raises(InputError, match="do not end in a number"):
        matched(["a"], ["a_left.png"])


@given(st.text(st.sampled_from("ab.é ~"), min_size=1).filter(lambda name: name not in (".", "..")))
def test_names_are_split_like_paths(name):
    assert split_name(name) == (Path(name).stem, Path(name).suffix)
