"""What a run leaves of its steps: the log, the loss curve, TensorBoard and wandb."""

import importlib.machinery
import importlib.util
import json
import math
import os
import re
import sys
import types

import numpy as np
import pytest

from blissmask.errors import InputError, MachineError, MissingPackageError, StoppedError
from blissmask.events import Warned
from blissmask.media import chart
from blissmask.media.image import read_image
from blissmask.tasks.run.plan import RunContext
from blissmask.tasks.run.wording import bytes_text
from blissmask.tasks.train.plan import plan as plan_training
from blissmask.tasks.train.saving.curve import draw_curve, save_curve, smoothed, svg_curve
from blissmask.tasks.train.saving.page import run_page
from blissmask.training.record.metrics import read_log
from blissmask.training.record.saving import Outputs
from blissmask.training.record.trackers import WandbRun, trackers_kept_out, tracking
from tests.builders.recorder import Recorder
from tests.builders.training import run, train_config


def curve_of(folder):
    return read_image(folder / "kyla-loss.png").rgb_HW3


def test_the_curve_is_of_the_whole_log_also_when_the_run_was_stopped_and_continued(cache, tmp_path):
    config = train_config(
        cache, tmp_path / "out", use_mask_loss=True, max_train_steps=6, validation_split=0.25, validate_every_n_steps=2
    )
    with pytest.raises(StoppedError):
        run(config, stop_after=3)
    log = tmp_path / "out" / "kyla-log.jsonl"
    assert np.array_equal(curve_of(tmp_path / "out"), draw_curve(read_log(log), title="kyla"))
    page = tmp_path / "out" / "kyla.html"
    assert "3 of 6 steps, in training, or stopped" in page.read_text()
    summary, _ = run(config)
    assert len(read_log(log)) == 6
    text = page.read_text()
    assert "6 of 6 steps, finished" in text
    assert "A trial in miniature, with random weights." in text
    assert "<svg class=chart" in text
    assert not re.search(r'(src|href)="(?!data:)', text), "it needs no other file"
    assert re.search(r"<td>face</td><td class=figure>255</td>.*<td class=figure>\d+\.\d%</td>", text), "as measured"
    assert (
        f"<td>kyla.safetensors</td><td class=figure>{bytes_text((tmp_path / 'out' / 'kyla.safetensors').stat().st_size)}</td>"
        in text
    )
    assert re.search(r"<h2>Held out</h2>\n<ul class=places><li>kyla\d{3}</li></ul>", text)
    assert f"<td class=figure>{read_log(log)[-1]['val/loss']:#.3g}</td>" in text
    facts = dict(re.findall(r"<tr><td>([^<]*)</td><td[^>]*>([^<]*)</td></tr>", text))
    assert (facts["items trained"], facts["items held out"]) == ("3", "1")
    assert facts["face, of the picture"] == facts["hair, of the picture"] == "25.0%"
    assert facts["sizes in training"] == "4 of 32x32"
    assert facts["different captions"] == "4"
    assert np.array_equal(curve_of(tmp_path / "out"), draw_curve(read_log(log), title="kyla"))
    rows = dict(summary.tables[-1].rows)
    assert rows["page"] == str(tmp_path / "out" / "kyla.html")
    steps = [line["loss"] for line in read_log(tmp_path / "out" / "kyla-log.jsonl")]
    assert rows["loss"] == f"{steps[0]:.4f} at first, {steps[-1]:.4f} at last, means of 1 step"


def test_a_run_that_fails_has_a_curve_too(cache, tmp_path, monkeypatch):
    from blissmask.training import loop

    genuine = loop.run_step
    monkeypatch.setattr(
        loop, "run_step", lambda *a, **o: {**genuine(*a, **o), **({"loss": float("nan")} if o["step"] == 2 else {})}
    )
    with pytest.raises(InputError, match="not finite"):
        run(train_config(cache, tmp_path / "out", max_train_steps=5))
    assert curve_of(tmp_path / "out").shape[1] == chart.WIDTH


def test_a_curve_that_cannot_be_drawn_costs_nothing_but_a_warning(cache, tmp_path):
    (tmp_path / "out" / "kyla-loss.png").mkdir(parents=True)
    config = train_config(cache, tmp_path / "out", save_every_n_steps=1, use_mask_loss=True, mask_min_weight=0.05)
    [told] = plan_training(config).warnings
    assert (told.what, told.fix) == ("the loss curve is not drawn", "remove or rename it")
    assert told.where[0].endswith("kyla-loss.png: a folder that is not ours stands where the loss curve would go")
    summary, recorder = run(config)
    assert recorder.of(Warned) == [], "the plan told it"
    assert summary.written == 1


def test_what_prevents_the_pictures_during_a_run_is_told_once(tmp_path):
    recorder = Recorder()
    plan = types.SimpleNamespace(names=Outputs(tmp_path, "kyla", ("kyla",)), warnings=[])
    plan.names.log.write_text('{"step": 1, "loss": 1.0}\n')
    plan.names.curve.mkdir()
    plan.names.page.write_text("my own")
    drawing = run_page.Drawing(plan, None, RunContext(reporter=recorder))
    drawing.draw()
    drawing.draw()
    whats = [event.problem.what for event in recorder.of(Warned)]
    assert whats == ["the loss curve is not drawn", "the page of the training is not written"]


def test_a_page_that_is_not_ours_is_kept_and_named(cache, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "kyla.html").write_text("my own")
    config = train_config(cache, tmp_path / "out", max_train_steps=1)
    assert [problem.what for problem in plan_training(config).warnings][1:] == [
        "the page of the training is not written"
    ]
    summary, recorder = run(config)
    assert recorder.of(Warned) == []
    assert "page" not in dict(summary.tables[-1].rows)
    assert (tmp_path / "out" / "kyla.html").read_text() == "my own"


def test_a_picture_that_is_not_ours_is_kept(tmp_path):
    from PIL import Image

    lines = [{"step": 1, "loss": 1.0}]
    Image.new("RGB", (4, 4)).save(tmp_path / "mine.png")
    before = (tmp_path / "mine.png").read_bytes()
    assert "not drawn" in save_curve(lines, tmp_path / "mine.png", title="x").what
    assert (tmp_path / "mine.png").read_bytes() == before


@pytest.mark.parametrize("lines", [[], [{"step": 1}], [{"step": 1, "loss": math.nan}]])
def test_a_log_without_a_loss_has_no_curve(tmp_path, lines):
    assert save_curve(lines, tmp_path / "curve.png", title="x") is None
    assert not (tmp_path / "curve.png").exists()
    assert list(svg_curve(lines)) == []


def test_numbers_that_are_none_are_not_drawn(tmp_path):
    lines = [{"step": step, "loss": step / 8, "loss/high": math.inf, "lr": math.nan} for step in range(1, 9)]
    lines[3]["loss"], lines[5]["loss"] = -math.inf, 1e300
    assert save_curve(lines, tmp_path / "curve.png", title="x") is None
    text = "\n".join(svg_curve(lines))
    assert "nan" not in text
    assert "high noise" not in text
    assert "Learning rate" not in text


@pytest.mark.parametrize(
    "line", ["not JSON", '{"loss": 1.0}', "[1, 2]", '{"step": 1, "loss": "low"}', '{"step": NaN}', '{"step": Infinity}']
)
def test_a_damaged_log_is_an_error_that_names_it(tmp_path, line):
    (tmp_path / "log.jsonl").write_text(f"{line}\n")
    with pytest.raises(InputError, match="not ours"):
        read_log(tmp_path / "log.jsonl")


@pytest.mark.parametrize(("step", "expected"), [(1, {}), (4, {"a": 2.0}), (9, {"a": 3.0, "b": 1.0})])
def test_a_checkpoint_has_what_was_measured_last_before_it(step, expected):
    log = [
        {"step": 1, "loss": 1.0},
        {"step": 2, "a": 1.0},
        {"step": 2, "a": 2.0},
        {"step": 9, "a": 3.0},
        {"step": 5, "b": 1.0},
    ]
    found = dict(zip([1, 4, 9], run_page._latest(log, ["a", "b"], [1, 4, 9]), strict=True))
    assert found[step] == expected


def test_drawing_reads_the_log_once_and_a_damaged_one_is_one_warning(tmp_path):
    recorder = Recorder()
    plan = types.SimpleNamespace(names=Outputs(tmp_path, "kyla", ("kyla",)), warnings=[])
    plan.names.log.write_text("not JSON\n")
    run_page.Drawing(plan, None, RunContext(reporter=recorder)).draw()
    (problem,) = [event.problem for event in recorder.of(Warned)]
    assert "not JSON" in problem.where[0]


def test_each_part_of_the_log_has_its_colour_in_the_curve():
    lines = [{"step": step, "loss": 1.0 + step % 3, "lr": 1e-4} for step in range(1, 60)]
    plain = colours(draw_curve(lines, title="kyla"))
    regions = colours(draw_curve([{**line, "loss/face": 2.0} for line in lines], title="kyla"))
    held_out = colours(
        draw_curve([{**line, "val/loss": 2.0} if line["step"] % 20 == 0 else line for line in lines], title="kyla")
    )
    assert (213, 94, 0) in regions - plain
    assert (204, 60, 120) in held_out - plain


def colours(rgb_HW3):
    return {tuple(colour) for colour in np.unique(rgb_HW3.reshape(-1, 3), axis=0).tolist()}


def test_smoothing_starts_at_the_first_value_and_forgets_by_its_length():
    steps = np.arange(100.0)
    _, constant = smoothed((steps, np.full(100, 3.0)), 10)
    assert constant == pytest.approx(3.0)
    _, jump = smoothed((steps, np.where(steps < 50, 0.0, 1.0)), 10)
    assert jump[59] == pytest.approx(1 - 0.9**10, abs=0.01)


def test_tensorboard_gets_every_step(cache, tmp_path):
    event_file = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    run(train_config(cache, tmp_path / "out", use_mask_loss=True, max_train_steps=3, logging_dir=tmp_path / "board"))
    (path,) = (tmp_path / "board" / "kyla").iterdir()
    events = [event for event in event_file.EventFileLoader(str(path)).Load() if event.HasField("summary")]
    assert {(event.step, event.summary.value[0].tag) for event in events} >= {(step, "loss/face") for step in (1, 2, 3)}


@pytest.mark.parametrize("choice", [None, "tensorboard"])
def test_tensorboard_writes_beside_the_lora_by_default_and_when_it_is_named(cache, tmp_path, choice):
    pytest.importorskip("tensorboard")
    run(train_config(cache, tmp_path / "out", log_with=choice))
    (path,) = (tmp_path / "out" / "logs" / "kyla").iterdir()
    assert path.name.startswith("events.out.tfevents")


def test_where_tensorboard_cannot_name_the_folder_it_is_told_and_left_out(tmp_path):
    pytest.importorskip("tensorboard")
    folder, told = tmp_path / os.fsdecode(b"caf\xe9"), []
    shown = WandbRun("blissmask", "kyla", "kyla", {})
    with tracking(["tensorboard"], folder, first_step=1, wandb_run=shown, on_trouble=told.append) as track:
        track(1, {"loss": 0.5})
    assert [(problem.what, problem.where) for problem in told] == [
        ("TensorBoard writes to no folder whose name is not UTF-8", (str(folder),))
    ]


@pytest.mark.parametrize("there", ["logs", "logs/kyla"])
def test_what_stands_where_the_trackers_write_is_told_with_its_place(tmp_path, there):
    path = tmp_path / there
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"mine")
    folder = Outputs(tmp_path, "kyla", ("kyla",)).tracker_folder(None)
    assert trackers_kept_out((), folder) is None
    told = trackers_kept_out(("tensorboard",), folder)
    assert told.where == (f"{path}: a file that is not ours stands where the folder of the trackers would go",)
    assert told.fix.startswith("remove or rename it")
    with pytest.raises(InputError, match="a file that is not ours"):
        trackers_kept_out(("tensorboard", "wandb"), folder)
    path.unlink()
    assert trackers_kept_out(("tensorboard", "wandb"), folder) is None


def without(package, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *others: None if name == package else find(name, *others)
    )


def test_where_tensorboard_is_not_installed_the_log_is_enough(cache, tmp_path, monkeypatch):
    without("tensorboard", monkeypatch)
    run(train_config(cache, tmp_path / "out"))
    assert not (tmp_path / "out" / "logs").exists()


@pytest.mark.parametrize("choice", ["tensorboard", "all"])
def test_tensorboard_that_was_asked_for_and_is_missing_is_one_message(cache, tmp_path, monkeypatch, choice):
    without("tensorboard", monkeypatch)
    with pytest.raises(MissingPackageError, match=f"`--log-with {choice}` needs the package `tensorboard`"):
        plan_training(train_config(cache, tmp_path / "out", log_with=choice))


def test_none_writes_the_log_alone(cache, tmp_path):
    run(train_config(cache, tmp_path / "out", log_with="none"))
    assert not (tmp_path / "out" / "logs").exists()
    assert len(read_log(tmp_path / "out" / "kyla-log.jsonl")) == 2


class StandIn(types.ModuleType):
    """What `train` uses of wandb; remembers how it was used, and connects to nothing."""

    class Error(Exception):
        pass

    def __init__(self):
        super().__init__("wandb")
        self.__spec__ = importlib.machinery.ModuleSpec("wandb", None)
        self.started, self.steps, self.finished, self.refusal = {}, [], 0, None

    def init(self, **options):
        if self.refusal:
            raise self.Error(self.refusal)
        self.started = options
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.finished += 1

    def log(self, values, *, step):
        self.steps.append((step, values))


@pytest.fixture
def wandb(monkeypatch):
    module = StandIn()
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    return module


def test_wandb_gets_every_step_and_the_settings_and_stays_offline(cache, tmp_path, wandb):
    options = {"log_with": "wandb", "log_tracker_name": "loras", "wandb_run_name": "first try"}
    run(train_config(cache, tmp_path / "out", use_mask_loss=True, mask_gamma=0.7, **options))
    assert [step for step, _ in wandb.steps] == [1, 2]
    assert wandb.steps[0][1].keys() >= {"loss", "loss/face", "lr"}
    assert (wandb.started["project"], wandb.started["name"], wandb.started["group"]) == ("loras", "first try", "kyla")
    assert wandb.started["config"]["mask_gamma"] == 0.7
    assert json.dumps(wandb.started["config"])
    assert wandb.started["mode"] == "offline"
    assert wandb.started["dir"] == str(tmp_path / "out" / "logs" / "kyla")
    assert wandb.finished == 1
    assert not list((tmp_path / "out" / "logs" / "kyla").iterdir())


def test_wandb_goes_online_when_its_own_variable_says_so(cache, tmp_path, wandb, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    run(train_config(cache, tmp_path / "out", log_with="all"))
    assert wandb.started["mode"] == "online"
    assert len(wandb.steps) == 2
    assert list((tmp_path / "out" / "logs" / "kyla").iterdir())


def test_a_continued_run_goes_on_with_its_own_step_numbers(cache, tmp_path, wandb):
    config = train_config(cache, tmp_path / "out", log_with="wandb", max_train_steps=4)
    with pytest.raises(StoppedError):
        run(config, stop_after=2)
    run(config)
    assert [step for step, _ in wandb.steps] == [1, 2, 3, 4]
    assert wandb.finished == 2


def test_wandb_that_cannot_start_says_what_to_do(cache, tmp_path, wandb):
    wandb.refusal = "No API key configured"
    with pytest.raises(MachineError, match="No API key") as caught:
        run(train_config(cache, tmp_path / "out", log_with="wandb"))
    assert "wandb login" in caught.value.problems[0].fix


def test_wandb_that_is_missing_is_one_message_with_the_command_before_anything_is_read(tmp_path, cache, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match="needs the package `wandb`") as caught:
        plan_training(train_config(cache, tmp_path / "out", log_with="wandb"))
    assert caught.value.problems[0].fix == 'pip install "blissmask[wandb]"'
