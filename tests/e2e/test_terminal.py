"""In a terminal of 80 columns: colours unless NO_COLOR, a progress bar that fits, no word cut in two, nothing that only colour tells."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders.pictures import mask_folder, photo_folder

fcntl = pytest.importorskip("fcntl")
pty = pytest.importorskip("pty")
termios = pytest.importorskip("termios")

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-7][0-9;]*m")


def in_terminal(command: list[str], cwd: Path, **env: str) -> str:
    """Run ``command`` in a terminal of 80 columns and return all it wrote."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    clean = {
        key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")
    }
    with subprocess.Popen(
        command, cwd=cwd, env={**clean, "TERM": "xterm", **env}, stdin=theirs, stdout=theirs, stderr=theirs
    ) as running:
        os.close(theirs)
        written = b""
        while True:
            try:
                chunk = os.read(ours, 65536)
            except OSError:  # Linux says EIO when the other end is closed.
                break
            if not chunk:
                break
            written += chunk
    os.close(ours)
    assert running.returncode is not None
    return written.decode()


def lines_of(written: str) -> list[str]:
    """Return what stood on each line at any time, without colours and cursor movements."""
    return [line.rstrip() for line in re.split(r"[\r\n]+", CONTROL.sub("", written)) if line.strip()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    names = [f"a rather long name of a photo from the summer of 2023 by the sea {number:02}.png" for number in range(3)]
    photo_folder(tmp_path / "photos", names)
    mask_folder(tmp_path / "masks", names)
    return tmp_path


def blissmask(folder: Path, *arguments: str, **env: str) -> str:
    return in_terminal([sys.executable, "-m", "blissmask", *arguments], folder, **env)


TO_ALPHA = ("to-alpha", "--image-directory", "photos", "--mask-directory", "masks", "--output-directory", "rgba")


@pytest.mark.parametrize("arguments", [("masks", "--inptu", "x"), ("--help",), (*TO_ALPHA, "--dry-run")])
def test_colours_are_there_unless_refused(folder: Path, arguments: tuple[str, ...]):
    assert COLOUR.search(blissmask(folder, *arguments))
    assert not COLOUR.search(blissmask(folder, *arguments, NO_COLOR="1"))


def test_progress_bar_fits_the_line(folder: Path):
    code = "import time; from blissmask.ui.problems import ProblemPrinter; from blissmask.ui.progress import BarReporter; from blissmask.events import *\n"
    code += "with BarReporter(ProblemPrinter()) as bar:\n"
    code += " bar.emit(PhaseStarted('Reading the cache', 12000))\n"
    code += " for i in range(30): bar.emit(Advanced(item='photos of the summer of 2023 by the sea 017.jpg')); time.sleep(0.02)\n"
    code += " bar.emit(PhaseStarted('Loading the model', None)); time.sleep(0.2); bar.emit(PhaseFinished('Loading the model'))\n"
    written = in_terminal([sys.executable, "-c", code], folder)
    bars = [line for line in lines_of(written) if line.startswith("Reading the cache")]
    assert all(len(line) <= 80 for line in lines_of(written))
    assert re.search(r"/12000 \d+:\d\d left \S+ .*017\.jpg$", bars[-1])
    assert not re.search(r"Loading the model.*[?]", CONTROL.sub("", written))


def test_work_without_items_shows_no_bar(folder: Path):
    code = "from blissmask.ui.problems import ProblemPrinter; from blissmask.ui.progress import BarReporter; from blissmask.events import *\n"
    code += "with BarReporter(ProblemPrinter()) as bar: bar.emit(PhaseStarted('Masking', 0)); bar.emit(PhaseFinished('Masking'))\n"
    assert lines_of(in_terminal([sys.executable, "-c", code], folder)) == []


def test_long_sentences_are_folded_between_words(folder: Path):
    written = lines_of(blissmask(folder, "masks", "--backend", "embeded", "-i", "photos", "-o", "out", NO_COLOR="1"))
    lines = [line for line in written if "Looking at the files" not in line]
    assert all(len(line) <= 80 for line in lines)
    assert lines[0].endswith((",", "are"))
    assert lines[1].startswith("       ")


def test_path_in_a_plan_stays_whole(folder: Path):
    lines = lines_of(blissmask(folder, *TO_ALPHA, "--dry-run", NO_COLOR="1"))
    name = "a rather long name of a photo from the summer of 2023 by the sea 00.png"
    assert any(f"photos/{name}" in line for line in lines)
    assert any(line.strip() == f"-> rgba/{name}" for line in lines)
