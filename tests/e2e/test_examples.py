"""Every example works: each configuration is read, its commands are run with miniature models, and the quickstart goes the whole road."""

import json
import re
from pathlib import Path

import pytest
from safetensors import safe_open

from blissmask.config.load import load_config
from blissmask.media.image import read_header
from blissmask.media.mask_picture import read_grey
from tests.builders.command import run_blissmask, run_here
from tests.builders.example_configs import EXAMPLES, STARTERS, fill, fill_masks, miniature

pytestmark = pytest.mark.usefixtures("networks_remember")
CONFIGURATIONS = [EXAMPLES / "quickstart" / "blissmask.toml", *sorted(STARTERS.glob("*.toml"))]
COMPLETE = sorted(path.name for path in STARTERS.glob("*.toml"))
RUN_ELSEWHERE = ("two-people.toml",)
"""Starters whose commands run in a test file of their own: test_two_people.py."""
COMMAND = re.compile(r"^#   (blissmask .*?)(?: {5,}.*)?$", re.MULTILINE)


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.name)
def test_example_configuration_is_valid(path: Path):
    assert load_config(path, {}).datasets


def test_no_two_examples_write_to_one_place():
    configs = [load_config(STARTERS / name, {}) for name in COMPLETE]
    assert len({config.saving.output_name for config in configs}) == len(configs)
    assert len({config.datasets[0].cache_directory for config in configs}) == len(configs)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in COMPLETE if name not in RUN_ELSEWHERE])
def test_commands_at_the_head_of_an_example_run(name: str, tmp_path: Path):
    commands = [" ".join(line.split()) for line in COMMAND.findall((STARTERS / name).read_text(encoding="utf-8"))]
    assert commands[-1] == f"blissmask train --config {name} --prepare"
    fill(tmp_path)
    if not commands[0].startswith("blissmask masks"):
        fill_masks(tmp_path)
    (tmp_path / name).write_text(miniature(name), encoding="utf-8")
    for line in commands:
        ran = run_here(line, tmp_path)
        assert ran.code == 0, f"{line}: {ran.err}"
    assert "MASK-WEIGHTED LOSS TRAINING ENABLED" in ran.err
    assert list((tmp_path / "out").glob("kyla*.safetensors"))


@pytest.mark.slow
def test_quickstart_goes_the_whole_road(quickstart):
    assert list(quickstart.ran) == ["masks", "instance", "apply", "to-alpha", "cache", "train"]
    for command, ran in quickstart.ran.items():
        assert ran.code == 0, ran.err
        assert (
            "Trained 40 steps -> work/lora/eileen-low.safetensors"
            if command == "train"
            else "Written 3, skipped 0, failed 0"
        ) in ran.out

    # In the group photo she is on the left; the photographer on the right ends at weight 0.
    work = quickstart.folder / "work"
    group = read_grey(work / "subject_masks" / "eileen-and-photographer.png")
    assert group[:, :480].mean() > 40
    assert group[:, 480:].mean() < 1
    assert read_grey(work / "masks" / "eileen-and-photographer.png")[:, 480:].mean() > 20
    assert read_header(work / "rgba" / "eileen-close.png").has_alpha

    assert "MASK-WEIGHTED LOSS TRAINING ENABLED" in quickstart.ran["train"].err
    (lora,) = (work / "lora").glob("eileen*.safetensors")
    with safe_open(lora, "pt") as file:
        assert any(key.startswith("diffusion_model.blocks.0.self_attn.q.lora_A") for key in file.keys())  # noqa: SIM118
        assert file.metadata()["ss_mask_gamma"] == "1.0"


@pytest.mark.slow
def test_second_quickstart_run_has_nothing_left_to_do(quickstart, warm_python):
    for command in ("masks", "instance", "apply", "to-alpha", "cache"):
        document = json.loads(run_blissmask(command, "--json", cwd=quickstart.folder, python=warm_python).out)
        assert (document["written"], document["failed"]) == (0, []), command
    assert document["mask_sources"] == {"alpha": 3, "file": 0, "full": 0}


@pytest.mark.slow
def test_from_a_folder_of_photos_to_a_lora_with_a_trigger_word_alone(tmp_path: Path):
    fill(tmp_path)
    for caption in (tmp_path / "photos").glob("*.txt"):
        caption.unlink()
    text = run_here("blissmask --starter person --photos photos", tmp_path).out
    line = "blissmask train --prepare --model tiny --max-train-steps 2"
    small = text.replace("[1024, 1024]", "64")
    (tmp_path / "blissmask.toml").write_text(small)
    blank = run_here(f"{line} --dry-run", tmp_path)
    assert blank.code == 1
    assert "2 items with {trigger} in the caption, and `trigger` is blank" in blank.err
    (tmp_path / "blissmask.toml").write_text(small.replace('trigger = ""', 'trigger = "ohwx"'))
    planned = run_here(f"{line} --dry-run", tmp_path)
    assert planned.code == 0, planned.err
    assert "not planned yet, since it reads what is made above (masks: cannot read the folder" in planned.err
    assert "this is a forecast by the published size of the family" in planned.err
    ran = run_here(line, tmp_path)
    assert ran.code == 0, ran.err
    assert "kyla-low.safetensors fits no real model: this was a trial in miniature" in ran.err
    assert "Written" in ran.out
    assert (tmp_path / "out" / "kyla-low.safetensors").is_file()


@pytest.mark.slow
def test_a_part_that_is_not_done_whole_ends_the_road_with_its_exit_code(tmp_path: Path):
    fill(tmp_path)
    (tmp_path / "photos" / "broken.jpg").write_text("no picture")
    (tmp_path / "blissmask.toml").write_text(miniature("person.toml"))
    ran = run_here("blissmask train --prepare", tmp_path)
    assert ran.code == 3
    assert "2 of 3: cache" not in ran.err
