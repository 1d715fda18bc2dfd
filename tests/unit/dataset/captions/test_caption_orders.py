"""Captions in other orders: as many as the tags have, no two alike, the same for an item every time."""

import pytest

from blissmask.config.sections.dataset_section import DatasetSection
from blissmask.dataset.captions.caption_orders import order_count, orders_of, tag_orders

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
