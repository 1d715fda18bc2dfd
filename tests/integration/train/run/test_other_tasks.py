"""Two options of `train` ask for something else than a training; the command line chooses the task."""

import importlib

import pytest

from blissmask.cli.commands import TRAIN
from blissmask.config.load import load_config


@pytest.mark.parametrize(
    ("flags", "task"),
    [
        ({}, "train.plan"),
        ({"mask_loss": {"like": "sd-scripts"}}, "train_like.train_like"),
        ({"saving": {"convert_lora": "kyla.safetensors"}}, "convert_lora.convert_lora"),
        (
            {"saving": {"convert_lora": "kyla.safetensors"}, "mask_loss": {"like": "sd-scripts"}},
            "convert_lora.convert_lora",
        ),
    ],
    ids=str,
)
def test_an_option_chooses_the_task(flags, task):
    chosen = TRAIN.task_for(load_config(None, flags))
    assert chosen.plan == f"blissmask.tasks.{task}"
    assert callable(importlib.import_module(chosen.plan).plan)
    assert callable(importlib.import_module(chosen.run).run)


def test_the_settings_of_another_trainer_are_printed_and_nothing_is_trained(command, capsys, tmp_path):
    assert command("train", "--like", "ai-toolkit") == 0
    assert "ai-toolkit: mean(loss * mask / mean(mask))" in " ".join(capsys.readouterr().out.split())
    assert not any(tmp_path.iterdir())
