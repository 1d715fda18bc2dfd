"""Hints on the screen: commands in them name the configuration that the user named."""

from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import ClassVar

import pytest
from rich.console import Console

from blissmask.errors import CacheError, Hint, Problem, StoppedError
from blissmask.ui import problems
from blissmask.ui.console import empty_line
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


def test_a_hint_carries_what_was_typed_unless_it_says_so_itself(capsys: pytest.CaptureFixture[str]):
    typed = {"cache": {"--arch": "--arch other", "--model": "--model tiny"}, "train": {"--seed": "--seed 7"}}
    ProblemPrinter(typed=typed).error(CacheError("the cache is empty", fix=HINT))
    assert "hint: run `blissmask cache --arch mine --model tiny` first" in capsys.readouterr().err


def test_a_stop_that_was_asked_for_is_no_error(capsys: pytest.CaptureFixture[str]):
    ProblemPrinter().error(StoppedError("stopped after step 2", signal_number=2, fix="run it again"))
    assert capsys.readouterr().err == "stopped after step 2\n\nhint: run it again\n"


def test_a_warning_and_its_label_are_written_in_one_go(monkeypatch: pytest.MonkeyPatch):
    class Written(StringIO):
        pieces: ClassVar[list[str]] = []

        def write(self, text: str) -> int:
            self.pieces.append(text)
            return super().write(text)

    monkeypatch.setattr(problems, "err", lambda: Console(file=Written(), soft_wrap=True))
    ProblemPrinter().warning(Problem("be careful"))
    assert Written.pieces == ["warning: be careful\n"]


def test_the_data_set_of_many_items_is_named_and_is_none_of_them(capsys: pytest.CaptureFixture[str]):
    ProblemPrinter().failed(
        Problem("no caption", tuple(f"{number}.jpg" for number in range(12)), within="in dataset 2")
    )
    assert capsys.readouterr().err.endswith("  9.jpg\n  and 2 more (--verbose lists all)\n  in dataset 2\n\n")


def test_a_command_on_a_line_of_its_own_stays_there(capsys: pytest.CaptureFixture[str]):
    ProblemPrinter().warning(Problem("no masks", fix=Hint("make them, then run\n{command}", "cache")))
    assert capsys.readouterr().err.endswith("hint: make them, then run\n      blissmask cache\n\n")


def test_a_hint_without_a_configuration_is_its_plain_text():
    assert str(HINT) == "run `blissmask cache --arch mine` first"


def test_a_hint_after_a_warning_stands_one_empty_line_below_it(capsys: pytest.CaptureFixture[str]):
    printer = ProblemPrinter()
    printer.warning(Problem("two are empty", ("a.png",)))
    printer.hint("go on")
    printer.hint("and on")
    assert capsys.readouterr().err == "warning: two are empty\n  a.png\n\nhint: go on\n\nhint: and on\n"


def test_empty_lines_of_an_earlier_stream_do_not_count():
    with redirect_stderr(StringIO()):
        empty_line()
        empty_line()
    with redirect_stderr(StringIO()) as now:
        empty_line()
    assert now.getvalue() == "\n"
