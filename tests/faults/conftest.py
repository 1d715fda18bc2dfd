"""The process that fault tests fork their runs from."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.faults.forks import Forks

IN_NAME_SPACES = ("unshare", "-rm")


@pytest.fixture(scope="session")
def may_mount(tmp_path_factory: pytest.TempPathFactory) -> bool:
    """Whether this machine lets a process mount in name spaces of its own."""
    probe = [*IN_NAME_SPACES, "mount", "-t", "tmpfs", "none", str(tmp_path_factory.mktemp("probe"))]
    try:
        return not subprocess.run(probe, capture_output=True, check=False).returncode
    except FileNotFoundError:
        return False


@pytest.fixture(scope="session")
def forks(may_mount: bool) -> Iterator[Forks]:
    """Yield a started process that runs subcommands in forks of itself."""
    started = Forks(*(IN_NAME_SPACES if may_mount else ()))
    yield started
    started.close()


@pytest.fixture(scope="session")
def mounting(forks: Forks, may_mount: bool) -> Forks:
    """Return the process whose forks may mount, and see what others of them mounted; nobody else does."""
    if not may_mount:
        pytest.skip("this machine refuses user namespaces")
    return forks
