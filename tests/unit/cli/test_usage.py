"""cli/usage.py: a command line of mistakes gets an answer that can be typed."""

import pytest

from blissmask.cli.app import build_app
from blissmask.cli.usage import as_usage_error


def problem_of(*typed):
    with pytest.raises(Exception) as caught:
        build_app()(typed, prog_name="blissmask", standalone_mode=False)
    error = caught.value
    return (as_usage_error(error, typed) or error).problems[0]


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        (("to-alpha", "-i", "photos"), "--image-directory"),
        (("to-alpha", "--output", "rgba"), "--output-directory"),
        (("cache", "-o", "cache"), "--cache-directory"),
        (("train", "--output", "out"), "--output-dir"),
        (("train", "-o", "out"), "--output-dir"),
    ],
)
def test_a_folder_that_goes_by_another_name_in_this_command_is_named(typed, name):
    assert problem_of(*typed).fix == f"it is called `{name}` here"


def test_the_commands_that_have_a_flag_are_listed():
    fix = problem_of("train", "-i", "photos").fix
    assert fix == "`blissmask masks`, `blissmask instance` and `blissmask apply` have it"


def test_a_flag_that_was_typed_as_a_command_is_told_as_one():
    assert problem_of("convert-lora", "out/a.safetensors").fix == "it is a flag: `blissmask train --convert-lora FILE`"
    assert problem_of("convert_lora").fix == "it is a flag: `blissmask train --convert-lora FILE`"
    assert problem_of("output-name").fix == "it is a flag: `blissmask train --output-name TEXT`"
    assert problem_of("resume").fix == "it is a flag: `blissmask train --resume`"
    assert problem_of("no-resume").fix == "it is a flag: `blissmask train --no-resume`"
    assert problem_of("seed").what == "unknown command `seed`"
