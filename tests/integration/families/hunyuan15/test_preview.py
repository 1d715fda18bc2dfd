"""Previews of HunyuanVideo 1.5, beside the promises of all families."""

import torch

from blissmask.families.protocol import Batch
from tests.builders.tiny_previews import first_pass, tiny_preview, trained_conditioning


def test_text_without_quotes_is_drawn_where_letters_have_an_encoder_of_their_own():
    made = tiny_preview("hunyuan-video-15", "t2v", frame_count=1, text="a cat")
    assert len(made.prompt.text["byt5_embed"]) == 0
    level, noisy, prediction = first_pass(made)
    with torch.no_grad():
        ours = made.denoisers[""].predict(Batch(noisy, torch.tensor([level]), trained_conditioning(made)))
    torch.testing.assert_close(prediction, ours, atol=2e-3, rtol=0)
