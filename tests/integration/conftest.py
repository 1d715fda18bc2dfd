"""Run the command in this process, where a new one would spend most of its time importing torch."""

import sys

import pytest

from tests.builders.small_charts import draw_small_charts


@pytest.fixture(autouse=True, scope="module")
def _loss_curves_are_small():
    with pytest.MonkeyPatch.context() as patch:
        draw_small_charts(patch)
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
