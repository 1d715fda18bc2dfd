"""Where the mask of an item comes from, and what is said where there is none."""

import pytest

from blissmask.dataset.item import MaskSource
from blissmask.dataset.mask_source import (
    full_weight_warning,
    missing_file_warning,
    required_problem,
    resolve_mask_source,
)


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
