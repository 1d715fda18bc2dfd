"""What is done about empty masks is part of an entry only where it changes the entry."""

import pytest

from blissmask.cachefile.fingerprint import Sameness
from blissmask.cachefile.metadata import OUR_FORMAT
from blissmask.cachefile.redo import Redo, Wanted, decide

FRESH = (Redo.NOTHING, "already fresh")
RENEWED = (Redo.MASK, "empty mask changed")


def decided(recorded, wanted, mean_weight):
    """Return what is done with an entry that says ``recorded`` where ``wanted`` is meant."""
    found = {"blissmask.format": OUR_FORMAT, "blissmask.empty_mask": recorded, "blissmask.mean_weight": mean_weight}
    return decide(found, Wanted({}, {"empty_mask": wanted}, {}), media=Sameness.SAME, mask=Sameness.SAME)


@pytest.mark.parametrize(
    ("recorded", "wanted", "mean_weight", "done"),
    [
        ("", "full", "0.000000", RENEWED),
        ("", "full", "0.400000", FRESH),
        ("", "full", "1.000000", FRESH),
        ("", "", "0.000000", FRESH),
        ("full", "", "1.000000", RENEWED),
        ("full", "", "0.400000", FRESH),
        ("full", "full", "1.000000", FRESH),
        ("full", "", "", RENEWED),
        ("", "full", "?", RENEWED),
    ],
)
def test_filling_empty_masks_renews_those_that_it_changes(recorded, wanted, mean_weight, done):
    assert decided(recorded, wanted, mean_weight) == done
