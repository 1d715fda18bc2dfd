"""Held-out items are never trained on, and their loss is a function of the weights alone."""

import weakref

import pytest

from blissmask.errors import StoppedError, UsageError
from blissmask.tasks.train.plan import plan as plan_training
from blissmask.training import validation
from blissmask.training.record.metrics import read_log
from blissmask.training.validation import choose_held_out
from tests.builders.training import run, train_config, write_masked_set

OPTIONS = {"validation_split": 0.25, "validate_every_n_steps": 2, "use_mask_loss": True}


@pytest.fixture
def cache(tmp_path):
    return write_masked_set(tmp_path / "cache", count=8)


def log_of(folder):
    return read_log(folder / "kyla-log.jsonl")


def test_held_out_items_are_in_no_batch(cache, tmp_path):
    plan = plan_training(train_config(cache, tmp_path / "out", **OPTIONS))
    shown = {position for number in range(30) for position in plan.data.order.indices(number)}
    assert len(plan.data.held_out) == 2
    assert shown == set(range(8)) - set(plan.data.held_out)


def test_validation_is_logged_when_asked_and_at_the_end_with_every_region(cache, tmp_path):
    run(train_config(cache, tmp_path / "out", max_train_steps=5, **OPTIONS))
    lines = log_of(tmp_path / "out")
    assert [line["step"] for line in lines if "val/loss" in line] == [2, 4, 5]
    assert {"val/loss/face", "val/loss/body", "val/loss/hair", "val/loss/background"} <= lines[1].keys()


def test_validation_of_unchanged_weights_is_the_same_number(cache, tmp_path):
    run(
        train_config(
            cache,
            tmp_path / "out",
            max_train_steps=4,
            learning_rate=1e-30,
            weight_decay=0.0,
            network_dropout=0.5,
            **OPTIONS,
        )
    )
    first, second = (line["val/loss"] for line in log_of(tmp_path / "out") if "val/loss" in line)
    assert first == second


def test_validation_makes_one_micro_batch_at_a_time(cache, tmp_path, monkeypatch):
    """All of a hundred pictures at once would be more than a gigabyte."""
    genuine, made, alive = validation.collate, [], []

    def collate(items, number):
        alive.append(sum(latents() is not None for latents in made))
        batch = genuine(items, number)
        made.append(weakref.ref(batch.latents_BCFHW))
        return batch

    monkeypatch.setattr(validation, "collate", collate)
    run(train_config(cache, tmp_path / "out", max_train_steps=1, **OPTIONS))
    assert len(made) == 2 * validation.LEVELS
    assert max(alive) <= 1


def test_validation_changes_nothing_about_the_training(cache, tmp_path):
    options = {"max_train_steps": 4, "validation_split": 0.25, "network_dropout": 0.3}
    run(train_config(cache, tmp_path / "often", validate_every_n_steps=1, **options))
    run(train_config(cache, tmp_path / "once", validate_every_n_steps=100, **options))
    often, once = ([line["loss"] for line in log_of(tmp_path / name)] for name in ("often", "once"))
    assert often == once


def test_a_stopped_run_with_validation_ends_with_the_log_of_a_whole_one(cache, tmp_path):
    options = {"max_train_steps": 6, **OPTIONS}
    run(train_config(cache, tmp_path / "whole", **options))
    with pytest.raises(StoppedError):
        run(train_config(cache, tmp_path / "parts", **options), stop_after=3)
    run(train_config(cache, tmp_path / "parts", **options))
    assert (tmp_path / "parts" / "kyla-log.jsonl").read_bytes() == (tmp_path / "whole" / "kyla-log.jsonl").read_bytes()


def test_a_split_that_leaves_nothing_to_train_is_refused(cache, tmp_path):
    with pytest.raises(UsageError, match="holds out all 8"):
        plan_training(train_config(cache, tmp_path / "out", validation_split=0.99))


def test_the_choice_depends_on_the_seed_alone():
    assert choose_held_out(100, 0.1, seed=1) == choose_held_out(100, 0.1, seed=1)
    assert choose_held_out(100, 0.1, seed=1) != choose_held_out(100, 0.1, seed=2)
    assert len(choose_held_out(3, 0.01, seed=1)) == 1
    assert choose_held_out(100, 0.0, seed=1) == ()
