"""The running average of a training: its files, its metadata, and a training that is the same without it."""

import json

import pytest
import torch

from blissmask.cachefile.read_file import read_metadata
from blissmask.errors import CacheError, UsageError
from blissmask.training.record.states.faults import describe
from blissmask.training.record.states.find import find_states
from tests.builders.training import run, tensors_of, train_config, write_masked_set


@pytest.fixture
def cache(tmp_path):
    return write_masked_set(tmp_path / "cache", count=2)


def test_the_average_has_files_of_its_own_and_the_training_is_the_same_without_it(cache, tmp_path):
    options = {"max_train_steps": 3, "save_every_n_steps": 2}
    run(train_config(cache, tmp_path / "plain", **options))
    summary, _ = run(train_config(cache, tmp_path / "averaged", ema_decay=0.9, **options))
    out = tmp_path / "averaged"
    assert sorted(path.name for path in out.glob("*.safetensors")) == [
        "kyla-ema-step00000002.safetensors",
        "kyla-ema.safetensors",
        "kyla-step00000002.safetensors",
        "kyla.safetensors",
    ]
    assert summary.details["files"] == [str(out / "kyla.safetensors"), str(out / "kyla-ema.safetensors")]
    trained, plain = tensors_of(out / "kyla.safetensors"), tensors_of(tmp_path / "plain" / "kyla.safetensors")
    averaged = tensors_of(out / "kyla-ema.safetensors")
    assert all(torch.equal(tensor, plain[key]) for key, tensor in trained.items())
    assert averaged.keys() == trained.keys()
    assert any(not torch.equal(tensor, trained[key]) for key, tensor in averaged.items())
    metadata = read_metadata(out / "kyla-ema.safetensors")
    assert (metadata["ss_ema_decay"], metadata["ss_ema_steps"]) == ("0.9", "3")
    assert "ss_ema_decay" not in read_metadata(out / "kyla.safetensors")


def test_an_average_that_is_asked_for_later_begins_where_the_training_goes_on(cache, tmp_path):
    run(train_config(cache, tmp_path / "out", max_train_steps=2))
    run(train_config(cache, tmp_path / "out", max_train_steps=3, ema_decay=0.9))
    assert read_metadata(tmp_path / "out" / "kyla-ema.safetensors")["ss_ema_steps"] == "1"


def test_a_state_with_half_an_average_is_refused(cache, tmp_path):
    config = train_config(cache, tmp_path / "out", ema_decay=0.9)
    run(config)
    newest = find_states(tmp_path / "out", "kyla").newest
    numbers = json.loads((newest / "state.json").read_text())
    del numbers["ema"]
    (newest / "state.json").write_text(json.dumps(numbers))
    manifest = describe(newest, [path.name for path in newest.iterdir() if path.name != "manifest.json"])
    (newest / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CacheError, match="running average"):
        run(train_config(cache, tmp_path / "out", ema_decay=0.9, max_train_steps=3))


def test_a_schedule_free_optimiser_averages_already(cache, tmp_path):
    with pytest.raises(UsageError, match="schedule-free"):
        run(train_config(cache, tmp_path / "out", ema_decay=0.9, optimizer_type="schedulefree"))
