"""The process that fault tests fork their runs from."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.faults.forks import Forks

IN_NAME_SPACES = ("unshare", "-rm")


@pytest.fixture(scope="session")
def forks(warm_python: str) -> Iterator[Forks]:
    """Yield a started process that runs subcommands in forks of itself."""
    started = Forks(python=warm_python)
    yield started
    started.close()


@pytest.fixture(scope="session")
def mounting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """Yield a started process whose forks may mount, and see what others of them mounted; nobody else does."""
    probe = [*IN_NAME_SPACES, "mount", "-t", "tmpfs", "none", str(tmp_path_factory.mktemp("probe"))]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("this machine refuses user namespaces")
    started = Forks(*IN_NAME_SPACES)
    yield started
    started.close()
