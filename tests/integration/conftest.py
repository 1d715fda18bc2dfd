"""Run the command in this process, where a new one would spend most of its time importing torch."""

import sys

import pytest

from blissmask.media import chart


@pytest.fixture(autouse=True, scope="module")
def _loss_curves_are_small_and_jagged():
    """Draw every training's curve with the same pen on a ninth of the points: a quarter of a training in miniature.

    In its own size it is drawn by `unit/media/test_chart.py`, and by the runs of `e2e/` and `faults/`.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chart, "WIDTH", 400)
        patch.setattr(chart, "_FINE", 1)
        yield


@pytest.fixture
def command(monkeypatch, tmp_path):
    """Return a function that runs blissmask with arguments in ``tmp_path`` and returns its exit code."""
    import torch

    from blissmask.cli.app import main

    monkeypatch.chdir(tmp_path)
    before = torch.get_num_threads()
    # Miniature models only wait for a second core that other tests use.
    torch.set_num_threads(1)

    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["blissmask", *map(str, arguments)])
        with pytest.raises(SystemExit) as done:
            main()
        return int(done.value.code or 0)

    yield run
    torch.set_num_threads(before)
