"""cli/starters.py: configurations to start from, fitted to the photos that are here."""

from pathlib import Path

import pytest
import tomli

from blissmask.cli.app import build_app
from blissmask.cli.starters import BLANK, fitted, names, starter
from blissmask.cli.usage import as_usage_error
from blissmask.config.config_file import how_to_start
from blissmask.config.load import load_config
from blissmask.config.model import Config
from blissmask.errors import UsageError
from blissmask.families.registry import load_family
from blissmask.training.experts import wanted_experts
from blissmask.training.record.saving import output_names


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def photos(folder, count, suffix=".jpg"):
    folder.mkdir()
    for number in range(count):
        (folder / f"{number}{suffix}").touch()


def test_starters_have_a_line_about_them():
    assert names()["person"] == "One person, alone in the photos, on Wan 2.2."
    assert {"group", "video"} <= set(names())


@pytest.mark.parametrize("name", names())
def test_a_starter_is_valid_names_no_configuration_and_marks_what_only_the_user_knows(name, tmp_path):
    text, count = starter(name, None)
    (tmp_path / "blissmask.toml").write_text(text)
    config = load_config(tmp_path / "blissmask.toml", {})
    assert count is None
    # Several subjects must differ by their triggers, so that those are examples.
    triggers = len(config.subjects) or 1
    assert bool(config.datasets[0].trigger) == bool(config.subjects)
    assert "--config" not in text
    marked = [line.partition(" ")[0] for line in text.splitlines() if BLANK in line]
    set_files = [
        field for field in type(config.model).model_fields if str(getattr(config.model, field)).startswith("models")
    ]
    references = ["references"] * len(config.subjects) + ["reference"] * bool(config.instance.reference)
    assert sorted(marked) == sorted(["trigger"] * triggers + references + set_files)


@pytest.mark.parametrize("name", names())
def test_a_starter_that_draws_previews_names_the_page_that_shows_them(name):
    text, _ = starter(name, None)
    config = Config.model_validate(tomli.loads(text))
    family = load_family(config.model.arch).for_task(config.model.task or "")
    trained = [expert.name for expert in wanted_experts(family.experts, config.train.expert)]
    page = output_names(
        config.saving.output_dir,
        config.saving.output_name,
        all_experts=len(family.experts),
        trained=trained,
        shared=False,
    ).page
    assert (f"; {page.name} beside the LoRA" in text) == bool(config.previews.prompts)


def test_steps_are_fitted_to_the_photos_of_the_folder_that_is_named(tmp_path):
    photos(tmp_path / "my photos", 33)
    text, count = starter("person", tmp_path / "my photos")
    config = tomli.loads(text)
    assert count == 33
    assert config["train"]["max_train_steps"] == 2600
    assert config["saving"]["save_every_n_steps"] == 650
    assert config["datasets"][0]["image_directory"] == str(tmp_path / "my photos")


def test_photos_that_are_here_are_found_without_naming_them(tmp_path):
    photos(tmp_path / "photos", 12)
    assert tomli.loads(starter("person", None)[0])["train"]["max_train_steps"] == 1000


def test_every_table_that_begins_with_the_photos_gets_their_folder(tmp_path):
    photos(tmp_path / "p", 1)
    config = tomli.loads(starter("group", tmp_path / "p")[0])
    assert config["masks"]["input"] == config["instance"]["input"] == str(tmp_path / "p")
    assert tomli.loads(starter("alpha", tmp_path / "p")[0])["to_alpha"]["image_directory"] == str(tmp_path / "p")


def test_clips_are_counted_for_a_configuration_of_clips(tmp_path):
    photos(tmp_path / "clips", 3, ".mp4")
    assert starter("video", None)[1] == 3


@pytest.mark.parametrize(("count", "steps"), [(1, 500), (12, 1000), (20, 1600), (400, 4000)])
def test_few_and_many_photos_have_steps_within_the_usual_range(count, steps):
    assert f"max_train_steps = {steps} " in fitted("max_train_steps = 1600\n", count)


def test_two_experts_have_twice_the_steps():
    config = tomli.loads(fitted(starter("two-experts", None)[0], 20))
    assert config["train"]["max_train_steps"] == 3200


def test_an_unknown_starter_names_the_nearest():
    with pytest.raises(UsageError, match="unknown starter `persn`") as caught:
        starter("persn", None)
    assert caught.value.problems[0].fix == "did you mean `person`?"


@pytest.mark.parametrize(
    ("typed", "what", "fix"),
    [
        (["--starter"], "`--starter` needs a value", "group"),
        (["--photos", "photos"], "`--photos` goes with `--starter`", "blissmask --starter NAME --photos DIR"),
        (["cache", "--starter", "person"], "`--starter` goes without a command", "blissmask --starter NAME"),
    ],
)
def test_its_flags_in_the_wrong_place_say_where_they_go(typed, what, fix):
    with pytest.raises(Exception) as caught:
        build_app()(typed, prog_name="blissmask", standalone_mode=False)
    problem = as_usage_error(caught.value, typed).problems[0]
    assert problem.what == what
    assert fix in problem.fix


@pytest.mark.parametrize(("table", "name"), [("instance", "group"), ("apply", "group"), ("to_alpha", "alpha")])
def test_a_command_that_misses_a_configuration_names_a_starter_that_has_its_table(table, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert f"{tmp_path} has no `blissmask.toml`" in how_to_start(None, table)
    assert f"`blissmask --starter {name} > blissmask.toml` writes one" in how_to_start(None, table)
    # Its own name would be written over, and that nothing is called `blissmask.toml` is no reason with `--config`.
    for read in (Path("blissmask.toml"), Path("p.toml")):
        assert how_to_start(read, table) == f"`{read}` was read; `blissmask --starter {name}` prints an example"
    assert table in tomli.loads(starter(name, None)[0])
