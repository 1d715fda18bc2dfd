"""Cores that no photo needs help with the parts of one, and no more than were granted."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from blissmask.config.sections.mask_sections import MasksSection
from blissmask.media.image import read_image
from blissmask.parsing import embedded
from blissmask.vision import cores, scene

PHOTOS = Path(__file__).parents[2] / "photos"


PATIENCE = 300.0
"""Most seconds that a part waits for threads to come: only threads that never come take longer."""
_FOR_MORE = 0.02
"""Seconds that a part takes once all threads are there, so that one too many would take up a part as well."""


def threads_used(expected: int, parts: int = 8) -> int:
    """Return how many threads work on the parts of one photo; parts end when ``expected`` threads are there."""
    used: set[int] = set()
    are_there = threading.Event()

    def work(_: int) -> None:
        used.add(threading.get_ident())
        if len(used) >= expected:
            are_there.set()
        are_there.wait(PATIENCE)
        time.sleep(_FOR_MORE)

    cores.side_by_side(work, range(parts))
    return len(used)


def test_results_come_in_the_order_of_the_items():
    last_ended = threading.Event()

    def squared(item: int) -> int:
        if item == 0:
            last_ended.wait(PATIENCE)
        if item == 4:
            last_ended.set()
        return item * item

    with cores.limited_to(4):
        assert cores.side_by_side(squared, range(5)) == [0, 1, 4, 9, 16]
        assert cores.side_by_side(str, []) == []


@pytest.mark.parametrize("granted", [1, 2, 3])
def test_one_photo_in_hand_uses_every_core_that_was_granted(granted):
    with cores.limited_to(granted), cores.occupied():
        assert threads_used(granted) == granted


def test_photos_side_by_side_leave_no_core_to_help():
    with cores.limited_to(2), cores.occupied(), cores.occupied():
        assert threads_used(1) == 1


def test_a_single_part_needs_no_help():
    with cores.limited_to(4), cores.occupied():
        assert threads_used(1, parts=1) == 1


def test_cores_are_given_back_after_an_error():
    with cores.limited_to(2), cores.occupied():
        with pytest.raises(ZeroDivisionError):
            cores.side_by_side(lambda item: 1 // item, [1, 0, 1])
        assert threads_used(2) == 2


def test_the_mask_of_a_photo_does_not_depend_on_how_many_cores_help():
    rgb_HW3 = read_image(PHOTOS / "astronaut.png").rgb_HW3
    backend = embedded.backend(MasksSection())
    seen = []
    for granted in (1, 4):
        scene._kept.clear()
        with cores.limited_to(granted), cores.occupied():
            seen.append(backend.parse([rgb_HW3])[0].labels_HW)
    np.testing.assert_array_equal(*seen)
