"""plugins.py: a folder is the registry."""

import pytest

from blissmask.errors import UsageError
from blissmask.families.registry import FAMILIES
from blissmask.parsing.parts_backend import PARSING
from blissmask.people.faces.face_reader import IDENTITIES
from blissmask.people.people_backend import PEOPLE


@pytest.mark.parametrize("registry", [FAMILIES, PARSING, PEOPLE, IDENTITIES])
def test_every_member_says_in_one_line_what_it_is(registry):
    assert registry.names()
    for name in registry.names():
        assert 10 < len(registry.describe(name)) < 100


def test_file_name_is_the_name_on_the_command_line():
    files = {name: FAMILIES.load(name).__name__.rpartition(".")[2] for name in FAMILIES.names()}
    assert files == {name: name.replace("-", "_") for name in FAMILIES.names()}
    assert "registry" not in files


def test_unknown_name_is_refused_with_the_nearest():
    known = FAMILIES.names()[-1]
    with pytest.raises(UsageError) as refusal:
        FAMILIES.load(f"{known}x")
    assert refusal.value.problems[0].fix == f"did you mean `{known}`?"


def test_other_spellings_and_parts_of_a_name_are_understood():
    with pytest.raises(UsageError) as refusal:
        FAMILIES.load("KLEIN")
    families = [name for name in FAMILIES.names() if "klein" in name]
    assert refusal.value.problems[0].fix == f"did you mean {' or '.join(f'`{name}`' for name in families)}?"
    dotted = next(name for name in FAMILIES.names() if name[-2:].isdigit() and "-" not in name)
    with pytest.raises(UsageError, match="unknown") as refusal:
        FAMILIES.load(f"{dotted[:-1]}.{dotted[-1]}")
    assert refusal.value.problems[0].fix == f"did you mean `{dotted}`?"
