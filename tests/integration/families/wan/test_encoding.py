"""What the Wan families encode and predict, beside the promises of all families."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from blissmask.errors import CacheError, UsageError
from blissmask.families.encoders import t5
from blissmask.families.protocol import Batch, OneFrame
from blissmask.families.wan import text_padding, tiny
from blissmask.families.wan.image_to_video import clip_features
from blissmask.families.wan.text import clean_caption
from blissmask.training.lora.layers.inject import inject_lora
from blissmask.training.lora.layers.lora import LoraShape, adapters_off
from tests.builders.families import TINY, family_of, tiny_denoiser
from tests.builders.single_files import FP32, state_of


def random_pixels(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize(
    ("caption", "cleaned"),
    [
        ("  a\n\tcat  ", "a cat"),
        ("a &amp;amp; b", "a & b"),
        ("schÃ¶n", "schön"),
        ("猫　と 犬", "猫 と 犬"),
        ("", ""),
    ],
)
def test_wan_captions_are_cleaned(caption: str, cleaned: str):
    assert clean_caption(caption) == cleaned


def test_wan_captions_are_cut_at_512_tokens_with_their_end_mark():
    encoder = family_of("wan21").load_text_encoder(TINY, **FP32)
    long, longer = encoder.encode(["x" * 600, "x" * 700])
    assert long.tensors["t5"].shape[0] == 512
    torch.testing.assert_close(long.tensors["t5"], longer.tensors["t5"])


@pytest.mark.parametrize("longest", [7, 130, 511, 512])
def test_few_rows_stand_for_zeros_up_to_512_text_rows(longest: int):
    denoiser = tiny_denoiser("wan21", "t2v")
    noisy, levels = random_pixels(2, 16, 1, 4, 4), torch.tensor([0.25, 0.75])
    texts = [random_pixels(longest, t5.TINY_WIDTH), random_pixels(3, t5.TINY_WIDTH, seed=1)]
    padded = torch.stack([torch.nn.functional.pad(text, (0, 0, 0, 512 - len(text))) for text in texts])
    with torch.no_grad():
        expected = denoiser.module(noisy, 1000 * levels, padded, return_dict=False)[0]
        found = denoiser.predict(Batch(noisy, levels, {"t5": texts}))
    torch.testing.assert_close(found, expected, rtol=0, atol=3e-6)  # one rounding of float32 is 6e-7 here


@pytest.mark.parametrize("checkpointing", [False, True])
def test_few_rows_for_all_zeros_leave_every_gradient_as_it_is(monkeypatch, checkpointing: bool):
    """Held to the base model, too: its pass, without adapters, goes through the same hook."""
    noisy, levels = random_pixels(2, 16, 1, 4, 4), torch.tensor([0.25, 0.75])
    texts = [random_pixels(130, t5.TINY_WIDTH), random_pixels(3, t5.TINY_WIDTH, seed=1)]
    gradients = []
    for folds in (False, True):
        denoiser = tiny_denoiser("wan21", "t2v")
        monkeypatch.setattr(denoiser, "folds_padding", folds)
        if checkpointing:
            denoiser.module.enable_gradient_checkpointing()
        denoiser.module.train()
        lora = inject_lora(denoiser, LoraShape(rank=2, alpha=2.0), seed=0)
        for number, (_, parameter) in enumerate(lora.named_parameters()):
            parameter.data = 0.1 * random_pixels(*parameter.shape, seed=number)
        with adapters_off(lora):
            base = denoiser.predict(Batch(noisy, levels, {"t5": texts}))
        predicted = denoiser.predict(Batch(noisy, levels, {"t5": texts}))
        ((predicted - noisy).square().mean() + (predicted - base).square().mean()).backward()
        gradients.append({name: parameter.grad for name, parameter in lora.named_parameters()})
    expected, found = gradients
    assert {"to_k", "to_v"} <= {part for name in expected if ".attn2." in name for part in name.split(".")}
    for name, gradient in expected.items():
        # Float32 without the rows left out is 3e-5 off float64, with them 2e-5; in float64 they differ by 3e-13.
        assert (found[name] - gradient).norm() < 1e-4 * gradient.norm(), name


def test_texts_of_512_rows_as_previews_give_them_are_attended_to_as_they_are():
    text = torch.zeros(1, 512, 8)
    assert text_padding.with_biases(torch.nn.Identity(), (text, text, None, None)) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_biases_count_the_missing_rows_in_the_numbers_of_the_model(dtype: torch.dtype):
    attention, text = torch.nn.Identity(), torch.zeros(1, 128, 8, dtype=dtype)
    _, _, biases, _ = text_padding.with_biases(attention, (text, text, None, None))
    assert float(biases.double().exp().sum()) == pytest.approx(512, rel=2e-4)  # rounding the log alone: 8e-3


def test_wan_image_to_video_shows_the_first_frame_then_grey():
    encoder = family_of("wan21", "i2v").load_latent_encoder(TINY, **FP32)
    pixels = random_pixels(1, 3, 9, 16, 32)
    contents = encoder.encode_item(pixels)
    shown = torch.cat([pixels[:, :, :1], torch.zeros_like(pixels[:, :, 1:])], dim=2)
    assert contents["latents_image"].shape == (1, 20, 3, 2, 4)
    assert contents["latents_image"][0, :4].amin(dim=(0, 2, 3)).tolist() == [1.0, 0.0, 0.0]
    assert contents["latents_image"][0, :4].amax(dim=(0, 2, 3)).tolist() == [1.0, 0.0, 0.0]
    torch.testing.assert_close(contents["latents_image"][:, 4:], encoder.encode(shown))
    assert contents["clip"].shape == (1, 5, tiny.CLIP_WIDTH)


def test_wan22_image_to_video_has_no_clip():
    encoder = family_of("wan22", "i2v").load_latent_encoder(TINY, **FP32)
    assert encoder.encode_item(random_pixels(1, 3, 1, 16, 16)).keys() == {"latents", "latents_image"}


def test_one_frame_item_puts_each_picture_in_the_slot_of_its_index():
    encoder = family_of("wan21", "i2v").load_latent_encoder(TINY, **FP32)
    target, first, last = (random_pixels(1, 3, 1, 16, 32, seed=seed) for seed in range(3))
    contents = encoder.encode_item(target, controls=[last, first], one_frame=OneFrame((9, 0), 5))
    assert contents["f_indices"].tolist() == [[0, 5, 9]]
    assert contents["f_indices"].dtype == torch.int32
    for slot, pixels in enumerate((first, target, last)):
        torch.testing.assert_close(contents["latents"][:, :, slot : slot + 1], encoder.encode(pixels))
    assert contents["latents_image"][0, 0, :, 0, 0].tolist() == [1.0, 0.0, 1.0]
    torch.testing.assert_close(contents["latents_image"][:, 4:, 1:2], encoder.encode(torch.zeros_like(target)))
    torch.testing.assert_close(contents["latents_image"][:, 4:, 2:], encoder.encode(last))
    assert contents["clip"].shape == (1, 2, 5, tiny.CLIP_WIDTH)


def test_one_frame_with_a_control_missing_is_refused():
    encoder = family_of("wan21", "i2v").load_latent_encoder(TINY, **FP32)
    with pytest.raises(UsageError, match="1 control pictures for 2"):
        encoder.encode_item(
            random_pixels(1, 3, 1, 16, 16), controls=[random_pixels(1, 3, 1, 16, 16)], one_frame=OneFrame((0, 2), 1)
        )


def test_one_frame_prediction_goes_by_time_indices():
    denoiser = tiny_denoiser("wan21", "i2v")
    conditioning = {
        "t5": [random_pixels(3, 32)],
        "latents_image": random_pixels(1, 20, 2, 4, 4),
        "clip": random_pixels(1, 1, 5, 80),
    }

    def predict(*indices: int) -> Tensor:
        with torch.no_grad():
            given = {**conditioning, "f_indices": torch.tensor([indices], dtype=torch.int32)}
            return denoiser.predict(Batch(random_pixels(1, 16, 2, 4, 4, seed=3), torch.tensor([0.5]), given))

    torch.testing.assert_close(predict(3, 4), predict(0, 1), rtol=1e-4, atol=1e-4)  # rotary positions are relative
    assert not torch.allclose(predict(0, 9), predict(0, 1), atol=1e-4)


def test_cache_of_another_task_is_refused_by_channel_counts():
    denoiser = tiny_denoiser("wan22", "i2v")
    with pytest.raises(CacheError, match="36 input channels, the cache gives 16"):
        denoiser.predict(Batch(random_pixels(1, 16, 1, 4, 4), torch.tensor([0.5]), {"t5": [random_pixels(3, 32)]}))


def test_wan_experts_differ_and_keep_their_boundaries():
    ranges = {task: [expert.timestep_range for expert in family_of("wan22", task).experts] for task in ("t2v", "i2v")}
    assert ranges == {"t2v": [(0.875, 1.0), (0.0, 0.875)], "i2v": [(0.9, 1.0), (0.0, 0.9)]}
    high, low = (tiny_denoiser("wan22", "t2v", expert=number) for number in (0, 1))
    assert not torch.equal(high.module.proj_out.weight, low.module.proj_out.weight)
    assert high.identity != low.identity


def test_5b_shows_the_first_frame_clean_and_learns_nothing_from_it():
    denoiser = tiny_denoiser("wan22-5b", "i2v")
    clean, noise = random_pixels(1, 48, 3, 4, 4), random_pixels(1, 48, 3, 4, 4, seed=1)
    noisy = 0.7 * clean + 0.3 * noise
    conditioning = {"t5": [random_pixels(3, 32)], "latents_image": clean[:, :, :1]}
    with torch.no_grad():
        velocity = denoiser.predict(Batch(noisy, torch.tensor([0.3]), conditioning))
        tokens = torch.tensor([0.0] * 4 + [300.0] * 8)[None]
        shown = torch.cat([clean[:, :, :1], noisy[:, :, 1:]], dim=2)
        text = torch.nn.functional.pad(conditioning["t5"][0][None], (0, 0, 0, 509))
        expected = denoiser.module(shown, tokens, text, return_dict=False)[0]
    torch.testing.assert_close(velocity[:, :, :1], (noise - clean)[:, :, :1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(velocity[:, :, 1:], expected[:, :, 1:], rtol=1e-4, atol=1e-5)


def test_clip_squeezes_the_whole_picture():
    model, _ = state_of(tiny.clip)
    wide = random_pixels(1, 3, 28, 56)
    cropped = wide.clone()
    cropped[..., :4] = 0
    assert not torch.allclose(clip_features(model, wide), clip_features(model, cropped))


@pytest.mark.parametrize("frames", [1, 5])
@pytest.mark.parametrize(("name", "make"), [("wan21", tiny.vae), ("wan22-5b", tiny.vae_5b)])
def test_encoding_equals_plain_diffusers(name: str, make, frames: int):
    family = family_of(name)
    pixels = random_pixels(1, 3, frames, 2 * family.latent.grid_multiple, 3 * family.latent.grid_multiple)
    plain, _ = state_of(make)
    with torch.inference_mode():
        expected = plain.encode(pixels).latent_dist.mode()
    mean, std = (
        torch.tensor(values).view(1, -1, 1, 1, 1) for values in (plain.config.latents_mean, plain.config.latents_std)
    )
    vae, _ = state_of(make)
    found = family.task.methods().vae(vae, family.latent).encode(pixels)
    torch.testing.assert_close(found, (expected - mean) / std, rtol=0, atol=1e-5)
