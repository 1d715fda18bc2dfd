"""FLUX.2 against diffusers' own pipelines: text, latents and prediction of a whole call, to 1e-5 in float32."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from blissmask.families.files.tokenizers import Tokenizer
from blissmask.families.flux2.parts import DEV_TEXT
from blissmask.families.protocol import Batch
from blissmask.families.vae import kl_flux2
from blissmask.families.vae.pixels import signed_picture
from tests.builders.families import CPU, TINY, family_of
from tests.builders.pictures import random_rgb
from tests.builders.single_files import FP32
from tests.builders.tiny_pipelines import tiny_pipeline

MODELS = ["flux2-klein-4b", "flux2-klein-9b", "flux2-dev"]
CAPTION = 'kyla, a woman with red hair, holds a sign that says "hello"'
SIZE_WH = (96, 64)
# The chat templates of the released tokenizers, for messages of one text each.
QWEN_CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
MISTRAL_CHAT = (
    "<s>{% for message in messages %}{% set text = message.content[0].text %}"
    "{% if message.role == 'system' %}[SYSTEM_PROMPT]{{ text }}[/SYSTEM_PROMPT]{% else %}[INST]{{ text }}[/INST]{% endif %}"
    "{% endfor %}"
)


@pytest.fixture(params=MODELS)
def family(request):
    return family_of(request.param)


def pipeline_of(family):
    """Return diffusers' pipeline with its own text encoder and tokenizer, whose templates are the released ones."""
    pipeline = tiny_pipeline(family.name)
    pipeline.tokenizer.chat_template = MISTRAL_CHAT if family.name == "flux2-dev" else QWEN_CHAT
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def first_step(pipeline, **options):
    """Call the pipeline for one picture, and return its first noise level, noisy tokens and prediction."""
    seen = []
    step = pipeline.scheduler.step

    def spy(prediction, timestep, sample, **rest):
        seen.append((float(timestep) / 1000, sample.clone(), prediction.clone()))
        return step(prediction, timestep, sample, **rest)

    pipeline.scheduler.step = spy
    with torch.no_grad():
        pipeline(
            prompt=CAPTION,
            width=SIZE_WH[0],
            height=SIZE_WH[1],
            num_inference_steps=3,
            generator=torch.Generator().manual_seed(4),
            output_type="latent",
            **options,
        )
    return seen[1]


def as_latents(tokens_BND):
    return tokens_BND.transpose(1, 2).unflatten(2, (1, SIZE_WH[1] // 16, SIZE_WH[0] // 16))


def relative(ours, theirs):
    return float((ours - theirs).norm() / theirs.norm())


def test_text_rows_are_those_of_the_pipeline(family):
    pipeline = pipeline_of(family)
    theirs, _ = pipeline.encode_prompt(prompt=CAPTION)
    [ours] = family.load_text_encoder(TINY, **FP32).encode([CAPTION])
    assert ours.tensors["ctx_vec"].shape == (512, 3 * 128)
    assert relative(ours.tensors["ctx_vec"], theirs[0]) < 1e-5


def test_a_text_of_more_than_512_tokens_is_cut_as_in_the_pipeline(family):
    pipeline, long = pipeline_of(family), "kyla " * 200
    theirs, _ = pipeline.encode_prompt(prompt=long)
    [ours] = family.load_text_encoder(TINY, **FP32).encode([long])
    assert relative(ours.tensors["ctx_vec"], theirs[0]) < 1e-5


def test_padding_stands_where_the_tokenizer_puts_it():
    """The released tokenizer of dev pads on the left, those of klein on the right; padded rows are attended to."""
    family = family_of("flux2-dev")
    encoder = family.load_text_encoder(TINY, **FP32)
    encoder._tokenizer.padding_side = "left"
    pipeline = pipeline_of(family)
    pipeline.tokenizer.padding_side = "left"
    theirs, _ = pipeline.encode_prompt(prompt=CAPTION)
    assert relative(encoder.encode([CAPTION])[0].tensors["ctx_vec"], theirs[0]) < 1e-5


def test_picture_marks_are_taken_out_of_captions_of_dev():
    assert DEV_TEXT.captions.around("a[IMG]b") == DEV_TEXT.captions.around("ab")


def test_latents_are_those_of_the_pipeline(family):
    pipeline = pipeline_of(family)
    pixels_13HW = signed_picture(random_rgb(SIZE_WH))[None]
    with torch.no_grad():
        theirs = pipeline._encode_vae_image(pixels_13HW, None)
    encoder = family.load_latent_encoder(TINY, **FP32)
    ours = encoder.encode(pixels_13HW[:, :, None])
    assert ours.shape == (1, 128, 1, SIZE_WH[1] // 16, SIZE_WH[0] // 16)
    assert relative(ours[:, :, 0], theirs) < 1e-5


def test_a_channel_belongs_to_the_sub_cell_that_its_number_says():
    """Change the upper right 8 pixels of a cell at the VAE's own grid, and see which channels of the cell change."""
    family = family_of("flux2-klein-4b")
    vae = kl_flux2.VAE.load_tiny(device=CPU, dtype=torch.float32)
    encoder = kl_flux2.Flux2VaeEncoder(vae, family.latent)
    moments = torch.zeros(1, 64, 4, 6)
    moments[:, 3, 0, 1] = 1.0
    vae._encode = lambda pixels: moments
    changed = encoder.encode(torch.zeros(1, 3, 1, 64, 96))
    moments = torch.zeros(1, 64, 4, 6)
    unchanged = encoder.encode(torch.zeros(1, 3, 1, 64, 96))
    where = (changed != unchanged).nonzero().tolist()
    assert where == [[0, 3 * 4 + 0 * 2 + 1, 0, 0, 0]]


def test_the_prediction_is_that_of_a_whole_call(family):
    options = {"guidance_scale": 3.5 if family.task.guidance_scale else 1.0}
    level, noisy, theirs = first_step(pipeline_of(family), **options)
    denoiser = family.load_denoiser(TINY, family.experts[0], device=CPU, dtype=torch.float32, guidance_scale=3.5)
    [text] = family.load_text_encoder(TINY, **FP32).encode([CAPTION])
    batch = Batch(as_latents(noisy), torch.tensor([level]), {"ctx_vec": [text.tensors["ctx_vec"]]})
    with torch.no_grad():
        ours = denoiser.predict(batch)
    assert 0.2 < level < 0.99
    assert relative(ours, as_latents(theirs)) < 1e-5


def test_the_prediction_beside_reference_pictures_is_that_of_a_whole_call(family):
    family = family_of(family.name, "edit")
    pictures = [random_rgb((64, 96), seed=1), random_rgb((80, 64), seed=2)]
    images = [Image.fromarray(np.asarray(picture)) for picture in pictures]
    level, noisy, theirs = first_step(pipeline_of(family), image=images, guidance_scale=1.0)
    encoder = family.load_latent_encoder(TINY, **FP32)
    shown = [signed_picture(picture)[None, :, None] for picture in pictures]
    contents = encoder.encode_item(torch.zeros(1, 3, 1, SIZE_WH[1], SIZE_WH[0]), controls=shown)
    [text] = family.load_text_encoder(TINY, **FP32).encode([CAPTION])
    controls = {name: tensor for name, tensor in contents.items() if name != "latents"}
    batch = Batch(as_latents(noisy), torch.tensor([level]), {"ctx_vec": [text.tensors["ctx_vec"]], **controls})
    denoiser = family.load_denoiser(TINY, family.experts[0], device=CPU, dtype=torch.float32)
    with torch.no_grad():
        ours = denoiser.predict(batch)
    assert list(controls) == ["latents_control_0", "latents_control_1"]
    assert relative(ours, as_latents(theirs)) < 1e-5


def test_guidance_reaches_dev_and_no_other():
    given = {"ctx_vec": [torch.randn(512, 384, generator=torch.Generator().manual_seed(0))]}
    batch = Batch(torch.ones(1, 128, 1, 2, 2), torch.tensor([0.5]), given)
    for name in MODELS:
        family = family_of(name)
        low, high = (
            family.load_denoiser(TINY, family.experts[0], device=CPU, dtype=torch.float32, guidance_scale=scale)
            for scale in (1.0, 4.0)
        )
        with torch.no_grad():
            same = torch.equal(low.predict(batch), high.predict(batch))
        assert same == (name != "flux2-dev")


def test_the_tokenizer_must_know_the_template():
    for name in MODELS:
        [tokenizer] = [part for part in family_of(name).task.text if isinstance(part, Tokenizer)]
        loaded = tokenizer.load(TINY)
        assert all(special in loaded.get_vocab() for special in tokenizer.specials)
