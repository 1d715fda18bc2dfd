"""What HunyuanVideo 1.5 encodes and predicts, beside the promises of all families."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from blissmask.families.hunyuan15.text import glyph_text
from blissmask.families.protocol import Batch
from blissmask.families.vae import hunyuan
from tests.builders.families import family_of, tiny_denoiser
from tests.builders.single_files import state_of


def random_pixels(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize(
    ("caption", "glyphs"),
    [
        ('a sign says "OPEN"', 'Text "OPEN". '),
        ("“eins” and “zwei” and “eins”", 'Text "eins". Text "zwei". '),
        ("nothing", ""),
        ('"', ""),
    ],
)
def test_quoted_words_are_spelt_for_byt5(caption: str, glyphs: str):
    assert glyph_text(caption) == glyphs


def test_hunyuan_15_condition_is_scaled_like_the_latents():
    family, denoiser = family_of("hunyuan-video-15"), tiny_denoiser("hunyuan-video-15", "i2v")
    seen: dict[str, Tensor] = {}
    denoiser.module.register_forward_pre_hook(lambda module, args, kwargs: seen.update(kwargs), with_kwargs=True)
    image = random_pixels(1, 33, 2, 2, 2)
    text = {"vl_embed": [random_pixels(3, 128)], "byt5_embed": [torch.zeros(0, 32)]}
    with torch.no_grad():
        denoiser.predict(
            Batch(
                random_pixels(1, 32, 2, 2, 2),
                torch.tensor([0.5]),
                {**text, "latents_image": image, "siglip": random_pixels(1, 4, 72)},
            )
        )
    torch.testing.assert_close(seen["hidden_states"][:, 32:64], image[:, :32] * family.latent.train_scale)
    torch.testing.assert_close(seen["hidden_states"][:, 64:], image[:, 32:])


@pytest.mark.parametrize("frames", [1, 5])
def test_encoding_equals_plain_diffusers(frames: int):
    latent = family_of("hunyuan-video-15").latent
    pixels = random_pixels(1, 3, frames, 2 * latent.grid_multiple, 3 * latent.grid_multiple)
    plain, _ = state_of(hunyuan.tiny_15)
    with torch.inference_mode():
        expected = plain.encode(pixels).latent_dist.mode()
    vae, _ = state_of(hunyuan.tiny_15)
    found = family_of("hunyuan-video-15").task.methods().vae(vae, latent).encode(pixels)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
