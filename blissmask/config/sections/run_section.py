"""How a command runs, whatever it does."""

from __future__ import annotations

import os

from blissmask.config.fields.kinds import Int, Switch
from blissmask.config.fields.option import Section, option


def _cores() -> int:
    """Return how many cores this process may use; all of them where the system does not say, as macOS."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class RunSection(Section):
    """[run]: options that every command has."""

    dry_run: Switch = option(False, "Print the plan and write nothing", panel="Running")
    force: Switch = option(False, "Redo what is already finished", panel="Running")
    fail_fast: Switch = option(False, "Stop at the first item that fails", panel="Running")
    jobs: Int | None = option(
        None,
        "Items worked on at the same time (one per core when not given, fewer where memory is short)",
        panel="Running",
        short="-j",
        ge=1,
    )
    json_output: Switch = option(
        False, "Print one JSON document on stdout (train: one line per event)", panel="Output", flag="json"
    )
    quiet: Switch = option(False, "Only errors, warnings and the summary", panel="Output", short="-q")
    verbose: Switch = option(False, "List every file and show tracebacks", panel="Output", short="-v")
    no_progress: Switch = option(False, "Show no progress bar", panel="Output")

    @property
    def worker_count(self) -> int:
        """Return how many items to work on at the same time: ``jobs``, or one per core."""
        return self.jobs or _cores()
