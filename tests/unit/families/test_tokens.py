"""Latents as tokens: their order, the way back, and the places of tokens."""

import torch

from blissmask.families.denoisers.tokens import pack, places, unpack


def counted_latents():
    return torch.arange(2 * 16 * 4 * 6, dtype=torch.float32).reshape(2, 16, 1, 4, 6)


def test_a_token_of_a_patch_holds_its_cells_channel_by_channel():
    tokens = pack(counted_latents(), 2)
    assert tokens.shape == (2, 6, 64)
    assert tokens[0, 0, :4].tolist() == [0.0, 1.0, 6.0, 7.0]
    assert torch.equal(unpack(tokens, 4, 6, 2), counted_latents())


def test_a_token_of_one_cell_holds_its_channels():
    latents = counted_latents()
    tokens = pack(latents)
    assert torch.equal(tokens[1, 7], latents[1, :, 0, 1, 1])
    assert torch.equal(unpack(tokens, 4, 6), latents)


def test_tokens_of_other_pictures_are_left_out():
    tokens = torch.cat([pack(counted_latents(), 2), torch.full((2, 3, 64), -1.0)], dim=1)
    assert torch.equal(unpack(tokens, 4, 6, 2), counted_latents())


def test_places_go_row_by_row_from_a_given_time():
    expected = [[5, 0, 0], [5, 0, 1], [5, 1, 0], [5, 1, 1], [5, 2, 0], [5, 2, 1]]
    assert places(1, 3, 2, device=torch.device("cpu"), time=5).tolist() == expected
