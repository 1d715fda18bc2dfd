"""On Windows itself nothing works, and that is said instead of a traceback."""

import sys

import pytest

from blissmask.__main__ import main


def test_windows_is_told_where_it_runs(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(SystemExit) as ended:
        main()
    assert "hint: run it in WSL" in str(ended.value.code)
