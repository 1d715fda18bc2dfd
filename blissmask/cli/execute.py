"""Run one subcommand: load, plan, run, summary. Whatever happens becomes text and an exit code in this one place."""

from __future__ import annotations

import importlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blissmask.cli.commands import Command
from blissmask.cli.typed import typed_for_commands
from blissmask.cli.usage import as_usage_error
from blissmask.config.load import Flags, Spellings, find_config, load_config
from blissmask.config.model import Config
from blissmask.errors import BlissmaskError, InputError, MachineError, exit_code_of
from blissmask.events import Noted
from blissmask.free_memory import free_cpu_memory, workers
from blissmask.processes import this_process
from blissmask.storage.lock import writing_to
from blissmask.ui import problems
from blissmask.ui.console import err

if TYPE_CHECKING:
    from blissmask.events import Reporter
    from blissmask.tasks.run.plan import Plan

_OUR_BUG = 70
_SIGINT_EXIT = 130
_STOPPED_AT_ONCE = "stopped at once; run the same command again to continue"


def execute(command: Command, config_path: Path | None, flags: Flags, spelled: Spellings) -> int:
    """Do one subcommand and return its exit code. Raises BlissmaskError for :func:`guarded` to show.

    Args:
        command: the subcommand.
        config_path: the configuration file that was named.
        flags: what was typed.
        spelled: how flags were typed.
    """
    try:
        return _plan_and_run(command, config_path, flags, spelled)
    except KeyboardInterrupt:
        # Here, since Typer would end without a word.
        problems.show_note(_STOPPED_AT_ONCE)
        return _SIGINT_EXIT


def _plan_and_run(command: Command, config_path: Path | None, flags: Flags, spelled: Spellings) -> int:
    config = load_config(find_config(config_path), flags, spelled)
    typed = typed_for_commands(flags, spelled)
    printer = problems.ProblemPrinter(verbose=config.run.verbose, config=config_path, typed=typed)
    try:
        return _carry_out(command, config, printer)
    except BlissmaskError as error:
        return _show(error, printer, as_json=config.run.json_output)


def _carry_out(command: Command, config: Config, printer: problems.ProblemPrinter) -> int:
    from blissmask.tasks.run.plan import Action, RunContext, planned_failures
    from blissmask.ui import report_json, summary
    from blissmask.ui.progress import make_reporter, while_planning

    with while_planning(config.run, silent=not _speaks()):
        task = command.task_for(config)
        plan: Plan = importlib.import_module(task.plan).plan(config)
    if _speaks():
        for problem in plan.warnings:
            printer.warning(problem)
    if config.run.dry_run:
        if config.run.json_output:
            report_json.show_plan(plan)
        else:
            summary.show_plan(plan, verbose=config.run.verbose)
        return 1 if plan.having(Action.FAIL) else 0
    if config.run.fail_fast and (failures := planned_failures(plan)):
        places = [failure.problem.line for failure in failures]
        raise InputError(
            "`--fail-fast` stops here: the plan knows what will fail",
            where=places,
            fix="mend it, or leave `--fail-fast` out",
        )
    run = importlib.import_module(task.run).run
    started = time.monotonic()
    # To the end of the summary: a signal that comes when all is done must not hide what was done.
    with _graceful_stop() as stop_signal:
        with (
            make_reporter(config.run, command.name, printer, silent=not _speaks()) as reporter,
            writing_to(plan.outputs, command=f"blissmask {command.name}"),
        ):
            jobs = _workers(config, plan, reporter)
            result = run(plan, RunContext(reporter, jobs, config.run.fail_fast, stop_signal))
        result.seconds = time.monotonic() - started
        result.warnings[:0] = [problem for problem in plan.warnings if problem not in result.warnings]
        if not _speaks():
            return int(result.exit_code)
        if config.run.json_output:
            report_json.show_summary(result)
        else:
            summary.show_summary(result, already_shown=plan.warnings, printer=printer)
        return int(result.exit_code)


def _workers(config: Config, plan: Plan, reporter: Reporter) -> int:
    """Return how many items to work on at once; say so where memory allows fewer than there are cores."""
    if config.run.jobs is not None:
        return config.run.jobs
    cores = config.run.worker_count
    jobs = workers(cores, plan.largest_pixels)
    if jobs < cores:
        size = f"{plan.largest_pixels / 1e6:.0f} megapixels"
        free = f"{free_cpu_memory() / 2**30:.1f} GiB of memory free"
        reporter.emit(
            Noted(f"{jobs} of {cores} cores at work: photos of up to {size}, {free}; `--jobs` decides otherwise")
        )
    return jobs


def _speaks() -> bool:
    """Return whether this process talks: under torchrun and accelerate only the first one does."""
    return this_process().first


def guarded(command_line: Callable[[], Any], arguments: list[str]) -> int:
    """Call ``command_line``; show whatever it raises as a user's error and return the exit code.

    Args:
        command_line: the Typer application in non-standalone mode; returns an exit code or None.
        arguments: what was typed, to see ``--json`` and ``--verbose`` when parsing itself failed.
    """
    as_json, verbose = "--json" in arguments, "--verbose" in arguments or "-v" in arguments
    printer = problems.ProblemPrinter(verbose=verbose)
    try:
        return int(command_line() or 0)
    except BlissmaskError as error:
        return _show(error, printer, as_json=as_json)
    except KeyboardInterrupt:
        problems.show_note(_STOPPED_AT_ONCE)
        return _SIGINT_EXIT
    except BrokenPipeError:
        return 1
    except OSError as error:
        # Such as a folder that may not be entered; files that are read and written have their own messages.
        if verbose:
            problems.show_traceback(error)
        where = [error.filename] if error.filename else []
        refusal = MachineError(f"the machine refuses: {error.strerror or error}", where=where)
        return _show(refusal, printer, as_json=as_json)
    except MemoryError:
        out_of_memory = MachineError("out of memory", fix="close other programs, or use fewer `--jobs`")
        return _show(out_of_memory, printer, as_json=as_json)
    except Exception as error:  # noqa: BLE001 - the one place where a bug of ours becomes a message and exit code 70
        usage = as_usage_error(error, arguments)
        if usage is not None:
            return _show(usage, printer, as_json=as_json)
        problems.show_bug(error, verbose=verbose)
        if as_json:
            from blissmask.ui import report_json

            report_json.show_bug(error, exit_code=_OUR_BUG)
        return _OUR_BUG


def _show(error: BlissmaskError, printer: problems.ProblemPrinter, *, as_json: bool) -> int:
    printer.error(error)
    if as_json:
        from blissmask.ui import report_json

        report_json.show_error(error, printer.fix_text)
    return exit_code_of(error)


@contextmanager
def _graceful_stop() -> Iterator[Callable[[], int]]:
    """Let the first Ctrl-C or SIGTERM finish the item in hand; the second Ctrl-C stops at once.

    Yields:
        A function that returns the signal's number once one came, else 0.
    """
    received = 0

    def note(number: int, frame: object) -> None:
        nonlocal received
        if received:
            # Not by an exception: leaving the run would wait for its threads, and the clip that one of them has in hand
            # may take long. What is written is whole or hidden, and the kernel frees the locks.
            problems.show_note(_STOPPED_AT_ONCE)
            err().show_cursor()
            os._exit(128 + number)
        received = number
        problems.show_note("stopping after the item in hand; Ctrl-C again stops at once")

    earlier = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: received
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
