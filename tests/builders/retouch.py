"""Runs of `--retouch` in a thread of the test, with the address that they print."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import ModuleType

from blissmask.config.model import Config
from blissmask.events import Noted, Warned
from blissmask.tasks.run.plan import RunContext, Summary

PATIENCE = 60.0
"""Most seconds that a test waits for a sign, however busy the machine is."""


@dataclass
class Retouching:
    """A run: its address, and what came of it."""

    address: str = ""
    summary: Summary | None = None
    said: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)
    has_warned: threading.Event = field(default_factory=threading.Event)
    ready: threading.Event = field(default_factory=threading.Event)

    def emit(self, event: object) -> None:
        if isinstance(event, Warned):
            self.warned.append(f"{event.problem.what}: {event.problem.fix}")
            self.has_warned.set()
        if isinstance(event, Noted):
            self.said.append(event.text)
            if found := re.search(r"http://\S+", event.text):
                self.address = found[0]
                self.ready.set()

    @property
    def port(self) -> int:
        return int(self.address.split(":")[2].split("/")[0])


@contextlib.contextmanager
def retouching(module: ModuleType, config: Config) -> Iterator[Retouching]:
    """Run `--retouch` of a command until the block ends, or its page says that it is finished."""
    running, stop = Retouching(), threading.Event()
    plan = module.plan(config)
    context = RunContext(reporter=running, stop_signal=lambda: int(stop.is_set()))  # type: ignore[arg-type]
    errors: list[Exception] = []

    def work() -> None:
        try:
            running.summary = module.run(plan, context)
        except Exception as error:  # noqa: BLE001 - the test raises it
            errors.append(error)
            running.ready.set()

    thread = threading.Thread(target=work)
    thread.start()
    assert running.ready.wait(PATIENCE)
    assert not errors, errors
    try:
        yield running
    finally:
        stop.set()
        thread.join()
    assert not errors, errors
