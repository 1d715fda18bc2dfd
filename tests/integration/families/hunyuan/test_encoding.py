"""What HunyuanVideo encodes, beside the promises of all families."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from blissmask.families.encoders import llama
from blissmask.families.vae import hunyuan
from tests.builders.families import TINY, family_of
from tests.builders.single_files import FP32, state_of


def test_hunyuan_rows_past_the_caption_are_zero_and_masked():
    encoder = family_of("hunyuan-video").load_text_encoder(TINY, **FP32)
    (text,) = encoder.encode(["hello"])
    rows = int(text.tensors["llm_mask"].sum())
    assert text.tensors["llm"].shape == (256, llama.TINY_WIDTH)
    assert rows == len("hello") + 1
    assert text.tensors["llm"][rows:].abs().max() == 0
    assert text.tensors["llm"][:rows].abs().amax(dim=1).min() > 0


@pytest.mark.parametrize("frames", [1, 5])
def test_encoding_equals_plain_diffusers(frames: int):
    latent = family_of("hunyuan-video").latent
    pixels = random_pixels(1, 3, frames, 2 * latent.grid_multiple, 3 * latent.grid_multiple)
    plain, _ = state_of(hunyuan.tiny)
    with torch.inference_mode():
        expected = plain.encode(pixels).latent_dist.mode()
    vae, _ = state_of(hunyuan.tiny)
    found = family_of("hunyuan-video").task.methods().vae(vae, latent).encode(pixels)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def random_pixels(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1
