"""Previews: drawn when it is time, by every family, and never at the cost of the training."""

import gc
import re
import weakref

import numpy as np
import pytest
import torch
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit as edit
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus as edit_plus

from blissmask.errors import StoppedError
from blissmask.events import Advanced, Measured, Noted, Warned
from blissmask.families.family import FamilyForTask
from blissmask.families.previews.sampler import PreviewSampler
from blissmask.media.image import read_image
from blissmask.media.video import read_frames, read_info
from blissmask.tasks.run.plan import RunContext
from blissmask.tasks.train import train_lora
from blissmask.tasks.train.plan import plan as plan_training
from blissmask.tasks.train.previews import draw
from blissmask.training.record.states.find import find_states
from tests.builders.cached_families import write_cache
from tests.builders.families import EDIT, PICTURES, PLAIN, SHOWN_FRAME, TWO_EXPERTS, family_of
from tests.builders.pictures import random_rgb, save
from tests.builders.recorder import Recorder
from tests.builders.training import FEWER_LAYERS, run, tensors_of, train_config


class SwitchingSgd(torch.optim.SGD):
    """Keeps two versions of the weights, as schedule-free optimisers do, and computes one from the other."""

    is_training = True

    def _switch(self, factor, *, training):
        if self.is_training != training:
            self.is_training = training
            for group in self.param_groups:
                for weight in group["params"]:
                    weight.data.mul_(factor)

    def eval(self):
        self._switch(1 / 3, training=False)

    def train(self):
        self._switch(3, training=True)


@pytest.fixture
def grey(monkeypatch):
    """Draw every preview grey and at once, for tests that look at the files and not at the pictures."""
    monkeypatch.setattr(
        PreviewSampler,
        "sample",
        lambda sampler, denoisers, prompt: np.full((prompt.settings.frame_count, 32, 32, 3), 128, np.uint8),
    )


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("a portrait of kyla --s 2 --fs 3\nkyla walks --f 5 --w 48 --s 2 --d 7 --fs 3\n", encoding="utf-8")
    return path


def pictures(folder):
    return sorted(path.name for path in (folder / "sample").glob("*")) if (folder / "sample").is_dir() else []


def said(recorder):
    return [event.text for event in recorder.of(Noted) if event.text.startswith("preview ")]


def same_bytes(first, second):
    names = sorted(path.name for path in first.glob("*.safetensors"))
    assert names == sorted(path.name for path in second.glob("*.safetensors"))
    return all(
        torch.equal(tensor, tensors_of(second / name)[key])
        for name in names
        for key, tensor in tensors_of(first / name).items()
    )


@pytest.mark.parametrize(
    ("name", "task"),
    [(PLAIN, ""), (TWO_EXPERTS, ""), (PICTURES, ""), (EDIT, ""), SHOWN_FRAME],
    ids=["plain", "two experts", "pictures", "edit", "shown frame"],
)
def test_every_kind_of_family_draws_while_it_trains(tmp_path, monkeypatch, name, task):
    monkeypatch.setattr(edit_plus, "VAE_IMAGE_SIZE", 64 * 64)
    dimensions = edit.calculate_dimensions
    monkeypatch.setattr(edit, "calculate_dimensions", lambda area, ratio: dimensions(64 * 64, ratio))
    family = family_of(name, task)
    cache = write_cache(tmp_path / "cache", family)
    picture = save(tmp_path / "first frame.png", random_rgb((128, 72)))
    shown = (
        f" --{'ci' if family.task.control_range[1] else 'i'} {picture}" if family.preview_pipeline().pictures[1] else ""
    )
    clip = f"kyla walks --f 5 --s 1{shown}\n" if family.task.takes_videos else ""
    (tmp_path / "prompts.txt").write_text(f'kyla says "hello" --f 1 --s 1{shown}\n{clip}', encoding="utf-8")
    options = {
        "arch": None,
        "max_train_steps": 1,
        "sample_prompts": tmp_path / "prompts.txt",
        "sample_every_n_steps": 1,
    }
    _, recorder = run(train_config(cache, tmp_path / "out", **options))
    assert not recorder.of(Warned)
    run_name = f"kyla-{family.experts[-1].name}" if len(family.experts) > 1 else "kyla"
    expected = [f"{run_name}_000001_00_42.png", *([f"{run_name}_000001_01_42.mp4"] if clip else [])]
    assert pictures(tmp_path / "out") == expected
    side = 2 * family.latent.grid_multiple
    assert read_image(tmp_path / "out" / "sample" / expected[0]).rgb_HW3.shape == (side, side, 3)
    if clip:
        info = read_info(tmp_path / "out" / "sample" / expected[1])
        assert (info.size_wh, info.frame_count, info.fps) == ((side, side), 5, family.default_fps)


@pytest.mark.parametrize(
    "options",
    [
        {"network_dropout": 0.5},
        {"network_type": "lokr"},
        {"gradient_checkpointing": True, "blocks_to_swap": 1},
        {"fp8_base": True},
        {"int8_base": True},
        {"optimizer_type": f"{__name__}.SwitchingSgd"},
        {"arch": TWO_EXPERTS},
        {
            "arch": TWO_EXPERTS,
            "expert": "both",
            "high_noise_share": 0.5,
            "expert_run_length": 1,
            "offload_inactive_dit": True,
        },
        {"arch": TWO_EXPERTS, "expert": "both", "high_noise_share": 0.5, "shared_lora": True},
    ],
    ids=str,
)
def test_previews_change_no_bit_of_the_lora(cache, prompts, tmp_path, options):
    options = {"use_mask_loss": True, "max_train_steps": 2, "lr_scheduler": "cosine", **options}
    run(train_config(cache, tmp_path / "plain", **options))
    _, recorder = run(
        train_config(
            cache, tmp_path / "drawn", sample_prompts=prompts, sample_every_n_steps=1, sample_at_first=True, **options
        )
    )
    assert len(said(recorder)) == 6
    assert same_bytes(tmp_path / "plain", tmp_path / "drawn")
    logs = [next(folder.glob("*-log.jsonl")).read_bytes() for folder in (tmp_path / "plain", tmp_path / "drawn")]
    assert logs[0] == logs[1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
def test_compiled_blocks_are_not_compiled_again_for_previews(cache, prompts, tmp_path):
    options = {"max_train_steps": 2, "compile": True, "compile_backend": "aot_eager", **FEWER_LAYERS}
    graphs = []
    for name, previews in (("plain", {}), ("drawn", {"sample_prompts": prompts, "sample_every_n_steps": 1})):
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        run(train_config(cache, tmp_path / name, **options, **previews))
        graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    assert graphs[0] == graphs[1] > 0
    assert len(pictures(tmp_path / "drawn")) == 4
    assert same_bytes(tmp_path / "plain", tmp_path / "drawn")


def test_global_random_state_is_what_it_was(cache, prompts, tmp_path, monkeypatch):
    def spoil(sampler, denoisers, prompt):
        torch.rand(3)
        np.random.rand(3)
        return genuine(sampler, denoisers, prompt)

    genuine = PreviewSampler.sample
    monkeypatch.setattr(PreviewSampler, "sample", spoil)
    states = []
    monkeypatch.setattr(
        "blissmask.training.loop.run_step",
        lambda *args, step, **options: (
            states.append((torch.random.get_rng_state(), np.random.get_state()[1].copy()))
            or step_once(*args, step=step, **options)
        ),
    )
    from blissmask.training.step.run_step import run_step as step_once

    run(train_config(cache, tmp_path / "out", sample_prompts=prompts, sample_every_n_steps=1, max_train_steps=3))
    assert len(states) == 3
    assert all(
        torch.equal(states[0][0], torch_state) and (states[0][1] == state).all() for torch_state, state in states[1:]
    )


def test_what_is_learnt_is_seen(cache, prompts, tmp_path):
    options = {
        "max_train_steps": 4,
        "learning_rate": 1.0,
        "sample_prompts": prompts,
        "sample_every_n_steps": 4,
        "sample_at_first": True,
    }
    run(train_config(cache, tmp_path / "out", **options))
    before, after = (read_image(tmp_path / "out" / "sample" / f"kyla_00000{step}_00_42.png").rgb_HW3 for step in (0, 4))
    assert np.abs(before.astype(int) - after).mean() > 1
    page = (tmp_path / "out" / "kyla.html").read_text()
    assert "<th>prompt</th><th>base model</th><th>step 4</th>" in page
    assert page.index("sample/kyla_000000_00_42.png") < page.index("sample/kyla_000004_00_42.png")
    assert page.count('<img src="data:image/webp;base64,') == page.count("<td><a href="), "copies are part of the page"


@pytest.mark.parametrize(
    ("options", "labels"),
    [
        # The final LoRA has its own.
        ({"sample_every_n_steps": 2}, ["000002", "000004", "000005"]),
        ({"sample_every_n_steps": 5}, ["000005"]),
        ({"sample_every_n_epochs": 1}, ["000005", "e000001"]),
        ({"sample_every_n_epochs": 1, "sample_every_n_steps": 4}, ["000004", "000005"]),
        ({"sample_at_first": True}, ["000000", "000005"]),
        ({"sample_every_n_epochs": 1, "gradient_accumulation_steps": 2}, ["000005", "e000001", "e000002"]),
    ],
    ids=str,
)
def test_files_are_named_by_step_or_epoch(cache, prompts, grey, tmp_path, options, labels):
    run(train_config(cache, tmp_path / "out", sample_prompts=prompts, max_train_steps=5, **options))
    assert pictures(tmp_path / "out") == [
        f"kyla_{label}_{name}" for label in labels for name in ("00_42.png", "01_7.mp4")
    ]


def test_denoisers_are_loaded_once_and_after_the_text_encoder_is_let_go(cache, prompts, tmp_path, monkeypatch):
    encoders, loaded = [], []
    load_text, load = FamilyForTask.load_text_encoder, FamilyForTask.load_denoiser

    def watch(family, *args, **options):
        encoder = load_text(family, *args, **options)
        encoders.append(weakref.ref(encoder))
        return encoder

    def count(family, files, expert, **options):
        gc.collect()
        loaded.append((expert.name, [encoder() for encoder in encoders]))
        return load(family, files, expert, **options)

    monkeypatch.setattr(FamilyForTask, "load_text_encoder", watch)
    monkeypatch.setattr(FamilyForTask, "load_denoiser", count)
    run(train_config(cache, tmp_path / "out", arch=TWO_EXPERTS, sample_prompts=prompts, sample_every_n_steps=1))
    assert loaded == [("high", [None]), ("low", [None])]


def test_experts_that_rest_are_out_of_the_way_when_the_other_draws(cache, prompts, tmp_path, monkeypatch):
    """On one device nothing moves for real, so the moves are written down."""
    from blissmask.training.experts import FrozenExpert, Learner

    moves = []
    for kind in (Learner, FrozenExpert):
        move = kind.to
        monkeypatch.setattr(
            kind,
            "to",
            lambda expert, device, move=move: moves.append((expert.name, str(device))) or move(expert, device),
        )
    options = {"arch": TWO_EXPERTS, "max_train_steps": 1, "sample_prompts": prompts, "sample_every_n_steps": 1}
    run(train_config(cache, tmp_path / "out", **options))
    # Loaded into CPU memory; the step; then for each of two prompts high draws, low draws, and high rests again.
    turns = [("low", "cpu"), ("high", "cpu"), ("high", "cpu"), ("low", "cpu"), ("high", "cpu")]
    assert moves == [("high", "cpu"), ("low", "cpu"), *turns, *turns]


def interrupt(recorder, *, after):
    """Return a stop signal that comes in the middle of a preview, at the ``after``-th pass through a denoiser."""
    return lambda: 2 if sum("preview" in event.note for event in recorder.of(Advanced)) >= after else 0


@pytest.mark.parametrize("save_every", [None, 1])
def test_a_stop_while_drawing_ends_between_passes_and_goes_on_later(cache, prompts, tmp_path, save_every):
    options = {
        "sample_prompts": prompts,
        "sample_every_n_steps": 2,
        "max_train_steps": 4,
        "save_every_n_steps": save_every,
    }
    run(train_config(cache, tmp_path / "whole", **options))
    recorder = Recorder()
    plan = plan_training(train_config(cache, tmp_path / "parts", **options))
    with pytest.raises(StoppedError, match="after step 2 of 4"):
        train_lora.run(plan, RunContext(recorder, stop_signal=interrupt(recorder, after=3)))
    assert [event.step for event in recorder.of(Measured)] == [1, 2]
    assert not recorder.of(Warned)
    assert pictures(tmp_path / "parts") == []
    assert find_states(tmp_path / "parts", "kyla").whole[-1][0] == 2
    _, recorder = run(train_config(cache, tmp_path / "parts", **options))
    assert pictures(tmp_path / "parts") == pictures(tmp_path / "whole")
    assert len(said(recorder)) == 4
    assert same_bytes(tmp_path / "whole", tmp_path / "parts")


def test_a_resumed_run_draws_only_what_is_missing(cache, prompts, grey, tmp_path):
    options = {"sample_prompts": prompts, "sample_every_n_steps": 1, "max_train_steps": 4}
    with pytest.raises(StoppedError):
        run(train_config(cache, tmp_path / "out", **options), stop_after=2)
    (tmp_path / "out" / "sample").mkdir(exist_ok=True)
    drawn = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "sample").iterdir()}
    newer = save(tmp_path / "out" / "sample" / "kyla_000003_00_42.png", random_rgb((8, 8)))
    _, recorder = run(train_config(cache, tmp_path / "out", **options))
    assert all(path.stat().st_mtime_ns == time for path, time in drawn.items())
    assert not any("kyla_000001" in text for text in said(recorder))
    assert str(newer) not in " ".join(said(recorder))
    assert "kyla_000003_01_7.mp4" in pictures(tmp_path / "out")


def test_pictures_of_an_earlier_run_are_drawn_anew(cache, prompts, grey, tmp_path):
    options = {"sample_prompts": prompts, "sample_every_n_steps": 1}
    run(train_config(cache, tmp_path / "out", **options))
    _, recorder = run(train_config(cache, tmp_path / "out", resume=False, **options))
    assert len(said(recorder)) == 4


@pytest.mark.parametrize(
    ("error", "message", "hint"),
    [
        (RuntimeError("bad\nnews"), "RuntimeError: bad", ""),
        (torch.OutOfMemoryError("CUDA out of memory"), "5 frames of 48x32 do not fit in the memory", "lower `--w`"),
    ],
)
def test_what_fails_is_said_and_the_training_goes_on(cache, prompts, tmp_path, monkeypatch, error, message, hint):
    def fail(sampler, denoisers, prompt):
        if prompt.settings.frame_count > 1:
            raise error
        return genuine(sampler, denoisers, prompt)

    genuine = PreviewSampler.sample
    monkeypatch.setattr(PreviewSampler, "sample", fail)
    options = {"sample_prompts": prompts, "sample_every_n_steps": 1}
    run(train_config(cache, tmp_path / "plain"))
    summary, recorder = run(train_config(cache, tmp_path / "out", **options))
    assert [problem.what for problem in summary.warnings if "preview" in problem.what] == [
        "2 previews could not be drawn"
    ]
    problems = [event.problem for event in recorder.of(Warned)]
    assert [problem.what for problem in problems] == [
        f"preview 2 could not be drawn, and the training goes on: {message}"
    ] * 2
    assert problems[0].where == ("prompts.txt, line 2: kyla walks",)
    assert hint in problems[0].fix
    assert pictures(tmp_path / "out") == ["kyla_000001_00_42.png", "kyla_000002_00_42.png"]
    assert same_bytes(tmp_path / "plain", tmp_path / "out")


def test_a_folder_that_cannot_be_written_is_said_and_the_training_goes_on(cache, prompts, grey, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sample").write_text("a file", encoding="utf-8")
    _, recorder = run(train_config(cache, tmp_path / "out", sample_prompts=prompts, sample_every_n_steps=2))
    assert len(recorder.of(Warned)) == 2
    assert (tmp_path / "out" / "kyla.safetensors").is_file()


def test_denoisers_are_themselves_again_after_a_failure(cache, prompts, tmp_path, monkeypatch):
    learners = []
    load = train_lora.load_learners
    monkeypatch.setattr(
        train_lora, "load_learners", lambda *args: (lambda made: learners.extend(made[0]) or made)(load(*args))
    )

    def fail(sampler, denoisers, prompt):
        assert not any(part.training for part in denoisers[""].modules())
        raise RuntimeError

    monkeypatch.setattr(PreviewSampler, "sample", fail)
    run(train_config(cache, tmp_path / "out", sample_prompts=prompts, sample_every_n_steps=1))
    module = learners[0].denoiser.module
    assert all(part.training for part in module.modules())
    assert not module._forward_pre_hooks


def test_progress_says_which_preview_and_how_far(cache, prompts, tmp_path):
    _, recorder = run(train_config(cache, tmp_path / "out", sample_prompts=prompts, sample_every_n_steps=2))
    notes = [event.note for event in recorder.of(Advanced) if event.note.startswith("preview")]
    assert notes[:4] == [f"preview 1 of 2, {share}%" for share in (0, 25, 50, 75)]
    assert all(re.fullmatch(r"preview \d of 2, \d+%", note) for note in notes)


def test_a_clip_shows_its_first_frame(tmp_path):
    """Where the denoiser is shown the first frame it keeps the picture as it is; only the VAE stands between."""
    cache = write_cache(tmp_path / "cache", family_of(*SHOWN_FRAME))
    grey = save(tmp_path / "grey.png", np.full((64, 64, 3), 200, np.uint8))
    dark = save(tmp_path / "dark.png", np.full((64, 64, 3), 20, np.uint8))
    (tmp_path / "prompts.txt").write_text(f"a --f 5 --s 1 --i {grey}\na --f 5 --s 1 --i {dark}\n", encoding="utf-8")
    options = {
        "arch": None,
        "max_train_steps": 1,
        "sample_prompts": tmp_path / "prompts.txt",
        "sample_every_n_steps": 1,
    }
    run(train_config(cache, tmp_path / "out", **options))
    firsts = [next(iter(read_frames(path))) for path in sorted((tmp_path / "out" / "sample").glob("*.mp4"))]
    assert np.abs(firsts[0].astype(int) - firsts[1]).mean() > 1


def test_prompts_that_do_not_fit_into_the_memory_cost_the_previews_alone(cache, prompts, tmp_path, monkeypatch):
    def full(*args, **options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(draw, "encode_prompts", full)
    _, recorder = run(train_config(cache, tmp_path / "out", sample_prompts=prompts, sample_every_n_steps=1))
    assert any("no previews are drawn" in event.problem.what for event in recorder.of(Warned))
    assert (tmp_path / "out" / "kyla.safetensors").is_file()
    assert not (tmp_path / "out" / "sample").exists()
