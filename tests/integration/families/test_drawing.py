"""A preview shows the denoiser what training shows it: the first pass of every family's pipeline is the family's own prediction."""

import dataclasses
import functools

import numpy as np
import pytest
import torch
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit as edit
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus as edit_plus

from blissmask.errors import ModelError
from blissmask.families.files.model_files import ModelFiles
from blissmask.families.previews import Painter, Shot, encode_picture, euler, to_signed
from blissmask.families.protocol import Batch
from blissmask.families.qwen import denoiser as qwen_denoiser
from blissmask.families.registry import ARCHS, load_architecture
from tests.builders.pictures import random_rgb

FILES = ModelFiles(model="tiny")
CPU = torch.device("cpu")
FAMILIES = [(name, task) for name in ARCHS.names() for task in load_architecture(name).tasks]
# A side that Qwen's text encoder, and a control picture of this area, need no resizing for.
SIDE = 64


@pytest.fixture(autouse=True)
def small_controls(monkeypatch):
    """Let the Edit pipelines encode controls at 64 x 64 instead of a million pixels, which take miniatures seconds."""
    monkeypatch.setattr(edit_plus, "VAE_IMAGE_SIZE", SIDE * SIDE)
    whole = edit.calculate_dimensions
    monkeypatch.setattr(edit, "calculate_dimensions", lambda area, ratio: whole(SIDE * SIDE, ratio))


@dataclasses.dataclass
class Studio:
    """A family in miniature, ready to draw a shot."""

    arch: object
    task: str
    drawing: object
    painter: Painter
    denoisers: dict
    shot: Shot


def studio(name, task, *, frames=None, dtype=torch.float32, text='a cat that says "hello"', **changes):
    arch = load_architecture(name)
    drawing = arch.drawing(task)
    text_encoder = arch.load_text_encoder(FILES, task=task, device=CPU, dtype=torch.float32)
    pictures = [random_rgb((SIDE, SIDE), seed=7)] * drawing.pictures[0]
    images = [[to_signed(picture) for picture in pictures]] * 2 if arch.text_sees_controls else None
    prompt, negative = text_encoder.encode([text, "blurred"], images)
    features = None
    if drawing.picture_encoder is not None:
        model = drawing.picture_encoder.part.load(
            FILES, drawing.picture_encoder.load_file, device=CPU, dtype=torch.float32
        )
        features = encode_picture(drawing.picture_encoder, model, pictures[0])
    shot = Shot(
        text=prompt.tensors,
        negative=negative.tensors,
        size_wh=(SIDE, SIDE),
        frames=frames or (5 if arch.takes_videos else 1),
        steps=2,
        cfg_scale=3.0,
        # What training tells a distilled model.
        guidance=None if drawing.guidance is None else 1.0,
        shift=drawing.shift,
        seed=3,
        pictures=pictures,
        features_ND=features,
    )
    denoisers = {
        expert.name: arch.load_denoiser(FILES, expert=expert.name, task=task, device=CPU, dtype=dtype)
        for expert in arch.experts(task)
    }
    painter = Painter(drawing, FILES, device=CPU, dtype=dtype, vae_dtype=torch.float32)
    return Studio(arch, task, drawing, painter, denoisers, dataclasses.replace(shot, **changes))


def draw(made):
    return made.painter.draw({name: denoiser.module for name, denoiser in made.denoisers.items()}, made.shot)


def first_pass(made):
    """Draw without guidance, and return the first noise level, the noisy latents and the prediction, as latents."""
    seen = []

    class Spy:
        def __init__(self, scheduler):
            self._scheduler = scheduler

        def __getattr__(self, name):
            return getattr(self._scheduler, name)

        def step(self, prediction, timestep, sample, **options):
            seen.append((float(timestep) / 1000, sample.clone(), prediction.clone()))
            return self._scheduler.step(prediction, timestep, sample, **options)

    # Euler's first step is the plain prediction, and its time has no rounding.
    drawing = dataclasses.replace(made.drawing, scheduler=lambda shift, steps: Spy(euler(shift, steps)))
    made.painter._drawing = drawing
    made.shot = dataclasses.replace(made.shot, negative=None, cfg_scale=1.0)
    draw(made)
    level, sample, prediction = seen[0]
    if sample.ndim == 3:
        rows = SIDE // made.arch.latent.spatial_stride
        sample, prediction = (qwen_denoiser.unpack(tokens, rows, rows) for tokens in (sample, prediction))
    return level, sample.float(), prediction.float()


def trained_conditioning(made):
    """Return what training would show beside the noise: the cache contents of a clip that starts with the same picture."""
    contents = {name: [tensor] for name, tensor in made.shot.text.items()}
    if made.drawing.pictures[1]:
        encoder = made.arch.load_latent_encoder(FILES, task=made.task, device=CPU, dtype=torch.float32)
        first = to_signed(made.shot.pictures[0])[None, :, None]
        clip = torch.cat([first, torch.zeros(1, 3, made.shot.frames - 1, SIDE, SIDE)], dim=2)
        controls = [first] if made.arch.text_sees_controls else []
        encoded = encoder.encode_item(clip, controls=controls)
        contents |= {name: [tensor[0]] for name, tensor in encoded.items() if name != "latents"}
    return contents


@pytest.mark.parametrize(("name", "task"), FAMILIES, ids=lambda value: value)
def test_first_pass_is_what_training_predicts(name, task):
    made = studio(name, task)
    level, noisy, prediction = first_pass(made)
    denoiser = made.denoisers.get("high") or made.denoisers[""]
    batch = Batch(noisy, torch.tensor([level]), trained_conditioning(made))
    with torch.no_grad():
        ours = denoiser.predict(batch)
    if name == "wan22-5b" and task == "i2v":
        # The first latent frame is shown without noise, so what is predicted for it is thrown away.
        ours, prediction = ours[:, :, 1:], prediction[:, :, 1:]
    assert prediction.abs().max() > 0.1
    torch.testing.assert_close(prediction, ours, atol=2e-3, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("name", "task"), FAMILIES, ids=lambda value: value)
def test_a_shot_is_drawn_in_its_size_and_the_same_each_time(name, task, dtype):
    made = studio(name, task, dtype=dtype)
    first, second = draw(made), draw(made)
    assert first.shape == (made.shot.frames, SIDE, SIDE, 3)
    assert first.dtype == np.uint8
    assert first.std() > 5
    assert (first == second).all()


@pytest.mark.parametrize("name", [name for name in ARCHS.names() if load_architecture(name).takes_videos])
def test_one_frame_is_a_picture_and_seed_and_guidance_change_it(name):
    made = studio(name, "t2v", frames=1, size_wh=(SIDE, 2 * SIDE))
    first = draw(made)
    assert first.shape == (1, 2 * SIDE, SIDE, 3)
    for change in ({"seed": 4}, {"cfg_scale": 9.0}, {"negative": None, "cfg_scale": 1.0}, {"shift": 1.0}, {"steps": 1}):
        made.shot, kept = dataclasses.replace(made.shot, **change), made.shot
        assert (draw(made) != first).any(), change
        made.shot = kept


@pytest.mark.parametrize("there", [("high", "low"), ("low",), ("high",)])
def test_both_experts_draw_where_both_are_there(there):
    made = studio("wan22", "t2v", steps=6)
    made.denoisers = {name: made.denoisers[name] for name in there}
    calls = dict.fromkeys(there, 0)

    def count(name, *_):
        calls[name] += 1

    for name, denoiser in made.denoisers.items():
        denoiser.module.register_forward_pre_hook(functools.partial(count, name))
    draw(made)
    assert sum(calls.values()) == 2 * 6
    assert min(calls.values()) > 0


@pytest.mark.parametrize(
    ("name", "task"), [("wan21", "t2v"), ("wan22-5b", "i2v"), ("qwen-image", "t2i"), ("hunyuan-video-15", "t2v")]
)
def test_what_does_not_fit_whole_is_decoded_in_tiles(monkeypatch, name, task):
    made = studio(name, task, frames=1, steps=1, negative=None, cfg_scale=1.0, size_wh=(288, 256))
    made.shot = dataclasses.replace(made.shot, pictures=[random_rgb((288, 256))] * len(made.shot.pictures))
    whole = draw(made)
    vae = made.painter._vae
    genuine, refused = type(vae)._decode, []

    def decode(vae, latents, *args, **options):
        if not vae.use_tiling:
            refused.append(latents.shape)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return genuine(vae, latents, *args, **options)

    monkeypatch.setattr(type(vae), "_decode", decode)
    tiled = draw(made)
    assert len(refused) == 1
    assert tiled.shape == whole.shape == (1, 256, 288, 3)
    assert 0 < np.abs(tiled.astype(int) - whole).mean() < 10
    assert not vae.use_tiling


def test_a_picture_that_is_not_finite_is_an_error():
    made = studio("wan21", "t2v", frames=1)
    with torch.no_grad():
        made.denoisers[""].module.proj_out.bias.fill_(float("nan"))
    with pytest.raises(ModelError, match="no numbers"):
        draw(made)


def test_text_without_quotes_is_drawn_where_letters_have_an_encoder_of_their_own():
    made = studio("hunyuan-video-15", "t2v", frames=1, text="a cat")
    assert len(made.shot.text["byt5_embed"]) == 0
    level, noisy, prediction = first_pass(made)
    with torch.no_grad():
        ours = made.denoisers[""].predict(Batch(noisy, torch.tensor([level]), trained_conditioning(made)))
    torch.testing.assert_close(prediction, ours, atol=2e-3, rtol=0)
