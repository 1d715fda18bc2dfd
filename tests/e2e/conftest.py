"""The quickstart, run once for all tests of this folder."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from blissmask.vision import session
from tests.builders.command import Ran, run_here
from tests.builders.remembered import remembered_networks

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart"


@dataclass(frozen=True)
class Quickstart:
    """A copy of ``examples/quickstart`` in which every command of its ``run.sh`` has been run, and what each of them printed."""

    folder: Path
    ran: dict[str, Ran]


@pytest.fixture(scope="session")
def _answers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("answers")


@contextlib.contextmanager
def _remembering(answers: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "_session", remembered_networks(answers))
        yield


@pytest.fixture(scope="module")
def networks_remember(_answers: Path) -> Iterator[None]:
    """Let the networks look at each photo once: commands of many pages and configurations run over the same ones."""
    with _remembering(_answers):
        yield


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory: pytest.TempPathFactory, _answers: Path) -> Quickstart:
    """Run the quickstart in this process; that the commands run in processes of their own is said by test_wheel.py."""
    folder = tmp_path_factory.mktemp("quickstart")
    shutil.copytree(QUICKSTART, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("work", ".venv"))
    steps = [line.split() for line in (folder / "run.sh").read_text().splitlines() if line.startswith("step blissmask")]
    with _remembering(_answers):
        return Quickstart(folder, {step[2]: run_here(" ".join(step[1:]), folder) for step in steps})
