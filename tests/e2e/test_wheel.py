"""The wheel holds everything that is needed and nothing else, and works where no checkout is: built, installed and run in a folder of its own."""

from __future__ import annotations

import email
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.builders.families import PLAIN
from tests.builders.pictures import mask_folder, photo_folder

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CONFIG = """
[general]
resolution = 64
[[datasets]]
image_directory = "photos"
mask_directory = "masks"
cache_directory = "cache"
"""
# Of one process, since importing torch takes longer than what follows.
IN_TURN = """
import runpy, shlex, sys
script, *lines = sys.argv[1:]
for line in lines:
    sys.argv = [script, *shlex.split(line)]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
"""
NOT_SOURCE = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info", "work")


def package_files() -> set[str]:
    """Return every file of the package as the checkout has it."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "blissmask").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


def pip(*arguments: object) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *map(str, arguments)], check=True
    )


def build_wheel(source: Path, folder: Path) -> Path:
    """Build a wheel with the setuptools that torch brings, so that nothing is fetched."""
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the checkout, since building leaves files behind that would slip into the next wheel."""
    return Path(shutil.copytree(ROOT, tmp_path_factory.mktemp("source") / "blissmask", ignore=NOT_SOURCE))


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the installed wheel; what it depends on comes from the environment of the tests."""
    folder = tmp_path_factory.mktemp("installed")
    pip("install", "--no-deps", "--no-index", "--target", folder, wheel)
    return folder


@pytest.fixture
def run(installed: Path, tmp_path: Path):
    """Return a function that runs the installed console script with these command lines outside the checkout and returns what it printed."""

    def run(*lines: str) -> str:
        env = {**os.environ, "PYTHONPATH": str(installed), "NO_COLOR": "1"}
        command = [sys.executable, "-c", IN_TURN, installed / "bin" / "blissmask", *lines]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_wheel_holds_the_package_and_nothing_else(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == package_files()
    assert {"blissmask/py.typed", "blissmask/LICENSE", "blissmask/vision/weights/NOTICE.md"} < names
    assert sum(name.endswith(".onnx") for name in names) == 7


def test_wheel_states_its_licences_and_what_it_needs(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        info = {name.partition(".dist-info/")[2]: name for name in archive.namelist() if ".dist-info/" in name}
        metadata = email.message_from_bytes(archive.read(info["METADATA"]))
    assert {
        "licenses/blissmask/LICENSE",
        "licenses/blissmask/vision/weights/NOTICE.md",
        "entry_points.txt",
    } < info.keys()
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert any(line.startswith("torch") for line in metadata.get_all("Requires-Dist"))


def test_source_archive_holds_the_package_too(source: Path, tmp_path: Path):
    # Not packed: that takes seconds and changes nothing of what is in it.
    code = "import sys; from setuptools import setup; setup(script_args=['sdist', '--formats=tar', '--dist-dir', sys.argv[1]])"
    subprocess.run([sys.executable, "-c", code, tmp_path], cwd=source, check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tar")
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames() if not tar.getmember(name).isdir()}
    assert package_files() | {"pyproject.toml", "README.md"} <= names
    assert not {name for name in names if name.startswith(("tests/", "examples/"))}


def test_installed_command_is_the_wheels_and_says_its_version(run, installed: Path):
    assert run("--version").startswith("blissmask 0.")
    code = "import blissmask; print(blissmask.__file__)"
    env = {**os.environ, "PYTHONPATH": str(installed)}
    told = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=installed, capture_output=True, text=True, check=True
    )
    assert Path(told.stdout.strip()).is_relative_to(installed)


def test_installed_command_makes_masks_of_a_photo(run, tmp_path: Path):
    (tmp_path / "photos").mkdir()
    shutil.copy(ROOT / "tests" / "photos" / "astronaut.png", tmp_path / "photos")
    assert "Written 1" in run("masks --input photos --output masks")
    assert (tmp_path / "masks" / "astronaut.png").exists()


def test_installed_command_caches_and_trains(run, tmp_path: Path):
    photo_folder(tmp_path / "photos", ["one.png"], size_wh=(64, 64))
    mask_folder(tmp_path / "masks", ["one.png"], size_wh=(64, 64))
    (tmp_path / "photos" / "one.txt").write_text("a person")
    (tmp_path / "blissmask.toml").write_text(CONFIG)
    run(
        f"cache --arch {PLAIN} --model tiny",
        "train --model tiny --use-mask-loss --max-train-steps 2 --output-dir out --output-name lora",
    )
    assert (tmp_path / "out" / "lora.safetensors").exists()
