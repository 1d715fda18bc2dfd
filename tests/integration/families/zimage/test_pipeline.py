"""Z-Image shows and hears what diffusers' ZImagePipeline does: text, latents, prediction and guidance."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from blissmask.cachefile.file_names import latent_name, text_name
from blissmask.cachefile.read_entry import load_entry
from blissmask.cachefile.read_file import read_tensors
from blissmask.cachefile.read_headers import list_headers
from blissmask.cachefile.write import save_tensors
from blissmask.families.encoders import qwen3
from blissmask.families.protocol import Batch
from blissmask.families.zimage import tiny
from blissmask.training.data.items import make_item
from blissmask.training.data.micro_batch import collate
from blissmask.training.step.run_step import noise_batch
from tests.builders.cached_families import write_cache
from tests.builders.families import CPU, TINY, family_of, tiny_denoiser
from tests.builders.single_files import FP32, state_of
from tests.builders.tiny_pipelines import tiny_pipeline
from tests.builders.tiny_previews import changed_prompt, first_pass, first_step, tiny_preview, trained_conditioning
from tests.builders.training import seeded

# The user's turn and the beginning of the answer, as Qwen3's template spells them with thinking enabled.
_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{{ '<|im_start|>assistant\n' }}"
)


def predicted(noisy: Tensor, rows: Tensor, level: float) -> Tensor:
    with torch.no_grad():
        return tiny_denoiser("z-image").predict(Batch(noisy, torch.tensor([level]), {"llm_embed": [rows]}))


def test_the_prediction_is_the_pipelines_to_a_hundred_thousandth():
    made = tiny_preview("z-image", "t2i")
    level, noisy, expected = first_pass(made)
    (rows,) = trained_conditioning(made)["llm_embed"]
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(predicted(noisy, rows, level), expected, atol=1e-5, rtol=1e-5)


def test_velocity_is_noise_minus_latents():
    """A model whose time and sign are right is told the more of the picture the less noise there is: sigma 1 is t 0."""
    denoiser, seen = tiny_denoiser("z-image"), []
    denoiser.module.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[1].clone()))
    noisy, rows = seeded(2, 16, 1, 4, 4), [seeded(3, qwen3.TINY_WIDTH)] * 2
    with torch.no_grad():
        velocity = denoiser.predict(Batch(noisy, torch.tensor([1.0, 0.25]), {"llm_embed": rows}))
        pictures = denoiser.module(list(noisy), torch.tensor([0.0, 0.75]), rows, return_dict=False)[0]
    assert seen[0].tolist() == [0.0, 0.75]
    torch.testing.assert_close(velocity, -torch.stack(pictures), rtol=0, atol=0)


def test_guidance_of_a_prompt_is_classifier_free_guidance_as_others_count_it():
    made = tiny_preview("z-image", "t2i", cfg_scale=3.0)
    _, noisy, found = first_step(made)
    with_text = predicted(noisy, made.prompt.text["llm_embed"], 1.0)
    without = predicted(noisy, made.prompt.negative["llm_embed"], 1.0)
    torch.testing.assert_close(found, without + 3.0 * (with_text - without), atol=1e-4, rtol=1e-4)
    made.prompt = changed_prompt(made.prompt, negative=None, cfg_scale=1.0)
    _, _, alone = first_step(made)
    torch.testing.assert_close(alone, with_text, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("caption", ["kyla in a garden ", "", "x" * 600])
def test_text_is_what_the_pipeline_encodes(caption: str):
    pipeline = tiny_pipeline("z-image")
    pipeline.tokenizer.chat_template = _TEMPLATE
    (expected,), _ = pipeline.encode_prompt(caption, device=CPU, do_classifier_free_guidance=False)
    (found,) = family_of("z-image").load_text_encoder(TINY, **FP32).encode([caption])
    assert len(found.tensors["llm_embed"]) == min(512, len(caption) + 19)
    torch.testing.assert_close(found.tensors["llm_embed"], expected, rtol=1e-5, atol=1e-5)


def test_cached_latents_become_those_of_the_pipeline():
    vae, _ = state_of(tiny.vae)
    family = family_of("z-image")
    pixels = seeded(1, 3, 1, 32, 48).clamp(-1, 1)
    with torch.inference_mode():
        raw = vae.encode(pixels[:, :, 0]).latent_dist.mode()
    cached = family.task.methods().vae(vae, family.latent).encode(pixels)
    expected = (raw - vae.config.shift_factor) * vae.config.scaling_factor
    torch.testing.assert_close(family.latent.normalised(cached)[:, :, 0], expected, rtol=0, atol=1e-6)


def batch_of(folder):
    family = family_of("z-image")
    headers = list_headers(folder, family.cache_suffix)
    options = {"rule": None, "prior": None, "latent": family.latent}
    return collate([make_item(header, load_entry(header), **options) for header in headers], 0)


def test_a_cache_of_musubi_tuner_gives_the_batch_that_ours_does(tmp_path):
    ours = write_cache(tmp_path / "ours", family_of("z-image"))
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    for header in list_headers(ours, "zi"):
        latents, text = read_tensors(header.path), read_tensors(header.text_path)
        # Source of names and shapes: musubi-tuner's dataset/cache_io.py, `save_latent_cache_z_image` and its text twin.
        (key,) = [key for key in latents if key.startswith("latents_")]
        assert (key, latents[key].shape) == ("latents_1x4x4_float32", (16, 4, 4))
        assert list(text) == ["varlen_llm_embed_float32"]
        facts = {"architecture": "z_image", "width": "32", "height": "32", "format_version": "1.0.1"}
        name = latent_name(header.stem, (32, 32), "zi")
        save_tensors(theirs / name, {key: latents[key]}, facts)
        save_tensors(
            theirs / text_name(header.stem, "zi"), text, {**facts, "architecture": "z_image", "caption1": "kyla"}
        )
    assert sorted(path.name for path in theirs.iterdir()) == sorted(path.name for path in ours.iterdir())
    expected, found = batch_of(ours), batch_of(theirs)
    torch.testing.assert_close(found.latents_BCFHW, expected.latents_BCFHW, rtol=0, atol=0)
    torch.testing.assert_close(found.conditioning, expected.conditioning, rtol=0, atol=0)


def test_training_on_one_fixed_batch_lowers_its_loss(tmp_path):
    from blissmask.training.lora.layers.inject import inject_lora
    from blissmask.training.lora.layers.lora import LoraShape

    batch = batch_of(write_cache(tmp_path, family_of("z-image")))
    target, inputs = noise_batch(batch, torch.tensor([0.3, 0.7]), seed=1, device=CPU)
    denoiser = tiny_denoiser("z-image")
    lora = inject_lora(denoiser, LoraShape(rank=8, alpha=8.0), seed=0)
    optimizer = torch.optim.Adam([parameter for _, parameter in lora.named_parameters()], lr=1e-2)
    losses = []
    for _ in range(20):
        loss = (denoiser.predict(inputs) - target).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]
