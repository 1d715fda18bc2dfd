"""`--rank-loras`: pictures and losses are those of the training, and nothing is drawn twice."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from blissmask.errors import InputError, ModelError, StoppedError, UsageError
from blissmask.events import Noted, Warned
from blissmask.media.image import read_image
from blissmask.media.png import write_png_rgb
from blissmask.people.faces import embedded
from blissmask.tasks.rank_items import rank_items
from blissmask.tasks.rank_loras import plan as planning
from blissmask.tasks.rank_loras.rank_loras import run as rank
from blissmask.tasks.run.plan import Action, RunContext
from blissmask.training.record.metrics import read_log
from tests.builders.face_reader import FacesEverywhere, painted
from tests.builders.families import TWO_EXPERTS
from tests.builders.pictures import random_rgb, save
from tests.builders.recorder import Recorder
from tests.builders.training import run, train_config, write_masked_set


@pytest.fixture(autouse=True)
def reader(monkeypatch):
    monkeypatch.setattr(embedded, "face_reader", lambda options: FacesEverywhere())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Train two steps with everything that a ranking compares with; return the options."""
    folder = tmp_path_factory.mktemp("trained")
    cache = write_masked_set(folder / "cache", count=3)
    (folder / "prompts.txt").write_text("kyla at the sea --s 1 --f 1\nkyla --s 1 --f 1 --d 7\n", encoding="utf-8")
    save(folder / "reference.png", painted((255, 0)))
    options = {
        "max_train_steps": 2,
        "save_every_n_steps": 1,
        "validation_split": 0.3,
        "validate_every_n_steps": 1,
        "sample_prompts": folder / "prompts.txt",
        "learning_rate": 0.1,
    }
    run(train_config(cache, folder / "out", sample_every_n_steps=1, sample_at_first=True, **options))
    return cache, folder, options | {"likeness_reference": [folder / "reference.png"]}


def ranked(trained, **changes):
    cache, folder, options = trained
    recorder = Recorder()
    config = train_config(cache, folder / "out", rank_loras=True, **{**options, **changes})
    return rank(planning.plan(config), RunContext(recorder)), recorder


def drawn_now(recorder):
    return [event.text for event in recorder.of(Noted) if event.text.startswith("preview ")]


def test_pictures_and_losses_are_those_of_the_training(trained):
    _, folder, _ = trained
    summary, _ = ranked(trained)
    out, ranking = folder / "out", folder / "out" / "ranking" / "kyla"
    for name, step in (("base", 0), ("kyla-step00000001", 1), ("kyla", 2)):
        for number, seed in ((0, 42), (1, 7)):
            picture = read_image(ranking / f"{name}_{number:02d}_{seed}.png").rgb_HW3
            expected = read_image(out / "sample" / f"kyla_{step:06d}_{number:02d}_{seed}.png").rgb_HW3
            assert np.array_equal(picture, expected)
    by_name = {line["name"]: line for line in summary.details["ranking"]}
    assert by_name.keys() == {"kyla-step00000001", "kyla"}
    for line in read_log(out / "kyla-log.jsonl"):
        name = "kyla-step00000001" if line["step"] == 1 else "kyla"
        assert by_name[name]["val/loss/face"] == pytest.approx(line["val/loss/face"], rel=1e-6)
    order = [line["likeness/subject"] for line in summary.details["ranking"]]
    assert order == sorted(order, reverse=True)
    assert read_image(ranking / "ranking.png").rgb_HW3.shape[1] >= 560
    assert json.loads((ranking / "ranking.json").read_text()) == {
        "ranking": summary.details["ranking"],
        "base": summary.details["base"],
    }


def test_a_second_run_draws_what_changed_alone(trained):
    first, _ = ranked(trained)
    again, recorder = ranked(trained)
    assert drawn_now(recorder) == []
    assert again.details["ranking"] == first.details["ranking"]
    _, folder, _ = trained
    (folder / "out" / "ranking" / "kyla" / "kyla_00_42.png").unlink()
    _, recorder = ranked(trained)
    assert len(drawn_now(recorder)) == 1
    prompts = folder / "others.txt"
    prompts.write_text("kyla by the lake --s 1 --f 1\nkyla --s 1 --f 1 --d 7\n", encoding="utf-8")
    _, recorder = ranked(trained, sample_prompts=prompts)
    assert len(drawn_now(recorder)) == 6


def test_named_files_are_ranked_and_one_of_another_rank_fails_alone(trained):
    cache, folder, _ = trained
    run(train_config(cache, folder / "other", network_dim=3, max_train_steps=1, output_name="anne"))
    files = [folder / "other" / "anne.safetensors", folder / "out" / "kyla.safetensors"]
    page = folder / "out" / "kyla.html"
    page.write_bytes("Übung".encode("latin-1"))
    # Nor does what an earlier ranking is said to have found.
    found = folder / "out" / "ranking" / "kyla" / "kyla.json"
    found.parent.mkdir(parents=True, exist_ok=True)
    found.write_text("[" * 100_000)
    summary, recorder = ranked(trained, rank_file=files)
    # A page that an editor saved otherwise costs no ranking.
    assert [str(page) in event.problem.what for event in recorder.of(Warned)] == [True]
    assert [line["name"] for line in summary.details["ranking"]] == ["kyla"]
    assert [failure.key for failure in summary.failures] == ["anne"]
    assert summary.exit_code == 3


def test_the_plan_tells_of_damaged_files_and_of_a_scale_that_is_not_known(trained, tmp_path):
    cache, _, options = trained
    bare, damaged = tmp_path / "bare.safetensors", tmp_path / "damaged.safetensors"
    save_file({f"base_model.model.q.lora_{side}.weight": torch.ones(2, 2) for side in "AB"}, bare)
    damaged.write_bytes(b"x")

    def config_of(*files):
        return train_config(cache, tmp_path / "out", rank_loras=True, **options, rank_file=files)

    planned = planning.plan(config_of(bare, damaged))
    assert [item.action for item in planned.items] == [Action.WRITE, Action.FAIL]
    assert [candidate.name for candidate in planned.candidates] == ["bare"]
    told = [warning for warning in planned.warnings if "alpha is taken as the rank" in warning.what]
    assert [warning.where for warning in told] == [(str(bare),)]
    told = rank_items.plan(config_of(bare)).warnings
    assert [warning.where for warning in told] == [(str(bare),)]
    for plan in (planning.plan, rank_items.plan):
        with pytest.raises(ModelError, match="the LoRA file is damaged"):
            plan(config_of(damaged))


def test_where_no_file_can_be_ranked_the_ranking_before_stays(trained, tmp_path):
    _, folder, _ = trained
    ranking = folder / "out" / "ranking" / "kyla"
    ranked(trained, rank_file=[folder / "out" / "kyla.safetensors"])
    before = {path.name: path.read_bytes() for path in ranking.glob("ranking.*")}
    assert before.keys() == {"ranking.json", "ranking.png"}
    cut, huge = tmp_path / "cut.safetensors", tmp_path / "huge.safetensors"
    cut.write_bytes(b"cut")
    save_file({key: tensor * 1e30 for key, tensor in load_file(folder / "out" / "kyla.safetensors").items()}, huge)
    summary, _ = ranked(trained, rank_file=[cut, huge])
    assert [failure.problem.where for failure in summary.failures] == [(str(cut),), (str(huge),)]
    assert "losses that are no numbers" in summary.failures[1].problem.what
    assert (summary.exit_code, summary.written, summary.destination, summary.tables) == (3, 0, "", [])
    assert {path.name: path.read_bytes() for path in ranking.glob("ranking.*")} == before


def test_a_stop_keeps_what_is_finished(trained):
    cache, folder, options = trained
    recorder = Recorder()
    config = train_config(
        cache, folder / "out", rank_loras=True, **{**options, "rank_file": [folder / "out" / "kyla.safetensors"]}
    )
    plan = planning.plan(config)
    for path in plan.folder.glob("kyla*"):
        path.unlink()
    with pytest.raises(StoppedError):
        rank(plan, RunContext(recorder, stop_signal=lambda: 15 if drawn_now(recorder) else 0))
    assert not (plan.folder / "kyla.json").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sample_prompts": None}, "needs prompts"),
        ({"output_name": "nobody"}, "no saved LoRA"),
        ({"likeness": "off", "likeness_reference": [], "validation_split": 0.0}, "nothing to rank by"),
        ({"rank_file": ["missing.safetensors"]}, "no such LoRA"),
        ({"rank_file": ["/dev/null"]}, "the LoRA file cannot be read: it is a device"),
        ({"rank_file": ["missing.safetensors"], "arch": TWO_EXPERTS, "expert": "both"}, "a LoRA for each expert"),
    ],
)
def test_what_cannot_be_ranked_is_refused_in_the_plan(trained, changes, said):
    cache, folder, options = trained
    with pytest.raises(UsageError, match=said):
        planning.plan(train_config(cache, folder / "out", rank_loras=True, **{**options, **changes}))


@pytest.mark.parametrize("name", ["base", "ranking", "items"])
def test_a_lora_called_as_a_file_of_the_results_is_refused(trained, name):
    cache, folder, options = trained
    file = folder / "named" / f"{name}.safetensors"
    file.parent.mkdir(exist_ok=True)
    shutil.copy(folder / "out" / "kyla.safetensors", file)
    with pytest.raises(UsageError, match=f"called `{name}`"):
        planning.plan(train_config(cache, folder / "out", rank_loras=True, **{**options, "rank_file": [file]}))


def test_a_picture_that_is_not_ours_is_refused_in_the_plan(trained):
    cache, folder, options = trained
    there = folder / "other-out" / "ranking" / "kyla" / planning.SHEET
    there.parent.mkdir(parents=True)
    write_png_rgb(there, random_rgb((8, 8), seed=0))
    files = {**options, "rank_file": [folder / "out" / "kyla.safetensors"]}
    with pytest.raises(InputError, match="not ours"):
        planning.plan(train_config(cache, folder / "other-out", rank_loras=True, **files))
