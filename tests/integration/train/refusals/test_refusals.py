"""What `train` refuses, and that it says what, where and how to mend it, before it costs time."""

import pytest

from blissmask.config.load import load_config
from blissmask.errors import CacheError, ModelError, UsageError
from blissmask.tasks.train.plan import plan as plan_training
from tests.builders.families import CACHE_SUFFIX, PICTURES, PLAIN, TWO_EXPERTS, family_of
from tests.builders.training import problems_of, run, tensors_of, train_config, write_entry, write_masked_set


def test_mask_loss_without_any_mask_is_fatal_before_a_model_is_loaded(tmp_path):
    path = write_entry(tmp_path / "cache", "kyla")
    with pytest.raises(CacheError) as caught:
        plan_training(train_config(tmp_path / "cache", tmp_path / "out", use_mask_loss=True, model="no-such-model"))
    assert caught.value.problems[0].what == "FATAL: --use_mask_loss is enabled but batch has no mask_weights!"
    assert path.name in problems_of(caught.value)
    assert f"blissmask cache --arch {PLAIN}" in problems_of(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("mask_gamma", "0", "--mask_gamma must be > 0"),
        ("mask_min_weight", "1.0", "--mask_min_weight must be in range [0, 1)"),
        ("mask_loss_scale", "-1", "--mask_loss_scale must be > 0"),
    ],
)
def test_arguments_out_of_range_are_refused_in_the_words_of_the_guide(field, value, message):
    with pytest.raises(UsageError) as caught:
        load_config(None, {"mask_loss": {field: value}})
    assert message in problems_of(caught.value)


def test_family_comes_from_the_cache_when_it_is_not_given(tmp_path):
    write_masked_set(tmp_path / "cache", **{"blissmask.arch": TWO_EXPERTS, "blissmask.task": "t2v"})
    plan = plan_training(train_config(tmp_path / "cache", tmp_path / "out", arch=None))
    assert (plan.family.name, plan.family.task_name) == (TWO_EXPERTS, "t2v")


def test_family_that_nobody_knows_is_asked_for(cache, tmp_path):
    with pytest.raises(UsageError, match="family is not known"):
        plan_training(train_config(cache, tmp_path / "out", arch=None))


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"model": None}, "no transformer given\nname a file with `--dit`, or a diffusers folder with `--model`"),
        ({"model": None, "dit": "gone.safetensors"}, "there is no such model file\ngone.safetensors\ncorrect `--dit`"),
        ({"model": "nobody/has-this"}, "nobody/has-this"),
    ],
)
def test_a_denoiser_that_is_not_there_is_noticed_by_the_plan(cache, tmp_path, named, message):
    with pytest.raises((UsageError, ModelError)) as caught:
        plan_training(train_config(cache, tmp_path / "out", **named))
    assert message in problems_of(caught.value)


def test_a_hub_model_that_may_be_fetched_is_not_fetched_by_the_plan(cache, tmp_path):
    assert plan_training(train_config(cache, tmp_path / "out", model="nobody/has-this", download=True)).steps.total


def test_a_cache_of_another_family_is_refused_by_name(tmp_path):
    path = write_entry(tmp_path / "cache", "kyla", arch=family_of(PICTURES).cache_suffix)
    with pytest.raises(CacheError, match="another model family") as caught:
        plan_training(train_config(tmp_path / "cache", tmp_path / "out"))
    assert str(path) in problems_of(caught.value)


@pytest.mark.parametrize(
    "foreign", [{"architecture": "another_kind"}, {"shape": (48, 1, 4, 4)}], ids=["metadata", "channels"]
)
def test_an_entry_of_another_family_under_our_suffix_is_named_alone(cache, tmp_path, foreign):
    path = write_entry(cache, "stranger", **foreign)
    with pytest.raises(CacheError, match="1 cache entry: cached for another model family") as caught:
        plan_training(train_config(cache, tmp_path / "out"))
    assert caught.value.problems[0].where == (str(path),)


def test_a_caption_that_was_not_cached_is_named(tmp_path):
    write_entry(tmp_path / "cache", "kyla", text=False)
    with pytest.raises(CacheError, match="no cached caption") as caught:
        plan_training(train_config(tmp_path / "cache", tmp_path / "out"))
    assert f"kyla_{CACHE_SUFFIX}_te.safetensors" in problems_of(caught.value)


def test_a_truncated_cache_file_is_named(cache, tmp_path):
    path = next(cache.glob(f"kyla000_*x*_{CACHE_SUFFIX}.safetensors"))
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(CacheError) as caught:
        plan_training(train_config(cache, tmp_path / "out"))
    assert str(path) in problems_of(caught.value)


def test_nan_in_latents_is_an_error_that_names_the_file(cache, tmp_path):
    from safetensors.torch import save_file

    path = next(cache.glob(f"kyla001_*x*_{CACHE_SUFFIX}.safetensors"))
    tensors = tensors_of(path)
    tensors["latents_1x4x4_bfloat16"][0, 0, 0, 0] = float("nan")
    save_file(tensors, path)
    with pytest.raises(CacheError, match="NaN") as caught:
        run(train_config(cache, tmp_path / "out"))
    assert str(path) in problems_of(caught.value)
    assert not (tmp_path / "out" / "kyla.safetensors").exists()


def test_hostile_lora_for_a_warm_start_is_refused(cache, tmp_path):
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"\x80\x04not safetensors")
    with pytest.raises(ModelError, match="damaged or not safetensors"):
        run(train_config(cache, tmp_path / "out", network_weights=bad))
