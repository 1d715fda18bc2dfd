"""An item whose weight is 0 everywhere takes part in nothing: no step, no validation, no share, no default."""

import dataclasses

import pytest
import torch

from blissmask.cachefile.metadata import mean_weight_text, read_mean_weight
from blissmask.cachefile.read_headers import list_headers
from blissmask.config.sections.mask_loss_section import PRESETS
from blissmask.errors import CacheError, StoppedError
from blissmask.events import Announced, Measured, Warned
from blissmask.masks.tiers import WeightTier
from blissmask.processes import Processes
from blissmask.storage.short_path import ShortPath
from blissmask.tasks.train.plan import plan as plan_training
from blissmask.training.data.empty_masks import empty_items
from blissmask.training.record.metrics import read_log
from blissmask.training.validation import choose_held_out
from blissmask.training.weighting.rule import WeightRule
from tests.builders.families import CACHE_SUFFIX
from tests.builders.training import problems_of, run, tensors_of, train_config, write_entry, write_masked_set

FLOOR = WeightRule(gamma=0.7, min_weight=0.05)
NO_FACE = WeightRule(gamma=1.0, min_weight=0.0, own_weights=dict.fromkeys((WeightTier.BODY, WeightTier.HAIR), 0.0))
EMPTY = "kyla9-not-found"


@pytest.fixture
def cache(tmp_path):
    """Return the cache of four items with masks and one whose mask is zero everywhere, which comes last."""
    folder = write_masked_set(tmp_path / "cache")
    background = torch.zeros(4, 1, 4, 4)
    background[3] = 1.0
    write_entry(folder, EMPTY, weights=torch.zeros(1, 1, 4, 4), regions=background, seed=9)
    return folder


def headers(folder):
    return list_headers(folder, CACHE_SUFFIX)


def shown(plan, micro_batches=60):
    return {position for number in range(micro_batches) for position in plan.data.order.indices(number)}


def test_the_header_of_an_entry_of_ours_decides_and_the_mask_is_not_read(cache):
    [*_, header] = headers(cache)
    shared = dataclasses.replace(header.shared, keys=("blissmask.mean_weight",))
    nowhere = ShortPath.of(cache / "nowhere")
    gone = dataclasses.replace(header, file=nowhere, shared=shared, values=("0.000000",))
    full = dataclasses.replace(gone, values=("0.000001",))
    assert empty_items([full, gone], FLOOR) == (1,)


@pytest.mark.parametrize(("mean", "text"), [(0.0, "0.000000"), (1e-9, "0.000001"), (0.25, "0.250000")])
def test_only_a_mask_of_zeros_is_remembered_as_zero(mean, text):
    assert mean_weight_text(mean) == text
    assert read_mean_weight({"blissmask.mean_weight": text}) == pytest.approx(mean, abs=1e-6)


def test_the_masks_of_other_tools_are_read_before_any_floor(cache):
    assert empty_items(headers(cache), FLOOR) == (4,)


def test_a_weight_of_its_own_for_the_background_does_not_fill_an_empty_mask(cache):
    filled = dataclasses.replace(FLOOR, own_weights={WeightTier.BACKGROUND: 0.3})
    assert empty_items(headers(cache), filled) == (4,)


def test_a_mask_that_lies_in_a_shown_frame_alone_is_empty(tmp_path):
    weights = torch.zeros(1, 2, 4, 4)
    weights[:, 0] = 1.0
    facts = {"blissmask.mean_weight": "0.500000"}
    write_entry(tmp_path, "clip", shape=(16, 2, 4, 4), weights=weights, **facts)
    assert empty_items(headers(tmp_path), FLOOR, shown_frames=1) == (0,)
    assert empty_items(headers(tmp_path), FLOOR) == ()


def test_a_photo_without_a_face_is_empty_where_only_faces_weigh_anything(tmp_path):
    body = torch.zeros(4, 1, 4, 4)
    body[1] = 1.0
    write_entry(tmp_path, "body", weights=torch.full((1, 1, 4, 4), 128 / 255), regions=body)
    assert empty_items(headers(tmp_path), NO_FACE) == (0,)
    # A floor would train it at full strength.
    assert empty_items(headers(tmp_path), dataclasses.replace(NO_FACE, min_weight=0.1)) == (0,)
    assert empty_items(headers(tmp_path), WeightRule(gamma=1.0, min_weight=0.0)) == ()


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("mean", ["batch", "sample", "global"])
def test_no_preset_and_no_mean_trains_an_empty_item(cache, tmp_path, preset, mean):
    options = {"mask_preset": preset, "mask_mean": mean}
    plan = plan_training(
        train_config(cache, tmp_path / "out", datasets=[{"cache_directory": cache, "batch_size": 2}], **options)
    )
    assert plan.data.left_out == (4,)
    assert shown(plan) == {0, 1, 2, 3}
    assert plan.steps.batches_per_epoch == 2


def test_an_empty_item_is_named_once_and_counted(cache, tmp_path):
    config = train_config(cache, tmp_path / "out", mask_preset="person")
    [told] = [problem for problem in plan_training(config).warnings if "weight 0 everywhere" in problem.what]
    assert told.what == "1 of 5 cache entries has weight 0 everywhere and nothing to learn from, and is left out"
    assert [EMPTY in place for place in told.where] == [True]
    summary, recorder = run(config)
    assert summary.details["empty_masks"] == 1
    assert not [event for event in recorder.of(Warned) if "weight 0" in event.problem.what]
    assert " entries with weight 0 everywhere, left out: 1" in recorder.of(Announced)[0].lines


def test_a_run_with_an_empty_item_is_the_run_without_it(cache, tmp_path):
    """Steps, shares of the banner and the LoRA: everything but the count of what was left out."""
    options = {"mask_preset": "person", "max_train_epochs": 3, "gradient_accumulation_steps": 2}
    _, beside = run(train_config(cache, tmp_path / "beside", **options))
    for path in cache.glob(f"{EMPTY}*"):
        path.unlink()
    _, alone = run(train_config(cache, tmp_path / "alone", **options))
    lines = [line for line in beside.of(Announced)[0].lines if "left out" not in line]
    assert lines == list(alone.of(Announced)[0].lines)
    ours, theirs = (tensors_of(tmp_path / name / "kyla.safetensors") for name in ("beside", "alone"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_held_out_items_are_never_empty_ones_and_stay_when_one_more_is(tmp_path):
    before = choose_held_out(40, 0.25, seed=3)
    gone = before[0]
    after = choose_held_out(40, 0.25, seed=3, left_out=[gone])
    assert gone not in after
    assert set(before) - {gone} <= set(after)


def test_several_processes_share_the_items_that_are_left(cache, tmp_path, monkeypatch):
    processes = [Processes(rank=rank, count=2, local_rank=rank, local_count=2) for rank in range(2)]
    positions = []
    for process in processes:
        monkeypatch.setattr("blissmask.tasks.train.plan.this_process", lambda process=process: process)
        plan = plan_training(train_config(cache, tmp_path / "out", mask_preset="style"))
        positions += [
            position
            for step in range(20)
            for number in plan.processes.micro_batches(step, 1)
            for position in plan.data.order.indices(number)
        ]
    assert set(positions) == {0, 1, 2, 3}
    assert len(positions) == 40


def test_a_preview_without_a_size_gets_that_of_items_that_are_trained(tmp_path):
    cache = write_masked_set(tmp_path / "cache", count=1)
    for number in range(3):
        write_entry(cache, f"none{number}", shape=(16, 1, 8, 8), weights=torch.zeros(1, 1, 8, 8), seed=number)
    (tmp_path / "prompts.txt").write_text("kyla")
    options = {"sample_prompts": tmp_path / "prompts.txt", "sample_at_first": True, "use_mask_loss": True}
    plan = plan_training(train_config(cache, tmp_path / "out", **options))
    assert plan.previews.previews[0].settings.size_wh == (32, 32)


def test_a_resumed_run_leaves_out_the_same_and_says_when_it_does_not(cache, tmp_path):
    options = {"mask_preset": "person", "max_train_steps": 6}
    run(train_config(cache, tmp_path / "whole", **options))
    with pytest.raises(StoppedError):
        run(train_config(cache, tmp_path / "parts", **options), stop_after=3)
    run(train_config(cache, tmp_path / "parts", **options))
    whole, parts = (tensors_of(tmp_path / name / "kyla.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    other = plan_training(
        train_config(cache, tmp_path / "parts", **{**options, "max_train_steps": 8}, empty_mask="train")
    )
    [told] = [problem for problem in other.warnings if "other settings" in problem.what]
    assert "`empty_mask` was skip, is train" in told.where
    assert "`entries` was 4, is 5" in told.where


def test_empty_items_are_trained_when_asked_for(cache, tmp_path):
    options = {"mask_min_weight": 0.05, "use_mask_loss": True, "empty_mask": "train", "max_train_steps": 5}
    plan = plan_training(train_config(cache, tmp_path / "out", **options))
    assert plan.data.left_out == ()
    assert shown(plan) == {0, 1, 2, 3, 4}
    assert any("trained all the same" in problem.what for problem in plan.warnings)
    _, recorder = run(train_config(cache, tmp_path / "out", **options))
    assert sum(event.values["mask/empty"] for event in recorder.of(Measured)) == 0
    assert min(line["mask/weight"] for line in read_log(tmp_path / "out" / "kyla-log.jsonl")) == pytest.approx(0.05)


def test_empty_items_stop_the_training_when_asked_for_and_when_nothing_else_is_left(cache, tmp_path):
    with pytest.raises(CacheError) as caught:
        plan_training(train_config(cache, tmp_path / "out", use_mask_loss=True, empty_mask="error"))
    assert EMPTY in problems_of(caught.value)
    write_entry(tmp_path / "nothing", EMPTY, weights=torch.zeros(1, 1, 4, 4))
    with pytest.raises(CacheError, match="nothing to learn"):
        plan_training(train_config(tmp_path / "nothing", tmp_path / "out", use_mask_loss=True))


def test_items_that_are_only_held_to_the_base_model_are_not_counted(cache, tmp_path):
    write_entry(tmp_path / "empty", "zero", weights=torch.zeros(1, 1, 4, 4))
    datasets = [{"cache_directory": tmp_path / "empty"}, {"cache_directory": cache, "prior": True}]
    with pytest.raises(CacheError, match="1 of 1 cache entries has weight 0 everywhere, so there is nothing to learn"):
        plan_training(train_config(cache, tmp_path / "out", datasets=datasets, mask_preset="person-prior"))


def test_without_the_mask_loss_every_item_is_trained(cache, tmp_path):
    plan = plan_training(train_config(cache, tmp_path / "out"))
    assert shown(plan) == {0, 1, 2, 3, 4}
