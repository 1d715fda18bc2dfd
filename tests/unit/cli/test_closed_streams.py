"""`>&-` and `2>&-`: who closes a stream wants nothing of it, and gets the exit code."""

import os
import sys

import pytest

from blissmask.cli.app import main


@pytest.mark.parametrize(
    ("stream", "arguments", "code"),
    [
        ("stdout", ["--help"], 0),
        ("stdout", ["--starter", "person"], 0),
        ("stdout", ["masks", "--json", "-i", os.devnull, "-o", "masks"], 1),
        ("stderr", ["masks", "--nonsense"], 2),
    ],
)
def test_a_command_whose_stream_is_closed_ends_with_its_own_code(monkeypatch, stream, arguments, code):
    # What Python has there when the descriptor is closed.
    monkeypatch.setattr(sys, stream, None)
    monkeypatch.setattr(sys, "argv", ["blissmask", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    getattr(sys, stream).close()
    assert ended.value.code == code
