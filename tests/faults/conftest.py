"""The process that fault tests fork their runs from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.forks import Forks


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """Yield a started process that runs subcommands in forks of itself."""
    started = Forks()
    yield started
    started.close()
