"""cli/help.py and ui/help_screen.py: the options that people change first, and all of them by topic."""

import contextlib
import io

import pytest

from blissmask.cli.commands import APPLY, CACHE, COMMANDS, TRAIN
from blissmask.cli.help import help_screen
from blissmask.config.model import section_type
from blissmask.ui import console
from blissmask.ui.help_screen import HelpScreen, OptionLine, Topic, show_help


def printed(screen, monkeypatch, columns=80):
    monkeypatch.setenv("COLUMNS", str(columns))
    console.out.cache_clear()
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        show_help(screen)
    console.out.cache_clear()
    return text.getvalue()


def flags(screen):
    return {option.names.split(", ")[-1] for topic in screen.topics for option in topic.options}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_help_stays_below_a_hundred_lines_of_eighty_columns(command, monkeypatch):
    lines = printed(help_screen(command, everything=False), monkeypatch).splitlines()
    assert len(lines) < 100
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_help_of_everything_has_every_field_that_is_not_hidden(command):
    shown = flags(help_screen(command, everything=True))
    for section in command.sections:
        for name, field in section_type(section).model_fields.items():
            # What a dataset inherits stands there once more, without its help.
            declared = field.json_schema_extra or {"hidden": False, "flag": ""}
            if name in command.only.get(section, (name,)) and not declared["hidden"]:
                assert f"--{declared['flag'] or name.replace('_', '-')}" in shown


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_number_of_all_options_is_the_number_that_is_shown(command):
    count = len(flags(help_screen(command, everything=True)))
    for everything in (False, True):
        screen = help_screen(command, everything=everything)
        (help_all,) = (line for line in screen.topics[-1].options if line.names == "--help-all")
        assert help_all.text == f"Show all {count} options, by topic"
    first = help_screen(command, everything=False)
    more = int(first.more.partition(" ")[0]) if first.more else 0
    assert len(flags(first)) + more == count


def test_train_shows_about_fifteen_options_first_and_says_where_the_others_are():
    screen = help_screen(TRAIN, everything=False)
    first = screen.topics[0].options
    assert 12 <= len(first) <= 18
    assert {"--arch", "--mask-preset", "--max-train-steps", "--learning-rate", "--network-dim"} <= flags(screen)
    assert "--prior-decay" not in flags(screen)
    assert screen.more.endswith("more options: `blissmask train --help-all`")
    assert not help_screen(TRAIN, everything=True).more


def test_topics_name_the_table_that_has_their_options():
    tables = {topic.title: topic.table for topic in help_screen(TRAIN, everything=True).topics}
    assert tables["Mask loss"] == "[mask_loss]"
    assert {topic.title: topic.table for topic in help_screen(CACHE, everything=True).topics}["Video"] == "[[datasets]]"


def test_a_command_without_marked_options_shows_all_of_them():
    assert flags(help_screen(APPLY, everything=False)) == flags(help_screen(APPLY, everything=True))


def test_long_names_have_their_text_on_the_next_line_and_many_values_go_on_below(monkeypatch):
    many = "|".join(f"value-number-{number}" for number in range(9))
    options = [
        OptionLine("--short", "N", "Beside it"),
        OptionLine("--a-name-that-fills-the-column", "N", "Below it", "default: 1"),
        OptionLine("--many", many, "After them"),
    ]
    screen = HelpScreen(
        "blissmask x [OPTIONS]", "Do it.", [Topic("Options", options, table="[x]")], {}, ["blissmask x"]
    )
    text = printed(screen, monkeypatch)
    assert "Options   [x]" in text
    assert f"  --short N{' ' * 17}Beside it\n" in text
    assert f"  --a-name-that-fills-the-column N\n{' ' * 28}Below it (default: 1)\n" in text
    assert max(map(len, text.splitlines())) <= 80
    assert f"\n{' ' * 28}After them\n" in text
