"""Hints on the screen: commands in them name the configuration that the user named."""

from pathlib import Path

import pytest

from blissmask.errors import CacheError, Hint, Problem
from blissmask.ui.problems import ProblemPrinter

HINT = Hint("run `{command}` first", "cache", "--arch mine")


@pytest.mark.parametrize(
    ("config", "command"),
    [
        (None, "blissmask cache --arch mine"),
        (Path("person.toml"), "blissmask cache --config person.toml --arch mine"),
        (Path("my person.toml"), "blissmask cache --config 'my person.toml' --arch mine"),
    ],
)
def test_a_command_in_a_hint_can_be_typed_as_shown(capsys: pytest.CaptureFixture[str], config: Path, command: str):
    ProblemPrinter(config=config).error(CacheError("the cache is empty", fix=HINT))
    assert capsys.readouterr().err == f"error: the cache is empty\n\nhint: run `{command}` first\n\n"


def test_a_command_on_a_line_of_its_own_stays_there(capsys: pytest.CaptureFixture[str]):
    ProblemPrinter().warning(Problem("no masks", fix=Hint("make them, then run\n{command}", "cache")))
    assert capsys.readouterr().err.endswith("hint: make them, then run\n      blissmask cache\n\n")


def test_a_hint_without_a_configuration_is_its_plain_text():
    assert str(HINT) == "run `blissmask cache --arch mine` first"
