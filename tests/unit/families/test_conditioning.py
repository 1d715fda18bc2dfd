"""Cached text rows become padded batches, whatever a row is."""

import pytest
import torch

from blissmask.families.denoisers.conditioning import padded_rows


@pytest.mark.parametrize("row", [(4,), (3, 4)], ids=["vectors", "layers of vectors"])
def test_text_rows_are_padded_with_zeros_to_the_longest_caption(row):
    short, long = torch.rand(2, *row), torch.rand(5, *row)
    padded, mask = padded_rows([short, long], torch.device("cpu"), torch.float32)
    assert torch.equal(padded[0, :2], short)
    assert torch.equal(padded[1], long)
    assert not padded[0, 2:].any()
    assert mask.tolist() == [[True, True, False, False, False], [True] * 5]
