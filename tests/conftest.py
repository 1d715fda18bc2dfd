"""What every tier may ask for."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from tests.builders.command import Ran, run_blissmask


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over what was imported: looking through all of torch and diffusers at every
    collection was two fifths of a training in miniature.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def blissmask(tmp_path):
    """Return a function that runs ``blissmask`` with arguments in ``tmp_path`` and returns exit code and both streams."""

    def run(*arguments: object, cwd: Path = tmp_path, **env: str) -> Ran:
        return run_blissmask(*arguments, cwd=cwd, **env)

    return run
