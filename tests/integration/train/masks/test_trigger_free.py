"""Trigger-free preservation over the whole road: what `cache` makes for it, what `train` refuses and prints."""

import shutil

import pytest
from safetensors.torch import load_file, save_file

from blissmask.cachefile.metadata import CAPTION
from blissmask.cachefile.read_file import read_metadata
from blissmask.errors import CacheError, ChangedError, UsageError
from blissmask.events import Announced
from blissmask.tasks.run.plan import Action
from blissmask.tasks.train.data.read_items import open_store
from blissmask.tasks.train.plan import plan as plan_training
from blissmask.tasks.train.steps import step_cost
from blissmask.training.step.step_rule import StepRule
from blissmask.training.weighting.prior import PriorRule, TriggerFreeRule
from tests.builders.cache import build, captions, config, plan
from tests.builders.families import CACHE_SUFFIX
from tests.builders.pictures import random_rgb, save
from tests.builders.training import run, train_config, write_masked_set

WORDS = {"trigger": "ohwx", "class_word": "woman"}


@pytest.fixture
def photos(tmp_path):
    """Return a folder with a photo of the subject, and one of somebody else."""
    for name in ("a", "b"):
        save(tmp_path / "photos" / f"{name}.png", random_rgb((64, 48)))
    captions(tmp_path, ["a"], "ohwx woman at the beach, ohwxes")
    captions(tmp_path, ["b"], "a woman at the beach")
    return tmp_path


def holding(folder, *, weight=1.0, **settings):
    """Return the configuration of a cache that is made for trigger-free preservation."""
    found = config(folder, **{**WORDS, **settings})
    return found.model_copy(update={"mask_loss": found.mask_loss.model_copy(update={"trigger_free_weight": weight})})


def class_files(folder):
    return sorted(path.name for path in (folder / "cache").glob("*_class.safetensors"))


def test_the_cache_holds_one_more_text_for_each_caption_with_the_trigger(photos):
    from blissmask.tasks.cache.plan import plan as plan_cache
    from blissmask.tasks.cache.run import run as run_cache
    from blissmask.tasks.run.plan import RunContext
    from tests.builders.recorder import Recorder

    build(photos, **WORDS)
    asked = plan_cache(holding(photos))
    assert [(item.action, item.reason) for item in asked.items] == [
        (Action.WRITE, "new caption"),
        (Action.SKIP, "already fresh"),
    ]
    assert ("captions with the class word: encode", "1", "") in asked.tables[-1].rows
    run_cache(asked, RunContext(Recorder()))
    assert class_files(photos) == ["a_wan_class.safetensors"]
    text = read_metadata(photos / "cache" / "a_wan_class.safetensors")
    assert text[CAPTION] == "woman at the beach, ohwxes"
    assert {item.action for item in plan_cache(holding(photos)).items} == {Action.SKIP}
    assert {item.reason for item in plan_cache(holding(photos, class_word="man")).items} == {
        "caption changed",
        "already fresh",
    }
    # Nobody asks for it any more.
    assert [path.name for path in plan(photos, **WORDS).outdated] == ["a_wan_class.safetensors"]


def test_a_missing_word_is_named(photos):
    from blissmask.tasks.cache.plan import plan as plan_cache

    with pytest.raises(UsageError, match="needs a `class_word` for dataset 1"):
        plan_cache(holding(photos, class_word=None))


def test_captions_that_are_not_cached_are_named_before_training(tmp_path):
    cache = write_masked_set(tmp_path / "cache")
    (cache / "kyla002_wan_class.safetensors").unlink()
    with pytest.raises(CacheError, match="captions with the class word") as caught:
        plan_training(train_config(cache, tmp_path / "out", trigger_free_weight=1.0))
    assert [place.rpartition("/")[2] for place in caught.value.problems[0].where] == ["kyla002_wan_class.safetensors"]


def test_captions_without_any_trigger_are_refused(tmp_path):
    cache = write_masked_set(tmp_path / "cache", count=1)
    with pytest.raises(UsageError, match="no caption holds the trigger"):
        plan_training(train_config(cache, tmp_path / "out", trigger_free_weight=1.0))


def test_a_text_with_the_class_word_that_is_left_of_another_caption_is_not_read(tmp_path):
    cache = write_masked_set(tmp_path / "cache", count=2)
    # The first caption has no trigger any more.
    shutil.copy(
        cache / f"kyla001_{CACHE_SUFFIX}_class.safetensors", cache / f"kyla000_{CACHE_SUFFIX}_class.safetensors"
    )
    store = open_store(plan_training(train_config(cache, tmp_path / "out", trigger_free_weight=1.0)))
    assert [store.item(number).class_text is None for number in range(2)] == [True, False]


def test_a_text_with_the_class_word_that_was_written_anew_since_the_plan_is_refused(tmp_path):
    cache = write_masked_set(tmp_path / "cache", count=3)
    store = open_store(plan_training(train_config(cache, tmp_path / "out", trigger_free_weight=1.0)))
    changed = cache / f"kyla001_{CACHE_SUFFIX}_class.safetensors"
    shutil.copy(cache / f"kyla002_{CACHE_SUFFIX}_class.safetensors", changed)
    with pytest.raises(ChangedError, match="the cached text changed since the run was planned") as caught:
        store.item(1)
    assert caught.value.problems[0].where == (str(changed),)


def test_items_that_are_only_held_have_no_text_with_the_class_word_in_any_order(tmp_path):
    cache, others = (write_masked_set(tmp_path / name, count=2) for name in ("cache", "others"))
    for number, caption in enumerate(("kyla000", "ohwx 1")):
        written = f"kyla{number:03d}_{CACHE_SUFFIX}_"
        rows = load_file(others / f"{written}te.safetensors")
        tags = {"architecture": CACHE_SUFFIX, CAPTION: f"{caption}, red"}
        save_file(rows, others / f"{written}te.safetensors", metadata=tags)
        labels = {**tags, CAPTION: "ohwx", "blissmask.order_of": tags[CAPTION], "blissmask.keep_tokens": "0"}
        save_file(rows, others / f"{written}te1.safetensors", metadata=labels)
        save_file(rows, others / f"{written}class1.safetensors", metadata={**labels, CAPTION: "woman"})
    held = {"cache_directory": others, "prior": True, "shuffle_caption": True, "caption_orders": 2}
    config = train_config(
        cache, tmp_path / "out", datasets=[{"cache_directory": cache, **WORDS}, held], trigger_free_weight=1.0
    )
    item = open_store(plan_training(config)).item(3)
    assert item.prior_only
    assert [order.class_text for order in item.others.orders] == [None]


def test_training_logs_what_it_holds_and_says_what_it_costs(tmp_path):
    cache = write_masked_set(tmp_path / "cache", count=2)
    options = {"use_mask_loss": True, "trigger_free_weight": 1.0, "max_train_steps": 2}
    _, recorder = run(train_config(cache, tmp_path / "out", **options))
    logs = [event.values for event in recorder.events if hasattr(event, "values")]
    assert sum(log["trigger_free/items"] for log in logs) == 1
    # The LoRA does nothing at first, so there is nothing to hold.
    assert logs[0]["trigger_free/loss"] == pytest.approx(0.0, abs=1e-6)
    lines = [line for event in recorder.of(Announced) for line in event.lines]
    assert any("2.50 times the operations" in line for line in lines)


def test_the_cost_of_a_step_counts_one_teacher_for_all():
    held, prior = TriggerFreeRule(1.0, share=0.5), PriorRule(1.0)
    costs = [
        step_cost(StepRule(0, **options), checkpointing=False).partition(" ")[0]
        for options in ({}, {"prior": prior}, {"trigger_free": held}, {"prior": prior, "trigger_free": held})
    ]
    assert costs == ["", "1.50", "1.75", "2.00"]
    cost = step_cost(StepRule(0, prior=PriorRule(1.0, share=0.5)), checkpointing=False)
    assert cost == (
        "1.25 times the operations of a step without preservation: one more pass of the base model in 50% of the steps"
    )


def test_the_cost_of_a_step_counts_items_that_are_only_held():
    cost = step_cost(StepRule(0, prior=PriorRule(1.0)), checkpointing=False, only_held=0.25, holds_outside=False)
    assert cost == (
        "1.12 times the operations of a step without preservation: one more pass of the base model for 25% of the items"
    )
