"""`train --json`: a program can follow a training line by line."""

import json
import time

import pytest

from tests.builders.command import run_here
from tests.builders.families import PLAIN
from tests.builders.pictures import photo_folder
from tests.builders.training import write_masked_set

LINE = f"blissmask train --arch {PLAIN} --model tiny --network-dim 2 --max-train-steps 3 --use-mask-loss --log-with none --json"


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    """Return what a training of three steps printed on stdout."""
    folder = tmp_path_factory.mktemp("json")
    write_masked_set(folder / "cache")
    (folder / "blissmask.toml").write_text('[[datasets]]\ncache_directory = "cache"\n')
    ran = run_here(LINE, folder)
    assert ran.code == 0, ran.err
    return [json.loads(line) for line in ran.out.splitlines()]


def test_every_line_is_a_document_that_says_of_what_kind_it_is(documents):
    assert {document["type"] for document in documents} == {
        "banner",
        "phase_started",
        "phase_finished",
        "step",
        "items",
        "summary",
    }


def test_every_step_has_a_line_with_its_number_and_its_loss(documents):
    steps = [document for document in documents if document["type"] == "step"]
    assert [(step["step"], step["loss"] > 0) for step in steps] == [(1, True), (2, True), (3, True)]


def test_every_step_tells_how_many_there_are_and_when_it_was_read(documents):
    steps = [document for document in documents if document["type"] == "step"]
    assert [step["total"] for step in steps] == [3, 3, 3]
    assert steps[0]["time"] <= steps[1]["time"] <= steps[2]["time"] <= time.time()


def test_steps_stand_within_the_phase_of_training(documents):
    kinds = [(document["type"], document.get("phase")) for document in documents]
    assert kinds[-7:] == [
        ("phase_started", "Training"),
        *[("step", None)] * 3,
        ("items", None),
        ("phase_finished", "Training"),
        ("summary", None),
    ]


def test_the_last_line_is_the_summary_with_the_keys_that_programs_rely_on(documents):
    assert list(documents[-1]) == [
        *("type", "command", "items", "written", "skipped", "failed", "kept", "steps", "loss", "files"),
        *("experts", "averages", "checkpoints", "rankable"),
        *("mean_loss_weight", "empty_masks", "warnings", "seconds", "exit_code"),
    ]


def test_the_summary_tells_the_loss_of_the_last_step(documents):
    assert documents[-1]["loss"] == documents[-4]["loss"]


def test_every_part_of_a_prepared_training_ends_with_a_document_of_its_own(tmp_path):
    photo_folder(tmp_path / "photos", ["a.png"])
    (tmp_path / "blissmask.toml").write_text(
        '[general]\nresolution = 64\ncaption = "kyla"\n[[datasets]]\nimage_directory = "photos"\ncache_directory = "cache"\n'
    )
    ran = run_here(LINE.replace("--use-mask-loss", "--prepare --device cpu"), tmp_path)
    assert ran.code == 0, ran.err
    documents = [json.loads(line) for line in ran.out.splitlines()]
    assert [document["command"] for document in documents if document["type"] == "summary"] == ["cache", "train"]
