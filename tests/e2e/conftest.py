"""The quickstart, run once for all tests of this folder."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from blissmask.vision import session
from tests.builders.command import Ran, run_blissmask, run_here
from tests.builders.remembered import remembered_networks

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart"
# A process of their own would spend most of its time importing torch.
LOADING_TORCH = ("cache", "train")


@dataclass(frozen=True)
class Quickstart:
    """A copy of ``examples/quickstart`` in which every command of its ``run.sh`` has been run, and what each of them printed."""

    folder: Path
    ran: dict[str, Ran]


@pytest.fixture(scope="session")
def _answers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("answers")


@pytest.fixture(scope="module")
def networks_remember(_answers: Path) -> Iterator[None]:
    """Let the networks look at each photo once: commands of many pages and configurations run over the same ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "_session", remembered_networks(_answers))
        yield


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Quickstart:
    folder = tmp_path_factory.mktemp("quickstart")
    shutil.copytree(QUICKSTART, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("work", ".venv"))
    lines = [
        line.split()[2:] for line in (folder / "run.sh").read_text().splitlines() if line.startswith("step blissmask")
    ]
    return Quickstart(folder, {line[0]: run_line(line, folder) for line in lines})


def run_line(line: list[str], folder: Path) -> Ran:
    if line[0] in LOADING_TORCH:
        return run_here(shlex.join(["blissmask", *line]), folder)
    return run_blissmask(*line, cwd=folder, COLUMNS="80")
