"""What Qwen-Image and its Edit models encode and predict, beside the promises of all families."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from blissmask.errors import CacheError, UsageError
from blissmask.families.encoders import qwen_vl
from blissmask.families.files.miniature import byte_tokenizer
from blissmask.families.protocol import Batch
from blissmask.families.qwen import tiny
from blissmask.families.qwen.templates import EDIT_PLUS, SPECIALS
from blissmask.families.qwen.text import QwenTextEncoder
from blissmask.families.qwen.vision import condition_size, vision_patches
from tests.builders.families import TINY, family_of, tiny_denoiser
from tests.builders.single_files import FP32, state_of


def random_pixels(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_qwen_edit_without_controls_is_refused_at_both_ends():
    encoder = family_of("qwen-image-edit").load_latent_encoder(TINY, **FP32)
    with pytest.raises(UsageError, match="control picture"):
        encoder.encode_item(random_pixels(1, 3, 1, 16, 16))
    denoiser = tiny_denoiser("qwen-image-edit", "edit-2509")
    with pytest.raises(CacheError, match="control pictures"):
        denoiser.predict(
            Batch(random_pixels(1, 16, 1, 4, 4), torch.tensor([0.5]), {"vl_embed": [random_pixels(3, 128)]})
        )
    text = family_of("qwen-image-edit").load_text_encoder(TINY, **FP32)
    with pytest.raises(UsageError, match="control picture"):
        text.encode(["a cat"])


def test_qwen_edit_controls_of_mixed_sizes_in_one_batch_are_refused():
    denoiser = tiny_denoiser("qwen-image-edit", "edit")
    conditioning = {
        "vl_embed": [random_pixels(3, 128)] * 2,
        "latents_control_0": [random_pixels(16, 1, 4, 4), random_pixels(16, 1, 4, 6)],
    }
    with pytest.raises(CacheError, match="different sizes"):
        denoiser.predict(Batch(random_pixels(2, 16, 1, 4, 4), torch.tensor([0.5, 0.5]), conditioning))


def test_vision_patches_equal_those_of_transformers():
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    width, height = 448, 224
    levels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    expected = Qwen2VLImageProcessorPil()(images=[levels], return_tensors="pt", input_data_format="channels_last")
    picture = torch.from_numpy(levels).permute(2, 0, 1).float() / 127.5 - 1
    patches, grid = vision_patches(picture, width * height)
    assert torch.equal(grid, expected["image_grid_thw"])
    torch.testing.assert_close(patches, expected["pixel_values"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1920, 1080), (504, 280)), ((1080, 1920), (280, 504)), ((1024, 1024), (392, 392)), ((4000, 1000), (756, 196))],
)
def test_condition_pictures_keep_their_shape_at_about_the_area(size: tuple[int, int], expected: tuple[int, int]):
    assert condition_size(*size, 384 * 384) == expected


def test_edit_captions_see_their_pictures_at_three_dimensional_positions():
    model, _ = state_of(qwen_vl.tiny)
    template = dataclasses.replace(EDIT_PLUS, picture_area=112 * 112)
    encoder = QwenTextEncoder(model, byte_tokenizer(specials=SPECIALS, end=False), template=template, identity="x")
    pictures = [random_pixels(3, 40, 60), random_pixels(3, 60, 40, seed=1)]
    seen: dict[str, Tensor] = {}
    handle = model.language_model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.update(positions=kwargs["position_ids"]), with_kwargs=True
    )
    (text,) = encoder.encode(["hello"], [pictures])
    handle.remove()
    positions = seen["positions"][-3:, 0]
    assert not torch.equal(positions[0], positions[1]), "rows of a picture have positions of their own"
    (other,) = encoder.encode(["hello"], [pictures[::-1]])
    assert not torch.allclose(text.tensors["vl_embed"], other.tensors["vl_embed"])


@pytest.mark.parametrize("frames", [1, 5])
def test_encoding_equals_plain_diffusers(frames: int):
    latent = family_of("qwen-image").latent
    pixels = random_pixels(1, 3, frames, 2 * latent.grid_multiple, 3 * latent.grid_multiple)
    plain, _ = state_of(tiny.vae)
    with torch.inference_mode():
        expected = plain.encode(pixels).latent_dist.mode()
    mean, std = (
        torch.tensor(values).view(1, -1, 1, 1, 1) for values in (plain.config.latents_mean, plain.config.latents_std)
    )
    expected = (expected - mean) / std
    vae, _ = state_of(tiny.vae)
    found = family_of("qwen-image").task.methods().vae(vae, latent).encode(pixels)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
