"""Golden files: what a command printed when it was last looked at. ``BLISSMASK_UPDATE_GOLDEN=1`` rewrites them; look at the difference."""

from __future__ import annotations

import difflib
import os
import re
import tempfile
from pathlib import Path

from blissmask.families.registry import FAMILIES

GOLDEN = Path(__file__).parents[1] / "golden"

# What differs from run to run and from machine to machine. A digit becomes one `#`, so that columns keep their width.
_VARYING = (
    (re.compile(r"\d+(\.\d+)? s\b(?! each)|\d+ min \d+ s"), "# s"),
    (re.compile(r"\d+:\d\d  \d+(\.\d+)?(/s| s each)"), "#:##  #/s"),
    # A slow machine tells more than the end of a phase.
    (re.compile(r"^(\w[\w ]*) \d+/\d+  #:##  .*\n(?=\1 \d)", re.MULTILINE), ""),
    (re.compile(r"process \d+ on \S+, started [\d :-]+"), "process # on HOST, started TIME"),
    (re.compile(re.escape(tempfile.gettempdir()) + r"/blissmask-\w+\.log"), "TEMP/blissmask-#.log"),
    (re.compile(r"-[0-9a-f]{16}\b"), "-HASH"),
)
# Coverage, mean weights, distances, losses and sizes: what networks and compression decide.
_MEASURED = re.compile(r"\d+\.\d+(?=%| [KM]iB)|(?<!: )\b\d\.\d{2,4}\b")


_FAMILY = re.compile("|".join(sorted(map(re.escape, FAMILIES.names()), key=len, reverse=True)))
"""Any model family's name; the longest first, since one begins like another."""
_FAMILY_LIST = re.compile(r"FAMILY(, FAMILY)+")


def compare(name: str, text: str) -> None:
    """Compare ``text`` with ``tests/golden/NAME``, trailing spaces aside."""
    path = GOLDEN / name
    text = "\n".join(line.rstrip() for line in text.splitlines()) + "\n"
    if os.environ.get("BLISSMASK_UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    golden = path.read_text(encoding="utf-8")
    assert text == golden, "".join(
        difflib.unified_diff(golden.splitlines(True), text.splitlines(True), str(path), "now")
    )


def without_what_varies(text: str, *, folder: Path, measured: bool = False) -> str:
    """Replace times, host, process, hashes, names of model families and the path of ``folder``.

    With ``measured`` also the digits of what was measured.
    """
    text = text.replace(str(folder.resolve()), "FOLDER").replace(str(folder), "FOLDER")
    text = _FAMILY_LIST.sub("(the model families)", _FAMILY.sub("FAMILY", text))
    for pattern, shown in _VARYING:
        text = pattern.sub(shown, text)
    return _MEASURED.sub(lambda number: re.sub(r"\d", "#", number[0]), text) if measured else text
