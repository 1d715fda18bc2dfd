"""Whatever a command line raises becomes text and an exit code here, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from blissmask.cli.stops import STOPPED_AT_ONCE
from blissmask.cli.usage import as_usage_error
from blissmask.errors import BlissmaskError, MachineError, exit_code_of
from blissmask.ui import problems

_OUR_BUG = 70
"""Exit code of an error that is none of ours: ``EX_SOFTWARE`` of BSD's ``sysexits.h``."""
SIGINT_EXIT = 130
"""Exit code after Ctrl-C: 128 and the number of the signal, as shells count."""


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
        return show_error(error, printer, as_json=as_json)
    except KeyboardInterrupt:
        problems.show_note(STOPPED_AT_ONCE)
        return SIGINT_EXIT
    except BrokenPipeError:
        return 1
    except OSError as error:
        # Such as a folder that may not be entered; files that are read and written have their own messages.
        if verbose:
            problems.show_traceback(error)
        where = [error.filename] if error.filename else []
        refusal = MachineError(f"the machine refuses: {error.strerror or error}", where=where)
        return show_error(refusal, printer, as_json=as_json)
    except MemoryError:
        out_of_memory = MachineError("out of memory", fix="close other programs, or use fewer `--jobs`")
        return show_error(out_of_memory, printer, as_json=as_json)
    except Exception as error:  # noqa: BLE001 - the one place where a bug of ours becomes a message and exit code 70
        usage = as_usage_error(error, arguments)
        if usage is not None:
            return show_error(usage, printer, as_json=as_json)
        problems.show_bug(error, verbose=verbose)
        if as_json:
            from blissmask.ui import report_json

            report_json.show_bug(error, exit_code=_OUR_BUG)
        return _OUR_BUG


def show_error(error: BlissmaskError, printer: problems.ProblemPrinter, *, as_json: bool) -> int:
    """Show an error, as JSON too where that was asked for, and return its exit code."""
    printer.error(error)
    if as_json:
        from blissmask.ui import report_json

        report_json.show_error(error, printer.fix_text)
    return exit_code_of(error)
