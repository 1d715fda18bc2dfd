"""The loop between steps: previews, stops, and a run whose steps are all done."""

import contextlib

import pytest
import torch
from torch import nn

from blissmask.errors import StoppedError
from blissmask.training import loop
from blissmask.training.experts import StepSchedule
from blissmask.training.loop import LoopHooks, LoopSettings, PreviewHook, train
from blissmask.training.record.metrics import MetricBuffer


class Denoiser:
    def __init__(self):
        self.module = nn.Linear(1, 1)


class Learner:
    """Stands for a learner that records where it is sent."""

    def __init__(self):
        self.denoiser = Denoiser()
        self.optimizer = torch.optim.SGD(self.denoiser.module.parameters(), lr=0.1)
        self.sent_to = []

    def to(self, device):
        self.sent_to.append(device.type)


class Batches:
    def window(self, step, *, last):
        return []


@pytest.fixture
def steps(monkeypatch):
    """Return the list of steps that were trained; a step does nothing else."""
    trained = []

    def run_step(learner, window, rule, *, step, **options):
        trained.append(step)
        return {"loss": 0.5}

    monkeypatch.setattr(loop, "run_step", run_step)
    return trained


def train_some(learner, *, start=0, total=4, save_at=(), preview_at=(), draw=None, stop_signal=lambda: 0):
    """Train ``learner`` and return the numbers of steps at which it was saved."""
    saved = []
    settings = LoopSettings(
        start=start,
        total=total,
        schedule=StepSchedule((1.0,), total),
        rule=None,
        device=torch.device("cpu"),
        offload=False,
    )
    hooks = LoopHooks(
        is_save_due=lambda done: done in save_at,
        save=saved.append,
        stop_signal=stop_signal,
        previews=None if draw is None else PreviewHook(is_due=lambda done: done in preview_at, draw=draw),
        resume_hint="type it again",
    )
    with contextlib.suppress(StoppedError):
        train([learner], Batches(), settings, hooks, MetricBuffer(1, lambda step, values: None))
    return saved


def test_a_learner_comes_back_to_its_device_after_previews_alone(steps):
    learner, drawn = Learner(), []
    train_some(learner, preview_at=(2,), draw=drawn.append)
    assert drawn == [2]
    assert learner.sent_to == ["cpu", "cpu"]
    assert steps == [0, 1, 2, 3]


def test_previews_that_are_due_before_the_first_step_are_drawn_first(steps):
    drawn = []
    train_some(Learner(), preview_at=(0,), draw=lambda done: drawn.append((done, len(steps))))
    assert drawn == [(0, 0)]


def test_a_stop_while_previews_are_drawn_saves_the_step_before_them(steps):
    signals = []
    saved = train_some(
        Learner(),
        preview_at=(2,),
        draw=lambda done: signals.append(15),
        stop_signal=lambda: signals[-1] if signals else 0,
    )
    assert saved == [2]
    assert steps == [0, 1]


def test_a_step_that_was_saved_already_is_not_saved_again_at_a_stop_in_its_previews(steps):
    signals = []
    saved = train_some(
        Learner(),
        save_at=(2,),
        preview_at=(2,),
        draw=lambda done: signals.append(15),
        stop_signal=lambda: signals[-1] if signals else 0,
    )
    assert saved == [2]


def test_a_run_whose_steps_are_all_done_saves_and_trains_nothing(steps):
    assert train_some(Learner(), start=4, total=4) == [4]
    assert steps == []


def test_the_last_step_is_saved_without_being_asked_for(steps):
    assert train_some(Learner(), save_at=(2,)) == [2, 4]
