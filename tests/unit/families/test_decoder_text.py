"""Captions as the states of a decoder, as its reading wants them."""

import pytest
import torch

from blissmask.families.encoders import qwen3
from blissmask.families.encoders.captions import CaptionTemplate, TextReading
from blissmask.families.encoders.decoder_text import DecoderTextEncoder
from blissmask.families.files.miniature import byte_tokenizer
from tests.builders.single_files import state_of

HEAD = "Say: "
CAPTIONS = ["a cat", "a very long cat"]


def encoded(*, head=HEAD, **reading):
    """Return the tensors of both captions, and the whole decoder's states of their tokens, a list for each caption."""
    tokenizer = byte_tokenizer(end=False)
    template = CaptionTemplate(tokens=12, head=head, counts_head=True, marks=False)
    made = TextReading(content="rows", captions=template, **reading)
    encoder = DecoderTextEncoder(state_of(qwen3.tiny)[0], tokenizer, reading=made, identity="x")
    texts = encoder.encode(CAPTIONS)
    whole, _ = state_of(qwen3.tiny)
    with torch.inference_mode():
        states = [
            whole(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
            for ids in template.token_ids(tokenizer, CAPTIONS).values()
        ]
    return [text.tensors["rows"] for text in texts], states


@pytest.mark.parametrize(("tap", "layers"), [(1, 1), (-2, 3), (-3, 2)])
def test_the_rows_of_a_caption_are_the_states_after_a_layer_without_those_of_the_head(tap, layers):
    found, states = encoded(taps=(tap,))
    for rows_LD, of_caption in zip(found, states, strict=True):
        torch.testing.assert_close(rows_LD, of_caption[layers][0, len(HEAD) :], rtol=1e-5, atol=1e-5)


def test_states_of_several_layers_stand_side_by_side_or_in_a_table():
    side_by_side, states = encoded(taps=(1, 3), keeps_head=True)
    tables, _ = encoded(taps=(1, 3), keeps_head=True, joined=False)
    for rows_LD, table_LTD, of_caption in zip(side_by_side, tables, states, strict=True):
        assert torch.equal(rows_LD, table_LTD.flatten(1))
        torch.testing.assert_close(
            table_LTD, torch.stack([of_caption[1][0], of_caption[3][0]], 1), rtol=1e-5, atol=1e-5
        )


def test_padded_texts_have_all_the_rows_that_are_read():
    padded, _ = encoded(taps=(2,), head="", padded=True)
    alone, _ = encoded(taps=(2,), head="")
    assert [len(rows) for rows in padded] == [12, 12]
    assert [len(rows) for rows in alone] == [5, 12]
    torch.testing.assert_close(padded[0][:5], alone[0], rtol=1e-5, atol=1e-5)
    assert padded[0][5:].abs().sum(dim=1).min() > 0
