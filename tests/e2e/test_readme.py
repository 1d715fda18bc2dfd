"""The README tells the truth: its commands are commands, and the files it names are there."""

import re
import shlex
from pathlib import Path

import pytest

from blissmask.cli.app import build_app
from blissmask.errors import BlissmaskError

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = sorted({line.split("  #")[0].strip() for line in re.findall(r"^(?:\$ )?(blissmask [^\n]+)$", README, re.MULTILINE)})


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_line_is_understood(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "person.toml").write_bytes((ROOT / "examples" / "person.toml").read_bytes())
    (tmp_path / "blissmask.toml").write_bytes((ROOT / "examples" / "quickstart" / "blissmask.toml").read_bytes())
    # Photos and models are missing here, so every command is refused; but for that, not for its flags or its configuration.
    with pytest.raises((BlissmaskError, SystemExit)) as refusal:
        raise SystemExit(build_app()(shlex.split(line)[1:], prog_name="blissmask", standalone_mode=False))
    assert "problem" not in str(refusal.value)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\((?!http)([^)#]+)\)", README))))
def test_every_link_leads_to_a_file(target):
    assert (ROOT / target).exists()
