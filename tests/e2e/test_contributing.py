"""The examples in CONTRIBUTING.md are real: the family passes the tests of all families, the backend is a package."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.builders.warm import GIVEN

ROOT = Path(__file__).parents[2]
PAGE = ROOT / ".github" / "CONTRIBUTING.md"
TEXT = PAGE.read_text(encoding="utf-8")
BACKEND = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)[0]
FAMILY = dict(re.findall(r"^`(sketch/\w+\.py)`:\n\n```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))
TESTS_OF_FAMILIES = [
    "families/test_contract",
    "families/test_preview_pipelines",
    "families/test_folders",
    "cache/run/test_families",
    "train/lora/test_families",
]


def test_backend_is_the_example_package():
    assert (ROOT / "examples" / "backend-package" / "blissmask_brightness" / "parts.py").read_text(
        encoding="utf-8"
    ) == BACKEND


@pytest.mark.slow
def test_family_passes_the_tests_of_all_families(tmp_path: Path, warm_python: str):
    """Installed as pip would leave it: the folder and its metadata on the path."""
    (tmp_path / "sketch").mkdir()
    for name, code in FAMILY.items():
        (tmp_path / name).write_text(code, encoding="utf-8")
    metadata = tmp_path / "sketch-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: sketch\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[blissmask.families]\nsketch = sketch.sketch\n")
    tests = [f"tests/integration/{name}.py" for name in TESTS_OF_FAMILIES]
    command = [
        warm_python,
        "-m",
        "pytest",
        "-q",
        "-k",
        "sketch",
        "-p",
        "no:cacheprovider",
        # Its plugins are imported already.
        "-W",
        "ignore:Module already imported:pytest.PytestAssertRewriteWarning",
        "--basetemp",
        tmp_path / "work",
        *tests,
    ]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), GIVEN: warm_python}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed
    assert int(passed[1]) >= 25, done.stdout


def test_the_folder_of_the_family_is_small():
    assert len(FAMILY) == 4
    assert sum(code.count("\n") for code in FAMILY.values()) <= 400


LINKS = {PAGE.parent / target for target in re.findall(r"\]\((?!http)([^)#]+)\)", TEXT)}
TESTS = {ROOT / target for target in re.findall(r"`(tests/[\w/.]+\.py)`", TEXT)}
HOUSE = TEXT[TEXT.index("## The house on one page") : TEXT.index("## Add a mask backend")]
ROOMS = {ROOT / "blissmask" / target for target in re.findall(r"`((?!tests/)[a-z_/]+(?:/|\.py))`", HOUSE)}


@pytest.mark.parametrize("path", sorted(LINKS | TESTS | ROOMS), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_it_names_is_there(path: Path):
    assert path.exists()


def test_the_house_names_every_folder_and_file_of_the_package():
    entries = [
        path for path in (ROOT / "blissmask").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    ]
    unnamed = [path.name for path in entries if f"`{path.name}" not in HOUSE and not path.name.startswith("__")]
    assert unnamed == []
