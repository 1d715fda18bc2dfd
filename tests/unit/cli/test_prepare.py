"""cli/prepare.py: which commands `train --prepare` runs, by what the configuration asks for."""

import pytest
import torch
from safetensors.torch import save_file

from blissmask.cli import execute
from blissmask.cli.commands import APPLY, CACHE, INSTANCE, TRAIN
from blissmask.cli.execute import _refuse_what_comes_late, _show_plan_of
from blissmask.cli.prepare import refuse_captions_without, road
from blissmask.cli.starters import starter
from blissmask.config.load import load_config
from blissmask.config.model import Config
from blissmask.errors import InputError, UsageError
from blissmask.ui.problems import ProblemPrinter
from tests.builders.families import PLAIN

PREPARE = {"train": {"prepare": True}}


def names(command=TRAIN, **tables):
    return [part.name for part in road(command, Config.model_validate(tables))]


@pytest.mark.parametrize(
    ("name", "before"),
    [
        ("person", ["masks"]),
        ("group", ["masks", "instance", "apply"]),
        ("two-people", ["masks", "instance, kyla", "instance, tom", "apply, kyla", "apply, tom"]),
        ("alpha", ["masks", "to-alpha"]),
        ("video", ["masks"]),
    ],
)
def test_a_starter_has_the_road_of_its_kind(name, before, tmp_path):
    (tmp_path / "c.toml").write_text(starter(name, None)[0])
    config = load_config(tmp_path / "c.toml", {"train": {"prepare": True}})
    assert [part.name for part in road(TRAIN, config)] == [*before, "cache", "train"]


def test_without_masks_only_the_cache_is_made():
    assert names(**PREPARE, datasets=[{"image_directory": "photos"}]) == ["cache", "train"]


def test_other_commands_and_other_work_of_train_go_alone():
    assert names() == ["train"]
    assert names(CACHE, **PREPARE) == ["cache"]
    assert names(**PREPARE, saving={"convert_lora": "a.safetensors"}) == ["train"]


def test_captions_are_written_before_they_are_encoded():
    parts = road(CACHE, Config.model_validate({"cache": {"captions": "transformers"}}))
    assert [(part.name, part.command, part.config.cache.captions) for part in parts] == [
        ("captions", CACHE, "transformers"),
        ("cache", CACHE, None),
    ]
    assert parts[0].command.task_for(parts[0].config) != CACHE.task == CACHE.task_for(parts[1].config)


def test_what_was_typed_for_captions_is_not_ignored_without_them():
    flags = {"cache": {"caption_model": "model"}}
    with pytest.raises(UsageError, match="`--caption-model` does nothing without `--captions`"):
        refuse_captions_without(flags, Config())
    refuse_captions_without(flags, Config.model_validate({"cache": {"captions": "transformers"}}))
    # A file keeps it for another time.
    refuse_captions_without({}, Config.model_validate({"cache": {"caption_model": "model"}}))


def test_captions_are_not_written_in_a_job_array(monkeypatch):
    """Its processes do not wait for each other: one would encode what another one has still to write."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    captions = {"cache": {"captions": "transformers"}}
    with pytest.raises(UsageError, match="`--captions` cannot share photos in a job array"):
        names(CACHE, **captions)
    assert names(CACHE) == ["cache"]
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    assert names(CACHE, **captions) == ["captions", "cache"]


def test_several_processes_do_not_prepare(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(UsageError, match="`--prepare` works in one process"):
        names(**PREPARE)


SUBJECTS = [{"name": name, "trigger": f"{name}wx", "references": [f"{name}.jpg"]} for name in ("kyla", "jane")]
TABLES = {
    "subjects": SUBJECTS,
    "instance": {"input": "photos", "output": "subject"},
    "apply": {"weighted_masks": "masks", "instance_masks": "subject", "output": "applied"},
}


def test_masks_of_a_subject_are_made_by_apply_alone():
    datasets = [{"subject": "kyla", "image_directory": "photos", "mask_directory": "applied/kyla"}]
    assert "masks" not in names(**PREPARE, **TABLES, datasets=datasets)


def test_several_subjects_are_found_and_applied_one_after_another():
    assert names(INSTANCE, **TABLES) == ["instance, kyla", "instance, jane"]
    assert names(APPLY, **TABLES) == ["apply, kyla", "apply, jane"]
    before = ["instance, kyla", "instance, jane", "apply, kyla", "apply, jane"]
    assert names(**PREPARE, **TABLES) == [*before, "cache", "train"]


def test_only_the_training_is_done_over_with_force():
    config = Config.model_validate({**PREPARE, **TABLES, "run": {"force": True}})
    assert [part.config.run.force for part in road(TRAIN, config)] == [False] * 5 + [True]
    assert [part.config.run.force for part in road(INSTANCE, config)] == [True, True]


def test_references_in_two_tables_are_refused():
    with pytest.raises(UsageError, match="`reference` of"):
        names(INSTANCE, **{**TABLES, "instance": {"reference": ["a.jpg"]}})


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize("base", ["sampled-5eed", "tiny-transformer-seed0"])
def test_a_trial_over_a_real_training_is_refused_before_anything_is_prepared(tmp_path, base, dry_run):
    save_file({"a": torch.zeros(1)}, tmp_path / "kyla.safetensors", {"ss_sd_model_hash": base})
    model = {"arch": PLAIN, "model": "tiny"}
    saving = {"output_dir": tmp_path, "output_name": "kyla"}
    config = Config.model_validate({"model": model, "saving": saving, "run": {"dry_run": dry_run}})
    if base.startswith("tiny"):
        _refuse_what_comes_late(config)
        return
    with pytest.raises(UsageError, match="`kyla` is a real training"):
        _refuse_what_comes_late(config)


def test_a_plan_that_waits_says_why_in_one_line_however_many_files_it_lacks(monkeypatch, capsys):
    photos = [f"photos/{number}.jpg" for number in range(63)]

    def refuse(*_):
        raise InputError("no mask for 63 items", where=photos)

    monkeypatch.setattr(execute, "_planned", refuse)
    [cache, _] = road(TRAIN, Config.model_validate({**PREPARE, "datasets": [{"image_directory": "photos"}]}))
    assert _show_plan_of(cache, ProblemPrinter(), waits=True) == (True, 0)
    text = " ".join(capsys.readouterr().err.split())
    assert text.endswith("not planned yet, since it reads what is made above (no mask for 63 items)")
