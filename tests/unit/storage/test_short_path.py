"""Paths in short: equal to what they were made of, and small, since plans hold millions of them."""

import tracemalloc
from pathlib import Path

import pytest

from blissmask.storage.short_path import ShortPath, full, shortened
from blissmask.tasks.run.plan import Action, PlannedItem


@pytest.mark.parametrize("text", ["a.png", "photos/a.png", "/photos/a b.png", "/", ".", "..", "../a", "caf\udce9/a"])
def test_the_path_is_the_one_that_it_was_made_of(text):
    assert ShortPath.of(Path(text)).path == Path(text)


def test_none_stays_none():
    assert full(shortened(None)) is None


def test_a_line_of_a_plan_with_its_files_takes_little_memory():
    """A million items are planned in 1 GB."""
    count = 500
    tracemalloc.start()
    held = [
        PlannedItem(
            f"IMG_{number:07}",
            Action.WRITE,
            "96x64",
            (Path(f"/data/photos/IMG_{number:07}.jpg"), Path(f"/data/masks/IMG_{number:07}.png")),
            Path(f"/data/final/IMG_{number:07}.png"),
            states=bytes(24),
        )
        for number in range(count)
    ]
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(held) == count
    assert size / count < 600
