"""What the cache remembers of a photo or video comes back as it was."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blissmask.tasks.cache.planned_entries import Facts, rate_text


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        (Facts((3000, 2000), has_alpha=True), "3000x2000 alpha 1 frames"),
        (Facts((30, 20), profile="Display P3"), "30x20 1 frames in Display P3"),
        (Facts((64, 48), frame_count=12), "64x48 12 frames"),
        (Facts((1920, 1080), frame_count=121, fps=24.0), "1920x1080 121 frames at 24 fps"),
        (Facts((1920, 1080), frame_count=121, fps=23.976), "1920x1080 121 frames at 23.976 fps"),
        (Facts((64, 48), frame_count=12, fps=24.7, is_uneven=True), "64x48 12 frames at 24.7 fps, uneven"),
        (Facts((1920, 1080), frame_count=121, fps=0.0), "1920x1080 121 frames at 0 fps"),
    ],
)
def test_facts_are_read_as_they_are_written(facts, text):
    assert (str(facts), Facts.parse(text)) == (text, facts)


@given(st.floats(0, 1000))
def test_what_is_read_is_written_alike_or_every_run_would_write_it_anew(fps):
    text = str(Facts((64, 48), frame_count=12, fps=fps))
    assert str(Facts.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", "?", "0x1 1 frames", "1x1 1 frames at fps", "1x1 1 frames at -1 fps", "1x1 1 frames at inf fps"]
)
def test_what_is_no_such_text_is_none(text):
    assert Facts.parse(text) is None


@pytest.mark.parametrize(("fps", "text"), [(30.0, "30"), (30000 / 1001, "29.97"), (120.0, "120"), (0.0, "0")])
def test_rates_are_written_as_people_do(fps, text):
    assert rate_text(fps) == text
