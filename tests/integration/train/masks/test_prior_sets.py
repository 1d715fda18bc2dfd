"""Data sets with `prior = true`: held to the base model, nothing is learned from them."""

import pytest

from blissmask.errors import UsageError
from blissmask.events import Announced
from blissmask.tasks.train.plan import plan as plan_training
from tests.builders.training import run, train_config, write_entry, write_masked_set


@pytest.fixture
def folder(tmp_path):
    """Return a folder with a cache of the subject, and one of other people, without masks."""
    write_masked_set(tmp_path / "subject", count=3)
    for number in range(2):
        write_entry(tmp_path / "others", f"other{number}", seed=10 + number)
    return tmp_path


def both(folder, output="out", **options):
    sets = [{"cache_directory": folder / "subject"}, {"cache_directory": folder / "others", "prior": True}]
    return train_config(folder, folder / output, datasets=sets, **{"use_mask_loss": True, **options})


def test_they_need_no_masks_and_are_counted_apart(folder):
    plan = plan_training(both(folder))
    assert ("only held to the base model", "2") in plan.tables[0].rows
    assert plan.rule.prior.weight == 1.0
    assert not [problem for problem in plan.warnings if "no mask" in problem.what]


def test_they_are_held_and_not_learned(folder):
    _, recorder = run(both(folder, max_train_steps=5, unmasked_probability=0.5))
    logs = [event.values for event in recorder.events if hasattr(event, "values")]
    assert sum(log["prior/items"] for log in logs) == 2
    assert sum("loss" not in log for log in logs) == 2
    lines = [line for event in recorder.of(Announced) for line in event.lines]
    assert any(line.startswith(" 3 cache entries, all with mask weights") for line in lines)
    assert any("for 40% of the items" in line for line in lines)
    assert not any("held to the base model" in line and "mask weight below" in line for line in lines)


def test_they_are_never_held_out(folder):
    plan = plan_training(both(folder, validation_split=0.7))
    assert set(plan.data.held_out) <= {0, 1, 2}


def test_without_the_mask_loss_they_are_held_too(folder):
    _, recorder = run(both(folder, use_mask_loss=False, max_train_steps=5))
    logs = [event.values for event in recorder.events if hasattr(event, "values")]
    assert sum(log["prior/items"] for log in logs) == 2


def test_prior_sets_alone_are_refused(folder):
    sets = [{"cache_directory": folder / "others", "prior": True}]
    with pytest.raises(UsageError, match="nothing to learn"):
        plan_training(train_config(folder, folder / "out", datasets=sets))
