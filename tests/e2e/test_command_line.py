"""The command line as a whole: help, spellings, errors and exit codes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parents[1] / "golden" / "help"
COMMANDS = ["masks", "instance", "apply", "to-alpha", "cache", "train"]


def compare_with_golden(name, text):
    """Compare with tests/golden/NAME; ``BLISSMASK_UPDATE_GOLDEN=1`` rewrites it instead."""
    path = GOLDEN / name
    if os.environ.get("BLISSMASK_UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_screen_is_as_frozen(blissmask, command):
    ran = blissmask(*filter(None, [command, "--help"]), COLUMNS="80")
    assert ran.code == 0
    compare_with_golden(f"{command or 'blissmask'}.txt", "\n".join(line.rstrip() for line in ran.out.splitlines()) + "\n")


def test_help_imports_neither_torch_nor_numpy_nor_cv2():
    code = "import sys; sys.argv = ['blissmask', '--help']\nfrom blissmask.cli.app import main\ntry: main()\nexcept SystemExit: pass\n"
    code += "print([name for name in ('torch', 'numpy', 'cv2', 'PIL', 'onnxruntime') if name in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_version_is_printed(blissmask):
    assert blissmask("--version").out.startswith("blissmask 0.")


@pytest.mark.parametrize("spelling", ["--mask-gamma", "--mask_gamma"])
def test_underscored_spelling_is_the_same_flag(blissmask, spelling):
    ran = blissmask("train", "--use_mask_loss", spelling, "0")
    assert ran.code == 2
    assert "--mask_gamma must be > 0, got 0.0" in ran.err


def test_unknown_flag_is_a_usage_error_with_a_hint(blissmask):
    ran = blissmask("masks", "--inptu", "photos")
    assert ran.code == 2
    assert "--inptu" in ran.err
    assert "--input" in ran.err
    assert "`blissmask masks --help` shows what there is" in ran.err


def test_unknown_command_is_a_usage_error(blissmask):
    ran = blissmask("mask")
    assert ran.code == 2
    assert "masks" in ran.err


def test_error_under_json_is_a_document_on_stdout(blissmask):
    import json

    ran = blissmask("train", "--mask-gamma", "0", "--json")
    document = json.loads(ran.out)
    assert document["type"] == "error"
    assert document["exit_code"] == ran.code == 2
    assert document["problems"][0]["where"] == ["--mask_gamma must be > 0, got 0.0"]


def test_nothing_is_coloured_when_redirected(blissmask):
    ran = blissmask("train", "--mask-gamma", "0", NO_COLOR="")
    assert "\x1b[" not in ran.err


def test_no_arguments_show_the_help_and_no_error(blissmask):
    ran = blissmask()
    assert ran.code == 2
    assert "Commands" in ran.out
    assert ran.err == ""
