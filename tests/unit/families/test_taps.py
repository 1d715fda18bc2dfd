"""States between the layers of a decoder, as several families read them."""

import pytest
import torch

from blissmask.families.encoders import qwen3
from blissmask.families.encoders.taps import cut_after, tapped_rows, tapped_states
from blissmask.families.encoders.text_batches import padded_ids
from tests.builders.families import CPU
from tests.builders.single_files import state_of

TOKENS = {"a": [5, 6, 7, 8, 9], "b": [11, 12], "c": [13]}
TAPS = (0, 1, 3)


def whole_states(ids):
    """Return every state of one caption alone, (L, D) each, as transformers gives them."""
    decoder, _ = state_of(qwen3.tiny)
    with torch.inference_mode():
        return [state[0] for state in decoder(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states]


@pytest.mark.parametrize("cut", [False, True])
def test_rows_are_the_states_of_each_caption_alone_at_every_tap(cut):
    decoder, _ = state_of(qwen3.tiny)
    if cut:
        cut_after(decoder, TAPS[-1])
        assert len(decoder.layers) == TAPS[-1]
    with torch.inference_mode():
        rows = tapped_rows(decoder, TOKENS, TAPS)
    for caption, ids in TOKENS.items():
        states = whole_states(ids)
        expected_LTD = torch.stack([states[tap] for tap in TAPS], dim=1)
        torch.testing.assert_close(rows[caption], expected_LTD, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(rows["a"][:, 1], rows["a"][:, 2])


def test_states_of_padding_are_those_of_the_padding_token_behind_the_caption():
    decoder, _ = state_of(qwen3.tiny)
    ids_BL, mask_BL = padded_ids([TOKENS["a"], TOKENS["b"]], CPU, pad_id=1, length=7)
    assert ids_BL.tolist() == [[5, 6, 7, 8, 9, 1, 1], [11, 12, 1, 1, 1, 1, 1]]
    assert mask_BL.sum(dim=1).tolist() == [5, 2]
    other_BL, _ = padded_ids([TOKENS["a"], TOKENS["b"]], CPU, length=7)
    with torch.inference_mode():
        states, others = (tapped_states(decoder, ids, mask_BL, (2,)) for ids in (ids_BL, other_BL))
    assert states.shape == (2, 7, 1, qwen3.TINY_WIDTH)
    torch.testing.assert_close(states[0, :5], others[0, :5], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(states[0, 5:], others[0, 5:])
