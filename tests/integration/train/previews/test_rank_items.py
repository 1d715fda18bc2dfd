"""`--rank-items`: the numbers are those of validation, and an item of another kind comes first."""

import json
import re

import pytest
from safetensors.torch import load_file, save_file

from blissmask.errors import InputError, ModelError, StoppedError, UsageError
from blissmask.tasks.rank_items import rank_items
from blissmask.tasks.run.plan import RunContext
from blissmask.tasks.run.wording import number_text
from blissmask.training.record.metrics import read_log
from tests.builders.families import TWO_EXPERTS
from tests.builders.pictures import random_rgb, save
from tests.builders.recorder import Recorder
from tests.builders.training import run, seeded, stripes, train_config, weights_of, write_entry, write_masked_set


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Train on seven items, one of which has latents five times as large; return the configuration's arguments."""
    folder = tmp_path_factory.mktemp("items")
    cache, shape = write_masked_set(folder / "cache", count=6), (16, 1, 4, 4)
    shares = stripes(*shape[1:])
    write_entry(cache, "odd", latents=5 * seeded(*shape).bfloat16(), weights=weights_of(shares), regions=shares)
    save(folder / "photos" / "odd.png", random_rgb((32, 32)))
    options = {"validation_split": 0.1, "max_train_steps": 3, "learning_rate": 0.05, "mask_preset": "person"}
    datasets = [{"cache_directory": cache, "image_directory": folder / "photos"}]
    run(train_config(cache, folder / "out", datasets=datasets, **options))
    return cache, folder / "out", {**options, "datasets": datasets}


def look(trained, context=None, **changes):
    cache, out, options = trained
    plan = rank_items.plan(train_config(cache, out, rank_items=True, **{**options, **changes}))
    return rank_items.run(plan, context or RunContext(Recorder()))


def test_losses_are_those_of_validation_and_the_odd_item_comes_first(trained):
    summary = look(trained)
    lines = summary.details["items_ranked"]
    assert len(lines) == 7
    assert lines[0]["item"] == "odd"
    assert "unlike the other photos" in lines[0]["remarks"][0]
    assert [line for line in lines[1:] if line["remarks"]] == []
    _, out, _ = trained
    last = read_log(out / "kyla-log.jsonl")[-1]
    matches = [line for line in lines if line["loss"]["whole"] == pytest.approx(last["val/loss"], rel=1e-6)]
    assert len(matches) == 1
    assert matches[0]["loss"]["face"] == pytest.approx(last["val/loss/face"], rel=1e-6)
    assert all(line["loss"]["whole"] != line["base"]["whole"] for line in lines)
    assert json.loads((out / "ranking" / "kyla" / "items.json").read_text())["items"] == lines
    page = (out / "ranking" / "kyla" / "items.html").read_text()
    assert "unlike the other photos" in page
    shown = json.loads(re.search(r"<script type=application/json id=sheet>(.*?)</script>", page)[1])
    assert [item["name"] for item in shown["items"]] == [line["item"] for line in lines]
    captions = {item["name"]: item["caption"] for item in shown["items"]}
    assert captions["kyla001"] == "ohwx 1", "as it was cached"
    assert shown["columns"] == ["as trained", "tiers", "loss weights"]
    training = (out / "kyla.html").read_text()
    assert training.index("Items, the most unusual first") < training.index("<td>odd</td>")
    loss = number_text(lines[0]["loss"]["whole"])
    assert summary.tables[0].rows[0][1] == loss
    assert f'"loss {loss}"' in page
    assert loss in training.partition("<td>odd</td>")[2].partition("</tr>")[0]


@pytest.mark.parametrize("asked", [{}, {"compile": True}])
def test_no_blocks_are_compiled_for_a_look(trained, asked):
    cache, out, options = trained
    plan = rank_items.plan(train_config(cache, out, rank_items=True, **options, **asked))
    assert plan.training.config.memory.compile is False
    assert not plan.training.compiling.compiles


def test_a_lora_whose_weights_overflow_is_named(trained, tmp_path):
    _, out, _ = trained
    huge = tmp_path / "huge.safetensors"
    save_file({key: tensor * 1e30 for key, tensor in load_file(out / "kyla.safetensors").items()}, huge)
    with pytest.raises(ModelError, match="losses that are no numbers") as caught:
        look(trained, rank_file=[huge])
    assert caught.value.problems[0].where == (str(huge),)


@pytest.mark.parametrize("name", ["ranking/anne", "ranking/anne/items.html"])
def test_what_is_not_ours_in_the_place_of_the_results_is_refused_in_the_plan(trained, name):
    _, out, _ = trained
    there = out / name
    there.parent.mkdir(parents=True, exist_ok=True)
    there.write_bytes(b"mine")
    with pytest.raises(InputError, match="a file that is not ours stands where") as caught:
        look(trained, output_name="anne", rank_file=[out / "kyla.safetensors"])
    assert caught.value.problems[0].where == (str(there),)
    assert caught.value.problems[0].fix == "remove or rename it, or name another `--output-dir`"
    there.unlink()


def test_a_stop_writes_nothing(trained, tmp_path):
    with pytest.raises(StoppedError):
        look(trained, RunContext(Recorder(), stop_signal=lambda: 15))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"output_name": "nobody"}, "no saved LoRA"),
        ({"rank_file": ["missing.safetensors"]}, "no such LoRA"),
        ({"rank_file": ["a.safetensors", "b.safetensors"]}, "one LoRA"),
        ({"rank_file": ["a.safetensors"], "arch": TWO_EXPERTS, "expert": "both"}, "two experts"),
    ],
)
def test_what_cannot_be_looked_at_is_refused_in_the_plan(trained, changes, said):
    with pytest.raises(UsageError, match=said):
        look(trained, **changes)
