"""The command line as a whole: help, spellings, errors and exit codes."""

import re
import subprocess
import sys

import pytest

from blissmask.families.registry import FAMILIES
from tests.builders.command import run_here
from tests.builders.golden_files import compare

FAMILY_LIST = re.compile(r"(?<=\n--arch is one of\n).*?(?=\n\n)", re.DOTALL)
BEGINNING = FAMILIES.names()[0][:3]
"""Of the name of a model family; others may begin so too."""
COMMANDS = ["masks", "instance", "apply", "to-alpha", "cache", "train"]


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_screen_is_as_frozen(blissmask, command):
    ran = blissmask(*filter(None, [command, "--help"]), COLUMNS="80")
    assert ran.code == 0
    # What families there are changes with every new folder, and is no matter of the screen.
    screen = FAMILY_LIST.sub("   (the model families)", ran.out)
    compare(f"help/{command or 'blissmask'}.txt", screen)


@pytest.mark.parametrize("command", ["cache", "train"])
def test_help_of_all_options_is_as_frozen(blissmask, command):
    ran = blissmask(command, "--help-all", COLUMNS="80")
    assert ran.code == 0
    compare(f"help/{command}-all.txt", FAMILY_LIST.sub("   (the model families)", ran.out))


@pytest.mark.parametrize("command", ["cache", "train"])
def test_help_lists_the_families_of_the_registry(blissmask, command):
    [listed] = FAMILY_LIST.findall(blissmask(command, "--help", COLUMNS="80").out)
    # Lines that go on from the one before are indented further.
    assert re.findall(r"^ {3}(\S+)", listed, re.MULTILINE) == FAMILIES.names()


def test_help_imports_no_large_library_and_not_the_configuration():
    code = "import sys; sys.argv = ['blissmask', '--help']\nfrom blissmask.cli.app import main\ntry: main()\nexcept SystemExit: pass\n"
    code += "print([name for name in ('torch', 'numpy', 'cv2', 'PIL', 'onnxruntime', 'pydantic') if name in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_version_is_printed(blissmask):
    assert blissmask("--version").out.startswith("blissmask 0.")


@pytest.mark.parametrize("spelling", ["--mask-gamma", "--mask_gamma"])
def test_underscored_spelling_is_the_same_flag(blissmask, spelling):
    ran = blissmask("train", "--use_mask_loss", spelling, "0")
    assert ran.code == 2
    assert f"{spelling} must be > 0, got 0\n" in ran.err


def test_unknown_flag_is_a_usage_error_with_a_hint(blissmask):
    ran = blissmask("masks", "--inptu", "photos")
    assert ran.code == 2
    assert "--inptu" in ran.err
    assert "--input" in ran.err
    assert "`blissmask masks --help` shows what there is" in ran.err


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("mask", "`masks`"),
        ("to_alfa", "`to-alpha`"),
        ("train --mask-gama 1", "`--mask-gamma`"),
        ("train --mask_gama 1", "`--mask-gamma`"),
        ("train --mask-preset fase", "`face`"),
        ("masks -i photos -o masks --backend sapien", "`sapiens` or `sapiens2`"),
        (f"cache --arch {FAMILIES.names()[-1]}x", f"`{FAMILIES.names()[-1]}`"),
    ],
)
def test_what_is_misspelt_is_guessed(tmp_path, typed, meant):
    ran = run_here(f"blissmask {typed}", tmp_path)
    assert ran.code == 2
    assert f"did you mean {meant}?" in ran.err


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("blissmask ", ["masks", "instance", "apply", "to-alpha", "cache", "train"]),
        ("blissmask masks --backend sa", ["sam3", "sapiens", "sapiens2"]),
        ("blissmask instance --identity ", ["embedded", "insightface"]),
        (f"blissmask cache --arch {BEGINNING}", [name for name in FAMILIES.names() if name.startswith(BEGINNING)]),
        ("blissmask train --mask-preset person", ["person", "person-prior"]),
        ("blissmask masks --vid", ["--video-masks", "--video-every"]),
    ],
)
def test_shell_completes_commands_flags_and_values(blissmask, typed, offered):
    ran = blissmask(_BLISSMASK_COMPLETE="complete_bash", COMP_WORDS=typed, COMP_CWORD=str(len(typed.split(" ")) - 1))
    assert ran.out.split() == offered


def test_completion_script_is_shown(blissmask):
    ran = blissmask("--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert "_BLISSMASK_COMPLETE=complete_bash" in ran.out


def test_error_under_json_is_a_document_on_stdout(blissmask):
    import json

    ran = blissmask("train", "--mask-gamma", "0", "--json")
    document = json.loads(ran.out)
    assert document["type"] == "error"
    assert document["exit_code"] == ran.code == 2
    assert document["problems"][0]["where"] == ["--mask-gamma must be > 0, got 0"]


def test_nothing_is_coloured_when_redirected(blissmask):
    ran = blissmask("train", "--mask-gamma", "0", NO_COLOR="")
    assert "\x1b[" not in ran.err


def test_older_name_of_the_configuration_flag_works(blissmask):
    assert "nowhere.toml" in blissmask("cache", "--dataset_config", "nowhere.toml").err


def test_no_arguments_show_the_help_and_no_error(blissmask):
    ran = blissmask()
    assert ran.code == 2
    assert "COMMAND is one of" in ran.out
    assert ran.err == ""
