"""What HunyuanVideo encodes, beside the promises of all families."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from blissmask.errors import CacheError
from blissmask.families.encoders import llama
from blissmask.families.protocol import Batch
from blissmask.families.vae import hunyuan
from tests.builders.families import TINY, family_of, tiny_denoiser
from tests.builders.single_files import FP32, state_of


def test_hunyuan_rows_past_the_caption_are_zero_and_masked():
    encoder = family_of("hunyuan-video").load_text_encoder(TINY, **FP32)
    (text,) = encoder.encode(["hello"])
    rows = int(text.tensors["llm_mask"].sum())
    assert text.tensors["llm"].shape == (256, llama.TINY_WIDTH)
    assert rows == len("hello") + 1
    assert text.tensors["llm"][rows:].abs().max() == 0
    assert text.tensors["llm"][:rows].abs().amax(dim=1).min() > 0


def test_rows_that_no_caption_fills_are_left_out_of_the_prediction():
    denoiser = tiny_denoiser("hunyuan-video", "t2v")
    texts = family_of("hunyuan-video").load_text_encoder(TINY, **FP32).encode(["hello", "a man"])
    text = {name: torch.stack([one.tensors[name] for one in texts]) for name in ("llm", "llm_mask", "clipL")}
    batch = Batch(random_pixels(2, 16, 1, 4, 4), torch.tensor([0.25, 0.75]), text)
    guidance = torch.full((2,), 1000 * denoiser.guidance_scale) if denoiser.module.config.guidance_embeds else None
    with torch.no_grad():
        expected = denoiser.module(
            batch.noisy_BCFHW,
            1000 * batch.timesteps_B,
            text["llm"],
            text["llm_mask"],
            text["clipL"],
            guidance=guidance,
            return_dict=False,
        )[0]
        with rows_of_text_seen(denoiser.module) as seen:
            found = denoiser.predict(batch)
    assert seen == [len("hello") + 1]
    torch.testing.assert_close(found, expected, rtol=0, atol=3e-6)  # one rounding of float32 is 6e-7 here


def test_a_caption_without_a_row_is_an_error_of_the_cache():
    denoiser = tiny_denoiser("hunyuan-video", "t2v")
    text = {"llm": torch.zeros(1, 256, llama.TINY_WIDTH), "llm_mask": torch.zeros(1, 256), "clipL": torch.zeros(1, 768)}
    with pytest.raises(CacheError, match="no rows of text"):
        denoiser.predict(Batch(random_pixels(1, 16, 1, 4, 4), torch.tensor([0.5]), text))


@contextlib.contextmanager
def rows_of_text_seen(module: torch.nn.Module) -> Iterator[list[int]]:
    """Note how many rows of text the blocks are given."""
    seen: list[int] = []
    hook = module.context_embedder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    try:
        yield seen
    finally:
        hook.remove()


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
