"""Every screen that is not a help screen is as frozen in tests/golden/screens: summaries, plans, the banner, errors; redirected, at 80 columns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from blissmask.storage.lock import writing_to
from tests.builders.command import Ran, run_here
from tests.builders.families import TWO_EXPERTS
from tests.builders.golden_files import compare, without_what_varies
from tests.builders.pictures import mask_folder, photo_folder

COMMANDS = ["masks", "instance", "apply", "to-alpha", "cache", "train"]
CONFIG = f"""
[general]
resolution = 64
[[datasets]]
image_directory = "photos"
mask_directory = "masks"
cache_directory = "cache"
[to_alpha]
output_directory = "rgba"
[model]
arch = "{TWO_EXPERTS}"
model = "tiny"
"""
MISTAKES = CONFIG.replace("mask_directory", "mask_dir").replace("[model]", "[modle]").replace("= 64", '= "large"')

REFUSED = {
    "unknown-command": "mask",
    "unknown-flag": "masks --inptu photos",
    "flag-of-another-command": "cache --mask_gamma 0.7",
    "flag-before-command": "--config person.toml train",
    "missing-value": "masks --input",
    "stray-argument": "masks photos",
    "unknown-backend": "masks --backend embeded --input photos --output out",
    "unknown-family": f"cache --arch {TWO_EXPERTS}x",
    "wrong-choice": "train --mask-preset persn",
    "out-of-range": "train --mask-gamma 0 --mask-min-weight 1",
    "empty-path": "masks --input= --output masks",
    "empty-configuration": "cache --config=",
    "no-configuration": "cache --config nowhere.toml",
    "several-mistakes": "cache --config mistakes.toml",
    "no-folder": "masks --input nowhere --output out",
    "no-output": "masks --input photos",
    "no-reference": "instance --input photos --output out --reference nobody.jpg",
    "no-model-files": "cache --config plain.toml",
    "no-model-folder": "cache --model nowhere",
    "no-cache": "train --config uncached.toml",
    "mask-missing": "cache --require-mask",
    "error-as-json": "train --mask-gamma 0 --json",
}


def screen(ran: Ran, line: str, *, folder: Path, measured: bool = False) -> str:
    """Return what stood on the screen, both streams by name, without what varies."""
    parts = [
        f"$ blissmask {line}",
        *(f"--- {name}\n{text}" for name, text in (("stderr", ran.err), ("stdout", ran.out)) if text),
    ]
    return without_what_varies("\n".join([*parts, f"--- exit code {ran.code}"]), folder=folder, measured=measured)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photos, two masks, and configurations right and wrong."""
    folder = tmp_path_factory.mktemp("screens")
    photo_folder(folder / "photos", ["one.png", "two.png", "three.png"], size_wh=(64, 64))
    for name in ("one", "two", "three"):
        (folder / "photos" / f"{name}.txt").write_text("a person")
    mask_folder(folder / "masks", ["one.png", "two.png"], size_wh=(64, 64))
    (folder / "blissmask.toml").write_text(CONFIG)
    (folder / "plain.toml").write_text(CONFIG.replace('model = "tiny"\n', ""))
    (folder / "uncached.toml").write_text(CONFIG.replace('"cache"', '"uncached"'))
    (folder / "mistakes.toml").write_text(MISTAKES)
    return folder


@pytest.mark.parametrize("name", REFUSED)
def test_refusal_is_as_frozen(name: str, folder: Path):
    ran = run_here(f"blissmask {REFUSED[name]}", folder)
    assert ran.code in (1, 2)
    compare(f"screens/error-{name}.txt", screen(ran, REFUSED[name], folder=folder))


def test_busy_folder_is_as_frozen(folder: Path):
    line = "to-alpha --no-progress"
    with writing_to([folder / "rgba"], command="blissmask to-alpha"):
        ran = run_here(f"blissmask {line}", folder)
    compare("screens/error-busy.txt", screen(ran, line, folder=folder))


RAISED = {
    "bug": "ValueError('something that should not happen')",
    "refused": "PermissionError(13, 'Permission denied', 'locked/masks')",
    "machine": "MachineError('no space left to write', where=['cache'], fix='free some and run the same command again; finished files are kept')",
    "several": "InputError.several([Problem('first', ('a.png', 'b.png'), 'mend it'), Problem('second', (), 'mend it in\\ntwo steps')])",
    "many-places": "InputError('12 photos are unreadable', where=[f'photos/{number:02}.png' for number in range(12)])",
}


@pytest.mark.parametrize("name", RAISED)
def test_error_of_a_task_is_as_frozen(name: str, tmp_path: Path):
    code = "import sys; from blissmask.cli.guarded import guarded; from blissmask.errors import *\n"
    code += f"def command(): raise {RAISED[name]}\nsys.exit(guarded(command, []))"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "NO_COLOR": "1"}, capture_output=True, text=True, check=False
    )
    ran = Ran(done.returncode, done.stdout, done.stderr)
    compare(f"screens/error-{name}.txt", screen(ran, f"# {RAISED[name].partition('(')[0]}", folder=tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_summary_is_as_frozen(command: str, quickstart):
    ran = quickstart.ran[command]
    assert ran.code == 0, ran.err
    compare(f"screens/summary-{command}.txt", screen(ran, command, folder=quickstart.folder, measured=True))


PLANS = {
    "again": "cache",
    "plan-masks": "masks --force --dry-run",
    "plan-cache": "cache --force --dry-run",
    "plan-train": "train --force --dry-run",
    "explain-masks": "masks --explain",
    "explain-instance": "instance --explain",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANS)
def test_plan_is_as_frozen(name: str, quickstart):
    ran = run_here(f"blissmask {PLANS[name]}", quickstart.folder)
    assert ran.code == 0
    compare(
        f"screens/{name}.txt", screen(ran, PLANS[name], folder=quickstart.folder, measured=name != "explain-instance")
    )


@pytest.mark.slow
def test_finished_with_failures_is_as_frozen(folder: Path, tmp_path: Path):
    photo_folder(tmp_path / "photos", ["good.png"])
    (tmp_path / "photos" / "broken.png").write_text("no picture")
    line = "masks --input photos --output masks --no-progress"
    ran = run_here(f"blissmask {line}", tmp_path)
    assert ran.code == 3
    compare("screens/some-failed.txt", screen(ran, line, folder=tmp_path))


@pytest.mark.slow
def test_training_without_masks_is_as_frozen(folder: Path):
    (folder / "maskless.toml").write_text(
        CONFIG.replace('mask_directory = "masks"\n', "").replace('"cache"', '"maskless"')
    )
    assert run_here("blissmask cache --config maskless.toml", folder).code == 0
    line = "train --config maskless.toml --use-mask-loss"
    ran = run_here(f"blissmask {line}", folder)
    assert ran.code == 1
    compare("screens/error-fatal.txt", screen(ran, line, folder=folder))


def test_a_mistake_of_ours_is_a_json_document_too(tmp_path: Path):
    code = "import sys; from blissmask.cli.guarded import guarded\n"
    code += "def command(): raise ValueError('something')\nsys.exit(guarded(command, ['masks', '--json']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    document = json.loads(done.stdout)
    assert (document["type"], document["exit_code"], done.returncode) == ("error", 70, 70)
    assert document["problems"][0]["what"] == "a mistake of ours: ValueError: something"


def test_an_error_is_a_json_document_when_the_configuration_asks_for_it(folder: Path):
    (folder / "json.toml").write_text(CONFIG.replace('"cache"', '"uncached"') + "[run]\njson_output = true\n")
    ran = run_here("blissmask train --config json.toml", folder)
    assert json.loads(ran.out)["type"] == "error"
    assert ran.err.count("error:") == 1


def test_fail_fast_stops_at_what_the_plan_knows_will_fail(tmp_path: Path):
    photo_folder(tmp_path / "photos", ["good.png", "without.png"])
    mask_folder(tmp_path / "masks", ["good.png"])
    line = "blissmask to-alpha --image-directory photos --mask-directory masks --output-directory rgba"
    ran = run_here(f"{line} --fail-fast", tmp_path)
    assert ran.code == 1
    assert "`--fail-fast` stops here" in ran.err
    assert not (tmp_path / "rgba").exists()
    assert run_here(line, tmp_path).code == 3


def test_json_stays_json_when_redirected(folder: Path):
    assert json.loads(run_here("blissmask to-alpha --dry-run --json", folder).out)["type"] == "plan"
