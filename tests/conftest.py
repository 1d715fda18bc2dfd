"""What every tier may ask for."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from blissmask.imports import quick_imports
from tests.builders.command import Ran, run_blissmask
from tests.builders.disk import wait_for_no_disk
from tests.builders.warm import GIVEN, WarmPython


def pytest_configure() -> None:
    wait_for_no_disk()
    _hear_signals()


def _hear_signals() -> None:
    """Let the processes that tests start hear every signal, also where the tests themselves run under ``nohup`` or in the
    background of a script. A signal that is ignored stays so in each new process, one with a handler does not.
    """
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Import all that tests import at their head for less."""
    with quick_imports():
        return (yield)


@pytest.fixture(autouse=True, scope="module")
def _garbage_is_only_what_the_module_leaves() -> None:
    """Let collections pass over what was there before: looking through all of torch and diffusers at every one was two
    fifths of a training in miniature, and more once something was compiled.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def packages_aside(monkeypatch):
    """Let the tests find what tests/aside.txt installs."""
    monkeypatch.syspath_prepend(Path(sys.prefix) / "aside")


@pytest.fixture
def with_package_of(packages_aside):
    """Return a function that skips a test where its options ask for 4 bits and the package for that is not there."""

    def skip_without(options):
        if "nf4_base" in options:
            pytest.importorskip("bitsandbytes")

    return skip_without


@pytest.fixture
def blissmask(tmp_path):
    """Return a function that runs ``blissmask`` with arguments in ``tmp_path`` and returns exit code and both streams."""

    def run(*arguments: object, cwd: Path = tmp_path, **env: str) -> Ran:
        return run_blissmask(*arguments, cwd=cwd, **env)

    return run


@pytest.fixture(scope="session")
def warm_python() -> Iterator[str]:
    """Yield a program that stands where ``sys.executable`` would, and whose libraries are imported already."""
    if given := os.environ.get(GIVEN):
        yield given
        return
    python = WarmPython()
    yield python.executable
    python.close()
