"""Start ``blissmask``, or ``python -m blissmask``: what must be in place before anything else is imported."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

_ON_WINDOWS = (
    "error: blissmask does not run on Windows itself, which lacks the signals and file locks that it relies on\n\n"
    "hint: run it in WSL, whose Linux uses the GPU, too: the README says how"
)


def main() -> None:
    """Run the console command and exit with its code."""
    if sys.platform == "win32":
        sys.exit(_ON_WINDOWS)
    # Imports take a second or more, and an exception in the middle of one is shown as a traceback, or lost in C code.
    signal.signal(signal.SIGINT, _end_at_once)
    if sys.getfilesystemencoding() != "utf-8":
        _start_anew_in_utf8()
    from blissmask.cli import app

    app.main()


def _end_at_once(number: int, frame: FrameType | None) -> None:
    """End quietly: nothing has begun, so there is nothing to finish."""
    os._exit(128 + number)


def _start_anew_in_utf8() -> None:
    """Replace this process by one that reads and writes file names as UTF-8, whatever the locale says.

    Under a locale such as C or ISO-8859-1 Python could not spell a path of a configuration file, nor the name of a
    cache file. Names on disk that are no UTF-8 work in both.
    """
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


if __name__ == "__main__":
    main()
