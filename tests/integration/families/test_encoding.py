"""What each family encodes and predicts, beside the promises all families share."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from blissmask.errors import BlissmaskError, CacheError, UsageError
from blissmask.families import tiny
from blissmask.families.files.model_files import ModelFiles
from blissmask.families.hunyuan.vae import HunyuanLatentEncoder
from blissmask.families.hunyuan15.text import glyph_text
from blissmask.families.protocol import Batch, OneFrame
from blissmask.families.qwen.denoiser import pack, unpack
from blissmask.families.qwen.templates import EDIT_PLUS, SPECIALS
from blissmask.families.qwen.text import QwenTextEncoder
from blissmask.families.qwen.vision import condition_size, vision_patches
from blissmask.families.registry import load_architecture
from blissmask.families.wan.clip import clip_features
from blissmask.families.wan.latents import WanLatentEncoder
from blissmask.families.wan.text import clean_caption

CPU = torch.device("cpu")
FP32 = torch.float32
TINY = ModelFiles(model="tiny")


def random_pixels(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def seeded(make):
    return tiny.seeded(make, device=CPU, dtype=FP32, name="source")


@pytest.mark.parametrize("frames", [1, 5])
@pytest.mark.parametrize(
    ("make", "encoder", "name"),
    [
        (tiny.wan_vae, WanLatentEncoder, "wan21"),
        (tiny.wan22_vae, WanLatentEncoder, "wan22-5b"),
        (tiny.qwen_vae, WanLatentEncoder, "qwen-image"),
        (tiny.hunyuan_vae, HunyuanLatentEncoder, "hunyuan-video"),
        (tiny.hunyuan15_vae, HunyuanLatentEncoder, "hunyuan-video-15"),
    ],
)
def test_encoding_equals_plain_diffusers(make, encoder, name: str, frames: int):
    latent = load_architecture(name).latent
    pixels = random_pixels(1, 3, frames, 2 * latent.grid_multiple, 3 * latent.grid_multiple)
    plain = seeded(make)
    with torch.inference_mode():
        expected = plain.encode(pixels).latent_dist.mode()
    if encoder is WanLatentEncoder:
        mean, std = (
            torch.tensor(values).view(1, -1, 1, 1, 1)
            for values in (plain.config.latents_mean, plain.config.latents_std)
        )
        expected = (expected - mean) / std
    found = encoder(seeded(make), latent, identity="x").encode(pixels)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


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
    encoder = load_architecture("wan21").load_text_encoder(TINY, device=CPU, dtype=FP32)
    long, longer = encoder.encode(["x" * 600, "x" * 700])
    assert long.tensors["t5"].shape[0] == 512
    torch.testing.assert_close(long.tensors["t5"], longer.tensors["t5"])


def test_wan_pads_text_with_zero_rows_to_512():
    denoiser = load_architecture("wan21").load_denoiser(TINY, expert="", task="t2v", device=CPU, dtype=FP32)
    noisy, level, text = random_pixels(1, 16, 1, 4, 4), torch.tensor([0.25]), random_pixels(7, tiny.TEXT_WIDTH)
    padded = torch.zeros(1, 512, tiny.TEXT_WIDTH)
    padded[0, :7] = text
    with torch.no_grad():
        expected = denoiser.module(noisy, torch.tensor([250.0]), padded, return_dict=False)[0]
        found = denoiser.predict(Batch(noisy, level, {"t5": [text]}))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_wan_image_to_video_shows_the_first_frame_then_grey():
    encoder = load_architecture("wan21").load_latent_encoder(TINY, device=CPU, dtype=FP32, task="i2v")
    pixels = random_pixels(1, 3, 9, 16, 32)
    contents = encoder.encode_item(pixels)
    shown = torch.cat([pixels[:, :, :1], torch.zeros_like(pixels[:, :, 1:])], dim=2)
    assert contents["latents_image"].shape == (1, 20, 3, 2, 4)
    assert contents["latents_image"][0, :4].amin(dim=(0, 2, 3)).tolist() == [1.0, 0.0, 0.0]
    assert contents["latents_image"][0, :4].amax(dim=(0, 2, 3)).tolist() == [1.0, 0.0, 0.0]
    torch.testing.assert_close(contents["latents_image"][:, 4:], encoder.encode(shown))
    assert contents["clip"].shape == (1, 5, tiny.CLIP_WIDTH)


def test_wan22_image_to_video_has_no_clip():
    encoder = load_architecture("wan22").load_latent_encoder(TINY, device=CPU, dtype=FP32, task="i2v")
    assert encoder.encode_item(random_pixels(1, 3, 1, 16, 16)).keys() == {"latents", "latents_image"}


def test_one_frame_item_puts_each_picture_in_the_slot_of_its_index():
    encoder = load_architecture("wan21").load_latent_encoder(TINY, device=CPU, dtype=FP32, task="i2v")
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
    encoder = load_architecture("wan21").load_latent_encoder(TINY, device=CPU, dtype=FP32, task="i2v")
    with pytest.raises(UsageError, match="1 control pictures for 2"):
        encoder.encode_item(
            random_pixels(1, 3, 1, 16, 16), controls=[random_pixels(1, 3, 1, 16, 16)], one_frame=OneFrame((0, 2), 1)
        )


def test_one_frame_prediction_goes_by_time_indices():
    denoiser = load_architecture("wan21").load_denoiser(TINY, expert="", task="i2v", device=CPU, dtype=FP32)
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


@pytest.mark.parametrize("name", ["wan21", "wan22", "hunyuan-video", "hunyuan-video-15", "qwen-image"])
def test_controls_that_a_family_does_not_take_are_refused(name: str):
    encoder = load_architecture(name).load_latent_encoder(TINY, device=CPU, dtype=FP32)
    with pytest.raises(BlissmaskError, match="no control"):
        encoder.encode_item(random_pixels(1, 3, 1, 32, 32), controls=[random_pixels(1, 3, 1, 32, 32)])


def test_cache_of_another_task_is_refused_by_channel_counts():
    denoiser = load_architecture("wan22").load_denoiser(TINY, expert="high", task="i2v", device=CPU, dtype=FP32)
    with pytest.raises(CacheError, match="36 input channels, the cache gives 16"):
        denoiser.predict(Batch(random_pixels(1, 16, 1, 4, 4), torch.tensor([0.5]), {"t5": [random_pixels(3, 32)]}))


def test_wan_experts_differ_and_keep_their_boundaries():
    family = load_architecture("wan22")
    assert [expert.timestep_range for expert in family.experts("t2v")] == [(0.875, 1.0), (0.0, 0.875)]
    assert [expert.timestep_range for expert in family.experts("i2v")] == [(0.9, 1.0), (0.0, 0.9)]
    high, low = (
        family.load_denoiser(TINY, expert=name, task="t2v", device=CPU, dtype=FP32) for name in ("high", "low")
    )
    assert not torch.equal(high.module.proj_out.weight, low.module.proj_out.weight)
    assert high.identity != low.identity


def test_5b_shows_the_first_frame_clean_and_learns_nothing_from_it():
    family = load_architecture("wan22-5b")
    denoiser = family.load_denoiser(TINY, expert="", task="i2v", device=CPU, dtype=FP32)
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


def test_qwen_packing_is_channel_major_and_reversible():
    latents = torch.arange(2 * 16 * 4 * 6, dtype=FP32).reshape(2, 16, 1, 4, 6)
    tokens = pack(latents)
    assert tokens.shape == (2, 6, 64)
    assert tokens[0, 0, :4].tolist() == [0.0, 1.0, 6.0, 7.0]
    assert torch.equal(unpack(tokens, 4, 6), latents)


def test_qwen_edit_without_controls_is_refused_at_both_ends():
    family = load_architecture("qwen-image-edit")
    encoder = family.load_latent_encoder(TINY, device=CPU, dtype=FP32)
    with pytest.raises(UsageError, match="control picture"):
        encoder.encode_item(random_pixels(1, 3, 1, 16, 16))
    denoiser = family.load_denoiser(TINY, expert="", task="edit-2509", device=CPU, dtype=FP32)
    with pytest.raises(CacheError, match="control pictures"):
        denoiser.predict(
            Batch(random_pixels(1, 16, 1, 4, 4), torch.tensor([0.5]), {"vl_embed": [random_pixels(3, 128)]})
        )
    text = family.load_text_encoder(TINY, device=CPU, dtype=FP32)
    with pytest.raises(UsageError, match="control picture"):
        text.encode(["a cat"])


def test_qwen_edit_controls_of_mixed_sizes_in_one_batch_are_refused():
    denoiser = load_architecture("qwen-image-edit").load_denoiser(TINY, expert="", task="edit", device=CPU, dtype=FP32)
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
    model = seeded(tiny.qwen_vl)
    template = dataclasses.replace(EDIT_PLUS, picture_area=112 * 112)
    encoder = QwenTextEncoder(model, tiny.byte_tokenizer(specials=SPECIALS, end=False), template, identity="x")
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


def test_hunyuan_rows_past_the_caption_are_zero_and_masked():
    encoder = load_architecture("hunyuan-video").load_text_encoder(TINY, device=CPU, dtype=FP32)
    (text,) = encoder.encode(["hello"])
    rows = int(text.tensors["llm_mask"].sum())
    assert text.tensors["llm"].shape == (256, tiny.VL_WIDTH)
    assert rows == len("hello") + 1
    assert text.tensors["llm"][rows:].abs().max() == 0
    assert text.tensors["llm"][:rows].abs().amax(dim=1).min() > 0


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
    family = load_architecture("hunyuan-video-15")
    denoiser = family.load_denoiser(TINY, expert="", task="i2v", device=CPU, dtype=FP32)
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


def test_clip_squeezes_the_whole_picture():
    model = seeded(tiny.clip)
    wide = random_pixels(1, 3, 28, 56)
    cropped = wide.clone()
    cropped[..., :4] = 0
    assert not torch.allclose(clip_features(model, wide), clip_features(model, cropped))
