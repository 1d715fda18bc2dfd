"""The signals that ask a run to stop: Ctrl-C, SIGTERM, and SIGHUP of a closed window or a dropped connection.

The first one lets the run finish and save what it has in hand. Only Ctrl-C after Ctrl-C stops at once: a launcher, a
batch system or a closing session sends several signals for one wish. A signal that comes while the plan is made ends
the command at once, since nothing has been written yet.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType

from blissmask.ui import problems
from blissmask.ui.console import err

STOPPED_AT_ONCE = "stopped at once; run the same command again to continue"
_SHOW_CURSOR = "\x1b[?25h"
"""What turns a terminal's cursor on (DECTCEM of the VT220)."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stops:
    """The signals of one run.

    Attributes:
        received: number of the first signal that came while the run was at work, else 0.
        working: whether there is something to finish.
    """

    def __init__(self) -> None:
        self.received = 0
        self.working = False
        # Kept from now on: a terminal that hung up says that it is none.
        self._terminals = [stream.fileno() for stream in (sys.stdin, sys.stdout, sys.stderr) if _is_terminal(stream)]

    def signal_number(self) -> int:
        """Return the number of the signal that asked to stop, else 0."""
        return self.received

    def note(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if number == signal.SIGHUP:
            self._leave_terminal()
        if not self.working:
            _end_at_once(number)
        elif not self.received:
            self.received = number
            problems.show_note("stopping after the item in hand; Ctrl-C again stops at once")
        elif number == self.received == signal.SIGINT and not _launched():
            _end_at_once(number)

    def _leave_terminal(self) -> None:
        """Let what would go to the terminal go nowhere: writing to one that hung up fails."""
        if not self._terminals:
            return
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in self._terminals:
            os.dup2(nowhere, descriptor)
        os.close(nowhere)


def _end_at_once(number: int) -> None:
    """End now.

    Not by an exception: leaving the run would wait for its threads, and the clip that one of them has in hand may take
    long; and in the middle of an import it may be lost. What is written is whole or hidden, and the kernel frees the
    locks.
    """
    # Not through the console: the signal may have come while that was in the middle of a line, and what is printed now
    # would wait for the end of it. The progress in a terminal ends without a line break, and hides the cursor.
    try:
        # There is no stderr after `2>&-`.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            line = f"\n{STOPPED_AT_ONCE}\n{_SHOW_CURSOR}" if err().is_terminal else f"{STOPPED_AT_ONCE}\n"
            os.write(sys.stderr.fileno(), line.encode())
    finally:
        os._exit(128 + number)


@contextlib.contextmanager
def stopping() -> Iterator[Stops]:
    """Handle the signals that ask to stop; a SIGHUP that ``nohup`` has us ignore stays ignored."""
    stops = Stops()
    earlier = {}
    for number in _SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            earlier[number] = signal.signal(number, stops.note)
    try:
        yield stops
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _is_terminal(stream: object) -> bool:
    """Return whether a standard stream, which may be None or closed, is a terminal."""
    try:
        return bool(stream.isatty())  # type: ignore[attr-defined]
    except (AttributeError, ValueError):
        return False


def _launched() -> bool:
    """Return whether a launcher started this process: it passes a signal on that the terminal has sent already."""
    return "LOCAL_RANK" in os.environ
