"""Every family of the registry keeps the promises of ``families/protocol.py``, with miniature models of the real classes."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import re
import subprocess

import pytest
import torch
from torch import Tensor

from blissmask.errors import UsageError
from blissmask.families.files.part import Part
from blissmask.families.protocol import Batch
from blissmask.families.registry import FAMILIES, load_family
from blissmask.training.memory.estimate import size_of
from tests.builders.families import CPU, NAMES, TASKS, TINY, family_of, tiny_denoiser

FIRST_TASKS = [(name, next(iter(load_family(name).tasks))) for name in NAMES]


def _reading(name: str, task: str) -> tuple[str, str, bool]:
    """Return what decides how captions are read: weights and wording, the function, and whether it sees pictures."""
    family = family_of(name, task)
    return family.text_identity(TINY), repr(family.task.methods().text), family.task.text_sees_controls


READINGS = {_reading(*case): case for case in reversed(TASKS)}
"""One of the tasks that read captions alike."""
CAPTIONS = ["a cat", 'a dog & a very long "sign" in the rain', "a cat", ""]


@functools.cache
def latent_encoder(name: str, task: str):
    return family_of(name, task).load_latent_encoder(TINY, device=CPU, dtype=torch.float32)


@functools.cache
def text_encoder(name: str, task: str):
    return family_of(name, task).load_text_encoder(TINY, device=CPU, dtype=torch.float32)


def pixels(name: str, *, items: int = 2, frames: int = 1, seed: int = 0) -> Tensor:
    side = load_family(name).latent.grid_multiple
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(items, 3, frames, side, 2 * side, generator=generator) * 2 - 1


def controls(name: str, task: str, items: int = 2) -> tuple[Tensor, ...]:
    fewest, _ = family_of(name, task).task.control_range
    return tuple(pixels(name, items=items, seed=9 + number).transpose(3, 4) for number in range(fewest))


@functools.cache
def encoded_item(name: str, task: str, frames: int = 1) -> dict[str, Tensor]:
    return latent_encoder(name, task).encode_item(pixels(name, frames=frames), controls=controls(name, task))


def encoded_text(name: str, task: str):
    return _encoded_texts(*READINGS[_reading(name, task)])


@functools.cache
def _encoded_texts(name: str, task: str):
    return encode(name, task, CAPTIONS)


def encode(name: str, task: str, captions: list[str]):
    shown = [control[0, :, 0] for control in controls(name, task, items=1)]
    images = [shown] * len(captions) if family_of(name, task).task.text_sees_controls else None
    return text_encoder(name, task).encode(captions, images)


def batch(
    name: str,
    task: str,
    *,
    rows: tuple[int, ...] = (0, 1),
    frames: int = 1,
    level: float = 0.6,
    texts: tuple[int, ...] | None = None,
) -> Batch:
    item, text = encoded_item(name, task, frames), encoded_text(name, task)
    conditioning = {key: value[list(rows)] for key, value in item.items() if key != "latents"}
    for key in text[0].tensors:
        conditioning[key] = [text[row].tensors[key] for row in texts or rows]
    noise = torch.randn(item["latents"].shape, generator=torch.Generator().manual_seed(1))
    clean = load_family(name).latent.normalised(item["latents"])
    noisy = (1 - level) * clean + level * noise
    return Batch(noisy[list(rows)], torch.full((len(rows),), level), conditioning)


def frame_counts(name: str, task: str) -> tuple[int, ...]:
    return (1, 5) if family_of(name, task).task.takes_videos else (1,)


@pytest.mark.parametrize("name", NAMES)
def test_declaration_is_complete(name: str):
    family = load_family(name)
    assert family.name == name
    assert FAMILIES.describe(name)
    assert "_" not in family.cache_suffix, "the suffix is the last part of a file name split at underscores"
    assert family.latent.grid_multiple % family.latent.spatial_stride == 0
    assert family.default_shift > 0


@pytest.mark.parametrize(("name", "task"), TASKS)
def test_experts_cover_all_noise_without_overlap(name: str, task: str):
    ranges = sorted(expert.timestep_range for expert in family_of(name, task).experts)
    assert ranges[0][0] == 0.0
    assert ranges[-1][1] == 1.0
    assert all(before[1] == after[0] for before, after in itertools.pairwise(ranges))


@pytest.mark.parametrize(("name", "task"), TASKS)
def test_latents_have_the_declared_geometry(name: str, task: str):
    latent = load_family(name).latent
    for frames in frame_counts(name, task):
        given, contents = pixels(name, frames=frames), encoded_item(name, task, frames)
        height, width = (side // latent.spatial_stride for side in given.shape[3:])
        assert contents["latents"].shape == (
            2,
            latent.channels,
            (frames - 1) // latent.temporal_stride + 1,
            height,
            width,
        )
        assert all(len(content) == 2 and torch.isfinite(content).all() for content in contents.values())
        assert all(content.ndim == 5 for key, content in contents.items() if key.startswith("latents"))


@pytest.mark.parametrize(("name", "task"), TASKS)
def test_encoding_is_the_same_every_time_and_for_one_item_alone(name: str, task: str):
    encoder = latent_encoder(name, task)
    together = encoded_item(name, task)
    again = encoder.encode_item(pixels(name), controls=controls(name, task))
    alone = encoder.encode_item(pixels(name)[:1], controls=[control[:1] for control in controls(name, task)])
    for key, content in together.items():
        assert torch.equal(content, again[key])
        torch.testing.assert_close(content[:1], alone[key], rtol=1e-4, atol=2e-5)
    torch.testing.assert_close(encoder.encode(pixels(name)), together["latents"], rtol=0, atol=0)


@pytest.mark.parametrize(("name", "task"), [case for case in FIRST_TASKS if family_of(*case).task.takes_videos])
@pytest.mark.parametrize(("frame", "latent_frame"), [(0, 0), (1, 1), (4, 1), (5, 2), (8, 2)])
def test_a_marked_frame_lands_in_its_latent_frame(
    name: str, task: str, frame: int, latent_frame: int, monkeypatch: pytest.MonkeyPatch
):
    encoder = latent_encoder(name, task)
    # Group norms of a VAE average over all frames, so that every mark shines through everywhere, faintly.
    monkeypatch.setattr(torch.nn.GroupNorm, "forward", lambda self, x: x)
    plain = pixels(name, items=1, frames=9)
    marked = plain.clone()
    marked[:, :, frame, :4, :4] += 0.2
    changed = (encoder.encode(marked) - encoder.encode(plain)).abs().amax(dim=(0, 1, 3, 4))
    assert changed[:latent_frame].sum() <= 1e-5 * changed[latent_frame]
    assert changed[latent_frame] > 0


@pytest.mark.parametrize(("name", "task"), FIRST_TASKS)
def test_sizes_and_frame_counts_that_do_not_fit_are_refused(name: str, task: str):
    encoder = latent_encoder(name, task)
    with pytest.raises(ValueError, match="must be"):
        encoder.encode(pixels(name, frames=3))
    with pytest.raises(ValueError, match="must be"):
        encoder.encode(pixels(name)[..., :-4])


@pytest.mark.parametrize(("name", "task"), READINGS.values())
def test_captions_encode_alike_alone_and_together(name: str, task: str):
    together = encoded_text(name, task)
    for caption, text in zip(CAPTIONS, together, strict=True):
        (alone,) = encode(name, task, [caption])
        assert text.variable_length == alone.variable_length <= text.tensors.keys()
        for key, tensor in text.tensors.items():
            torch.testing.assert_close(tensor, alone.tensors[key], rtol=1e-4, atol=2e-5)
    first, second = next(iter(together[0].tensors.values())), next(iter(together[1].tensors.values()))
    assert first.shape != second.shape or not torch.allclose(first, second)


@pytest.mark.parametrize(("name", "task"), TASKS)
def test_prediction_has_the_shape_of_the_latents_and_listens(name: str, task: str):
    model = tiny_denoiser(name, task)
    for frames in frame_counts(name, task):
        given = batch(name, task, frames=frames)
        with torch.no_grad():
            velocity = model.predict(given)
            other_text = model.predict(batch(name, task, frames=frames, texts=(1, 0)))
            other_level = model.predict(Batch(given.noisy_BCFHW, given.timesteps_B / 2, given.conditioning))
        assert velocity.shape == given.noisy_BCFHW.shape
        assert velocity.dtype == torch.float32
        assert torch.isfinite(velocity).all()
        assert not torch.allclose(velocity, other_text, atol=1e-6)
        assert not torch.allclose(velocity, other_level, atol=1e-6)


@pytest.mark.parametrize(("name", "task"), TASKS)
def test_items_of_a_batch_do_not_see_each_other(name: str, task: str):
    model = tiny_denoiser(name, task)
    with torch.no_grad():
        together = model.predict(batch(name, task))
        alone = model.predict(batch(name, task, rows=(1,)))
    torch.testing.assert_close(together[1:], alone, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize(("name", "task"), TASKS)
def test_lora_trains_every_adapter_and_nothing_else(name: str, task: str):
    from peft import LoraConfig, inject_adapter_in_model

    model = tiny_denoiser(name, task)
    before = {key: value.clone() for key, value in model.module.state_dict().items()}
    inject_adapter_in_model(
        LoraConfig(r=2, lora_alpha=2, target_modules=model.lora_targets, init_lora_weights=False), model.module
    )
    adapters = {key: value for key, value in model.module.named_parameters() if "lora_" in key}
    assert {key for key, value in model.module.named_parameters() if value.requires_grad} == adapters.keys()
    optimizer = torch.optim.SGD(adapters.values(), lr=1e-3)
    model.predict(batch(name, task, frames=frame_counts(name, task)[-1])).square().mean().backward()
    assert not [key for key, value in adapters.items() if value.grad is None or not value.grad.abs().max() > 0]
    optimizer.step()
    after = {
        key.replace(".base_layer", ""): value for key, value in model.module.state_dict().items() if "lora_" not in key
    }
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize(("name", "task"), TASKS)
def test_lora_modules_have_original_names_of_their_own(name: str, task: str):
    model = tiny_denoiser(name, task)
    targets = [key for key, _ in model.module.named_modules() if re.fullmatch(model.lora_targets, key)]
    assert len({model.original_name(key) for key in targets}) == len(targets) > 0


@pytest.mark.parametrize(("name", "task"), TASKS)
def test_repeated_blocks_exist(name: str, task: str):
    model = tiny_denoiser(name, task)
    present = {type(module).__name__ for module in model.module.modules()}
    assert set(model.block_class_names) <= present


@pytest.mark.parametrize(("name", "task"), FIRST_TASKS)
def test_loading_leaves_the_random_state_alone(name: str, task: str):
    family = family_of(name, task)
    before = torch.random.get_rng_state()
    family.load_latent_encoder(TINY, device=CPU, dtype=torch.float32)
    family.load_text_encoder(TINY, device=CPU, dtype=torch.float32)
    tiny_denoiser(name, task)
    assert torch.equal(torch.random.get_rng_state(), before)


def fingerprints() -> dict[str, list[str]]:
    """Return identities and weight hashes of every family, for comparison between processes."""
    found = {}
    for name, task in FIRST_TASKS:
        family, model = family_of(name, task), tiny_denoiser(name, task)
        digest = hashlib.sha256()
        for value in model.module.state_dict().values():
            digest.update(value.contiguous().numpy().tobytes())
        found[name] = [
            family.latent_identity(TINY),
            family.text_identity(TINY),
            model.identity,
            digest.hexdigest(),
        ]
    return found


def test_identities_and_tiny_weights_are_the_same_in_another_process(warm_python: str):
    code = "import json, sys; sys.path.insert(0, sys.argv[1]); import test_contract as t; print(json.dumps(t.fingerprints()))"
    folder = __file__.rpartition("/")[0]
    run = subprocess.run([warm_python, "-c", code, folder], capture_output=True, text=True, check=True)
    assert json.loads(run.stdout.splitlines()[-1]) == fingerprints()


@pytest.mark.parametrize(("name", "task"), TASKS)
def test_identity_without_loading_is_the_loaded_one(name: str, task: str):
    family = family_of(name, task)
    assert latent_encoder(name, task).identity == family.latent_identity(TINY)
    assert text_encoder(name, task).identity == family.text_identity(TINY)


@pytest.mark.parametrize(("name", "task"), TASKS)
def test_the_contents_of_a_cache_entry_are_the_declared_ones(name: str, task: str):
    declared = family_of(name, task).task
    item = {key: value[0] for key, value in encoded_item(name, task).items() if key != "latents"}
    text = encoded_text(name, task)[0]
    assert {key: tensor.ndim for key, tensor in item.items()} == {
        key: len(shape) for key, shape in declared.contents.items()
    }
    assert {key: tensor.ndim for key, tensor in text.tensors.items()} == {
        key: len(shape) for key, shape in declared.text_contents.items()
    }
    assert text.variable_length == {key for key, shape in declared.text_contents.items() if shape[0] == "L"}


@pytest.mark.parametrize(("name", "task"), [case for case in TASKS if not family_of(*case).task.control_range[1]])
def test_controls_that_a_task_does_not_take_are_refused(name: str, task: str):
    picture = pixels(name, items=1)
    with pytest.raises(UsageError, match=r"no control pictures|from the video.s first frame"):
        latent_encoder(name, task).encode_item(picture, controls=[picture])


LONG = [f"word{number:04}" for number in range(400)]


def same_encoding(name: str, task: str, first: list[str], second: list[str]) -> bool:
    (ours,), (theirs,) = (encode(name, task, [" ".join(words)]) for words in (first, second))
    return all(
        ours.tensors[content].shape == tensor.shape and torch.equal(ours.tensors[content], tensor)
        for content, tensor in theirs.tensors.items()
    )


@pytest.mark.parametrize(("name", "task"), READINGS.values())
def test_a_family_says_which_words_of_a_long_caption_are_lost(name: str, task: str):
    """What is lost changes nothing; the last word that is read does. Without a limit every word is read."""
    reader = family_of(name, task).load_caption_reader(TINY)
    other_end = [*LONG[:-1], "other999"]
    if reader is None:
        assert not same_encoding(name, task, LONG, other_end)
        return
    overlong = reader.overlong(" ".join(LONG))
    assert overlong is not None
    read = len(LONG) - len(overlong.lost.split(" "))
    assert overlong.lost == " ".join(LONG[read:])
    assert same_encoding(name, task, LONG, other_end)
    assert not same_encoding(name, task, LONG, [*LONG[: read - 1], "other999", *LONG[read:]])
    assert reader.overlong(" ".join(LONG[:read])) is None


RELEASED = {
    (expert.part.class_path, repr(expert.part.published)): expert.part
    for case in TASKS
    for expert in family_of(*case).experts
}
"""The denoisers of all families and tasks, those of one size once."""


@pytest.mark.parametrize("part", RELEASED.values(), ids=lambda part: part.tiny_name)
def test_the_size_of_the_released_denoiser_is_known_without_its_files(part: Part):
    size = size_of(part.published_shapes())
    # Those of the miniatures are below a thousand.
    assert size.blocks * size.width > 1_000
    assert size.block_weights > 9 * size.other_weights
