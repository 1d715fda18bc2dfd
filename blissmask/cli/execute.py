"""Run one subcommand: load, plan, run, summary."""

from __future__ import annotations

import importlib
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from blissmask.cli.commands import INSTANCE, TRAIN, Command
from blissmask.cli.guarded import SIGINT_EXIT, show_error
from blissmask.cli.installed import doubled_opencv
from blissmask.cli.next_step import next_step
from blissmask.cli.prepare import Part, refuse_captions_without, refuse_missing_references, road
from blissmask.cli.stops import STOPPED_AT_ONCE, Stops, stopping
from blissmask.cli.typed import typed_for_commands
from blissmask.config.config_file import find_config
from blissmask.config.flags import Flags, Spellings
from blissmask.config.load import load_config
from blissmask.config.model import Config
from blissmask.errors import BlissmaskError, InputError, Problem
from blissmask.events import Noted
from blissmask.free_memory import free_cpu_memory, workers
from blissmask.imports import quick_imports
from blissmask.processes import this_process
from blissmask.storage.lock import planning_to_write
from blissmask.ui import problems

if TYPE_CHECKING:
    from blissmask.events import Reporter
    from blissmask.tasks.run.plan import Plan, Summary


def execute(command: Command, config_path: Path | None, flags: Flags, spelled: Spellings) -> int:
    """Do one subcommand and return its exit code. Raises BlissmaskError for :func:`guarded` to show.

    Args:
        command: the subcommand.
        config_path: the configuration file that was named.
        flags: what was typed.
        spelled: how flags were typed.
    """
    try:
        with stopping() as stops:
            return _plan_and_run(command, config_path, flags, spelled, stops)
    except KeyboardInterrupt:
        # Here, since Typer would end without a word.
        problems.show_note(STOPPED_AT_ONCE)
        return SIGINT_EXIT


def _plan_and_run(command: Command, config_path: Path | None, flags: Flags, spelled: Spellings, stops: Stops) -> int:
    config = load_config(find_config(config_path), flags, spelled)
    typed = typed_for_commands(flags, spelled)
    printer = problems.ProblemPrinter(verbose=config.run.verbose, config=config_path, typed=typed)
    try:
        refuse_captions_without(flags, config)
        return _go(road(command, config), config, printer, stops)
    except BlissmaskError as error:
        return show_error(error, printer, as_json=config.run.json_output)


def _go(parts: Sequence[Part], config: Config, printer: problems.ProblemPrinter, stops: Stops) -> int:
    """Do one part after another, and stop at the first that is not done whole; return its exit code.

    With ``--dry-run`` all are shown, and the code is the highest of theirs.
    """
    code = 0
    waits = False
    results: list[Summary] = []
    if any(part.command is INSTANCE for part in parts) and not config.instance.explain:
        refuse_missing_references(config)
    if len(parts) > 1 and parts[-1].command is TRAIN:
        _refuse_what_comes_late(config)
    for number, part in enumerate(parts, 1):
        if len(parts) > 1:
            _show_heading(f"{number} of {len(parts)}: {part.name}", config)
        if config.run.dry_run:
            waits, part_code = _show_plan_of(part, printer, waits=waits)
            code = max(code, part_code)
            continue
        results.append(_carry_out(part, printer, stops))
        code = int(results[-1].exit_code)
        if code:
            return code
    if results:
        _show_next_step(results, config, printer)
    return code


def _refuse_what_comes_late(config: Config) -> None:
    """Refuse now what would end `train --prepare` after the hours that its parts may take; a plan needs no model.

    All captions are read for it, also where everything is up to date, which nobody knows before the parts are planned:
    less than 0.1 ms an item, measured on 5,000.

    Raises:
        BlissmaskError: options exclude each other, files or captions are missing, or a trial would replace a real
            training; carries the problems of all.
    """
    from blissmask.tasks.cache.planning.caption_faults import refuse_captions
    from blissmask.tasks.train.checks import refuse_before_cache, refuse_missing_models
    from blissmask.tasks.train.trial import refuse_trial_over_training

    checks = [refuse_before_cache, refuse_trial_over_training, refuse_captions]
    if not config.run.dry_run:
        checks = [refuse_missing_models, *checks]
    errors: list[BlissmaskError] = []
    for check in checks:
        try:
            check(config)
        except BlissmaskError as error:
            errors.append(error)
    if errors:
        # A family that is not known is told by more than one of them.
        problems_of_all = list(dict.fromkeys(problem for error in errors for problem in error.problems))
        raise type(errors[0]).several(problems_of_all)


def _show_heading(text: str, config: Config) -> None:
    if not config.run.json_output and not config.run.quiet:
        problems.show_heading(text)


def _show_plan_of(part: Part, printer: problems.ProblemPrinter, *, waits: bool) -> tuple[bool, int]:
    """Show the plan of a command; return whether those after it wait for what it would make, and its exit code.

    With ``waits``, what it reads is still to be made, and it may not be planned before.
    """
    from blissmask.tasks.run.plan import Action

    # Before OpenCV is imported, which may fail because of it.
    doubled = doubled_opencv()
    _show_warnings(doubled, printer)
    config = part.config
    planning = _imported(part.command.task_for(config).plan)
    try:
        plan = _planned(planning, config)
    except InputError as error:
        if not waits:
            raise
        problems.show_note(f"not planned yet, since it reads what is made above ({error.as_one().short_line})")
        return True, 0
    code = _show_plan(plan, config, printer, shown=doubled)
    return waits or bool(plan.having(Action.WRITE)), code


def _carry_out(part: Part, printer: problems.ProblemPrinter, stops: Stops) -> Summary:
    """Plan and run one part, and show what it did."""
    from blissmask.tasks.run.plan import RunContext
    from blissmask.ui.progress import make_reporter

    # Before OpenCV is imported, which may fail because of it.
    doubled = doubled_opencv()
    _show_warnings(doubled, printer)
    command, config = part.command, part.config
    task = command.task_for(config)
    planning = _imported(task.plan)
    # The plan is made under the locks: nobody else changes what it finds in the output folders.
    folders = planning.outputs(config) if this_process().locks else ()
    with planning_to_write(folders, command=f"blissmask {command.name}") as locks:
        plan = _planned(planning, config)
        _refuse_planned_failures(plan, config)
        if locks.complete():
            # Another run wrote into a folder that was not there when this plan began.
            plan = _planned(planning, config)
        plan.warnings += locks.warnings
        _show_warnings(plan.warnings, printer)
        plan.warnings[:0] = doubled
        run = _imported(task.run).run
        started = time.monotonic()
        stops.working = True
        with make_reporter(config.run, command.name, printer, silent=not _speaks()) as reporter:
            jobs = _workers(config, plan, reporter)
            result: Summary = run(plan, RunContext(reporter, jobs, config.run.fail_fast, stops.signal_number))
    result.seconds = time.monotonic() - started
    result.warnings[:0] = [problem for problem in plan.warnings if problem not in result.warnings]
    _show_result(result, plan, config, printer)
    return result


def _imported(module: str) -> ModuleType:
    with quick_imports():
        return importlib.import_module(module)


def _planned(planning: ModuleType, config: Config) -> Plan:
    """Make the plan of a task, and show in a terminal that it is being made."""
    from blissmask.ui.progress import while_planning

    processes = this_process()
    with while_planning(config.run, silent=not processes.speaks):
        plan: Plan = planning.plan(config)
    if processes.apart:
        plan.keep_own(processes)
    return plan


def _show_warnings(warnings: Sequence[Problem], printer: problems.ProblemPrinter) -> None:
    if _speaks():
        for problem in warnings:
            printer.warning_once(problem)


def _show_plan(plan: Plan, config: Config, printer: problems.ProblemPrinter, *, shown: Sequence[Problem]) -> int:
    """Show what ``--dry-run`` asks for, and return the exit code; the warnings ``shown`` are on the screen already."""
    from blissmask.tasks.run.plan import Action
    from blissmask.ui import report_json, summary

    _show_warnings(plan.warnings, printer)
    plan.warnings[:0] = shown
    if config.run.json_output:
        report_json.show_plan(plan)
    else:
        summary.show_plan(plan, verbose=config.run.verbose)
    return 1 if plan.having(Action.FAIL) else 0


def _refuse_planned_failures(plan: Plan, config: Config) -> None:
    """Raise InputError when ``--fail-fast`` is given and the plan knows what will fail."""
    from blissmask.tasks.run.plan import planned_failures

    if config.run.fail_fast and (failures := planned_failures(plan)):
        places = [failure.problem.line for failure in failures]
        raise InputError(
            "`--fail-fast` stops here: the plan knows what will fail",
            where=places,
            fix="mend it, or leave `--fail-fast` out",
        )


def _show_result(result: Summary, plan: Plan, config: Config, printer: problems.ProblemPrinter) -> None:
    from blissmask.ui import report_json, summary

    if not _speaks():
        return
    if config.run.json_output:
        report_json.show_summary(result)
    else:
        summary.show_summary(result, printer=printer)


def _show_next_step(results: Sequence[Summary], config: Config, printer: problems.ProblemPrinter) -> None:
    if not _speaks() or config.run.json_output or config.run.quiet:
        return
    if following := next_step(config, results):
        printer.hint(following)


def _workers(config: Config, plan: Plan, reporter: Reporter) -> int:
    """Return how many items to work on at once; say so where memory allows fewer than there are cores."""
    if config.run.jobs is not None:
        return config.run.jobs
    # The processes of one machine share its cores.
    cores = max(1, config.run.worker_count // this_process().local_count)
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
    return this_process().speaks
