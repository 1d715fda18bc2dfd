"""`preview_dit`: another model draws under the LoRA that is trained, and the training does not notice."""

import pytest
import torch
from safetensors.torch import save_file

from blissmask.errors import UsageError
from blissmask.events import Warned
from blissmask.families.protocol import Batch
from blissmask.media.image import read_image
from blissmask.tasks.train.plan import plan as plan_training
from blissmask.training.lora.file import load_lora
from blissmask.training.lora.layers.inject import inject_lora
from blissmask.training.lora.layers.lora import LoraShape
from blissmask.training.lora.layers.share import follow_lora
from tests.builders.families import PLAIN, TWO_EXPERTS, tiny_denoiser
from tests.builders.lora_file import save_lora
from tests.builders.training import TEXT_WIDTH, run, seeded, tensors_of, train_config


@pytest.fixture
def drawing(tmp_path):
    """Write a prompt, and a file of other weights than the miniature's; return the options of previews."""
    (tmp_path / "prompts.txt").write_text("a portrait of kyla --s 2 --f 1\n", encoding="utf-8")
    save_file(other_denoiser().module.state_dict(), tmp_path / "other.safetensors")
    return {
        "preview_dit": tmp_path / "other.safetensors",
        "sample_prompts": tmp_path / "prompts.txt",
        "sample_every_n_steps": 2,
        "sample_at_first": True,
        "max_train_steps": 2,
        "learning_rate": 0.1,
    }


def other_denoiser():
    """Return the miniature with other weights."""
    denoiser = tiny_denoiser(PLAIN)
    with torch.no_grad():
        for parameter in denoiser.module.parameters():
            parameter.mul_(1.5)
    return denoiser


def drawn(folder, step):
    return read_image(folder / "sample" / f"kyla_{step:06d}_00_42.png").rgb_HW3


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gradient_checkpointing": True, "blocks_to_swap": 1},
        {"int8_base": True},
        {"network_dropout": 0.5},
        {"network_type": "lokr", "nf4_base": True},
    ],
    ids=lambda options: "_".join(options) or "plain",
)
def test_the_other_model_draws_and_training_stays_the_same_to_the_bit(
    cache, tmp_path, drawing, with_package_of, options
):
    with_package_of(options)
    _, recorder = run(train_config(cache, tmp_path / "out", **drawing, **options))
    assert not recorder.of(Warned)
    usual = {**drawing, "preview_dit": None}
    run(train_config(cache, tmp_path / "usual", **usual, **options))
    trained, expected = (tensors_of(tmp_path / name / "kyla.safetensors") for name in ("out", "usual"))
    assert all(torch.equal(tensor, expected[key]) for key, tensor in trained.items())
    # Its own weights show before the first step, and the LoRA in what it draws after the last one.
    assert (drawn(tmp_path / "out", 0) != drawn(tmp_path / "usual", 0)).any()
    assert (drawn(tmp_path / "out", 2) != drawn(tmp_path / "out", 0)).any()


def test_the_other_model_predicts_as_it_does_under_the_finished_file(tmp_path):
    shape = LoraShape(rank=2, alpha=1.0)
    followed = inject_lora(tiny_denoiser(PLAIN), shape, seed=0)
    drawing, finished = other_denoiser(), other_denoiser()
    follow_lora(followed, inject_lora(drawing, shape, seed=1), drawing.module)
    for number, (_, parameter) in enumerate(followed.named_parameters()):
        parameter.data = seeded(*parameter.shape, seed=number)
    save_lora(tmp_path / "kyla.safetensors", followed, {})
    load_lora(tmp_path / "kyla.safetensors", inject_lora(finished, shape, seed=2))
    batch = Batch(seeded(1, 16, 1, 4, 4), torch.tensor([0.6]), {"t5": [seeded(5, TEXT_WIDTH)]})
    with torch.no_grad():
        assert torch.equal(drawing.predict(batch), finished.predict(batch))
        assert not torch.allclose(drawing.predict(batch), other_denoiser().predict(batch))


def test_layers_that_the_trained_lora_left_out_are_left_out_of_the_other_model():
    shape = LoraShape(rank=2, alpha=1.0)
    trained, other = tiny_denoiser(PLAIN), tiny_denoiser(PLAIN)
    followed, lora = inject_lora(trained, shape, seed=0), inject_lora(other, shape, seed=1)
    gone = next(iter(followed.layers))
    del followed.layers[gone]
    follow_lora(followed, lora, other.module)
    assert lora.layers.keys() == followed.layers.keys()
    assert isinstance(other.module.get_submodule(gone), torch.nn.Linear)
    for (_, ours), (_, theirs) in zip(lora.named_parameters(), followed.named_parameters(), strict=True):
        assert ours is theirs


def test_a_model_of_another_size_is_refused():
    small, large = (inject_lora(tiny_denoiser(PLAIN), LoraShape(rank=rank, alpha=1.0), seed=0) for rank in (2, 4))
    with pytest.raises(UsageError, match="another size"):
        follow_lora(small, large, torch.nn.Module())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sample_prompts": None, "sample_every_n_steps": None, "sample_at_first": False}, "needs prompts"),
        ({"preview_dit": "missing.safetensors"}, "no such file"),
        ({"arch": TWO_EXPERTS}, "draws with two"),
    ],
)
def test_what_cannot_draw_is_refused_in_the_plan(cache, tmp_path, drawing, options, said):
    with pytest.raises(UsageError, match=said):
        plan_training(train_config(cache, tmp_path / "out", **{**drawing, **options}))
