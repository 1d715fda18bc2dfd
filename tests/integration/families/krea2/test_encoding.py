"""What Krea 2 encodes, predicts and trains is what diffusers' pipeline makes of the same weights."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor

from blissmask.cachefile.read_entry import load_entry
from blissmask.cachefile.read_file import read_tensors
from blissmask.cachefile.read_headers import list_headers
from blissmask.cachefile.write import save_tensors
from blissmask.families.denoisers.tokens import unpack
from blissmask.families.encoders import qwen3_vl
from blissmask.families.krea2.parts import CAPTIONS, TAPS
from blissmask.families.protocol import Batch
from blissmask.families.qwen.parts import PATCH
from blissmask.training.data.items import make_item
from blissmask.training.data.micro_batch import collate
from blissmask.training.lora.layers.inject import inject_lora
from blissmask.training.lora.layers.lora import LoraShape
from tests.builders.cached_families import write_cache
from tests.builders.families import TINY, family_of, tiny_denoiser
from tests.builders.single_files import FP32
from tests.builders.tiny_pipelines import tiny_pipeline
from tests.builders.training import seeded

CAPTION = 'a cat that says "hello"'
SIDE = 64


@functools.cache
def text_encoder():
    return family_of("krea2").load_text_encoder(TINY, **FP32)


def pipeline() -> Any:
    """Return the miniature pipeline; its tokenizer of bytes makes more rows of the template than the released one."""
    made = tiny_pipeline("krea2")
    ids = {
        name: made.tokenizer(getattr(made, f"prompt_template_encode_{name}"))["input_ids"]
        for name in ("prefix", "suffix")
    }
    made.prompt_template_encode_start_idx = len(ids["prefix"])
    made.prompt_template_encode_num_suffix_tokens = len(ids["suffix"])
    made.set_progress_bar_config(disable=True)
    return made


def rows_of(caption: str) -> Tensor:
    (text,) = text_encoder().encode([caption])
    return text.tensors["krea2_vl_embed"]


@pytest.mark.parametrize("caption", [CAPTION, "", "a long caption " * 40], ids=["usual", "empty", "too long"])
def test_text_rows_are_those_of_the_pipeline_without_its_padding(caption: str):
    with torch.inference_mode():
        states, mask = pipeline().get_text_hidden_states(caption)
    rows = rows_of(caption)
    assert rows.shape[1:] == (len(TAPS), 128)
    assert len(rows) <= CAPTIONS.tokens
    torch.testing.assert_close(rows, states[0][mask[0]], rtol=1e-5, atol=1e-5)


def test_a_caption_that_is_too_long_keeps_the_tail_of_the_template():
    rows = rows_of("a" * 1000)
    assert len(rows) == CAPTIONS.tokens
    assert torch.equal(rows_of("a" * 2000), rows)


def test_a_prediction_is_the_one_of_the_pipelines_call():
    """Sign, time, positions, packing and masks: one step of the pipeline from its own prompt, without guidance."""
    made, seen = pipeline(), {}

    def watch(_module: Any, _inputs: Any, given: dict[str, Tensor], output: tuple[Tensor]) -> None:
        seen.update(given, output=output[0])

    handle = made.transformer.register_forward_hook(watch, with_kwargs=True)
    noise = torch.Generator().manual_seed(1)
    size = {"height": SIDE, "width": 2 * SIDE}
    made(CAPTION, **size, num_inference_steps=1, guidance_scale=0.0, generator=noise, output_type="latent")
    handle.remove()
    noisy = unpack(seen["hidden_states"], SIDE // 8, 2 * SIDE // 8, PATCH)
    batch = Batch(noisy, seen["timestep"], {"krea2_vl_embed": [rows_of(CAPTION)]})
    with torch.no_grad():
        velocity = tiny_denoiser("krea2").predict(batch)
    expected = unpack(seen["output"], SIDE // 8, 2 * SIDE // 8, PATCH)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(velocity, expected, rtol=1e-5, atol=1e-5)


def test_captions_of_two_lengths_are_predicted_as_if_alone():
    denoiser, noisy = tiny_denoiser("krea2"), seeded(2, 16, 1, 8, 6)
    rows = [rows_of(CAPTION), rows_of("b")]
    levels = torch.tensor([0.7, 0.2])
    with torch.no_grad():
        together = denoiser.predict(Batch(noisy, levels, {"krea2_vl_embed": rows}))
        for item in range(2):
            one = slice(item, item + 1)
            alone = denoiser.predict(Batch(noisy[one], levels[one], {"krea2_vl_embed": rows[one]}))
            torch.testing.assert_close(together[one], alone, rtol=1e-4, atol=1e-5)


def test_training_on_one_picture_lowers_its_loss():
    denoiser = tiny_denoiser("krea2")
    lora = inject_lora(denoiser, LoraShape(rank=8, alpha=8.0), seed=0)
    latents, noise, rows = seeded(1, 16, 1, 8, 8), seeded(1, 16, 1, 8, 8, seed=1), rows_of(CAPTION)
    batch = Batch(0.4 * latents + 0.6 * noise, torch.tensor([0.6]), {"krea2_vl_embed": [rows]})
    optimizer = torch.optim.AdamW([parameter for _, parameter in lora.named_parameters()], lr=1e-2)
    losses = []
    for _ in range(30):
        loss = (denoiser.predict(batch) - (noise - latents)).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


def test_the_default_lora_adapts_every_linear_layer():
    denoiser = tiny_denoiser("krea2")
    linear = {name for name, module in denoiser.module.named_modules() if isinstance(module, torch.nn.Linear)}
    assert inject_lora(denoiser, LoraShape(rank=2, alpha=1.0), seed=0).layers.keys() == linear


def batch_of(folder):
    family = family_of("krea2")
    headers = list_headers(folder, family.cache_suffix)
    options = {"rule": None, "prior": None, "latent": family.latent}
    return collate([make_item(header, load_entry(header), **options) for header in headers], 0)


def test_a_cache_of_musubi_tuner_gives_the_batch_that_ours_does(tmp_path):
    ours, theirs = write_cache(tmp_path / "ours", family_of("krea2")), tmp_path / "theirs"
    theirs.mkdir()
    facts = {"architecture": "krea2", "width": "32", "height": "32", "format_version": "1.0.1"}
    for path in ours.iterdir():
        tensors = {key: tensor for key, tensor in read_tensors(path).items() if not key.startswith("mask_")}
        # Source of names and shapes: musubi-tuner's dataset/cache_io.py, its functions for Krea 2.
        (key,) = tensors
        shape = tuple(tensors[key].shape)
        if path.name.endswith("_kr2_te.safetensors"):
            assert (key, shape[1:]) == ("varlen_krea2_vl_embed_float32", (12, qwen3_vl.TINY_WIDTH))
        else:
            assert (key, shape) == ("latents_1x4x4_float32", (16, 1, 4, 4))
        save_tensors(theirs / path.name, tensors, facts)
    expected, found = batch_of(ours), batch_of(theirs)
    assert torch.equal(found.latents_BCFHW, expected.latents_BCFHW)
    torch.testing.assert_close(found.conditioning, expected.conditioning, rtol=0, atol=0)
