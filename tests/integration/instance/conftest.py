"""The people of these tests, who are told apart by colours."""

import pytest

from tests.builders.instance import ColourPeople, use_colours


@pytest.fixture
def people(monkeypatch: pytest.MonkeyPatch) -> ColourPeople:
    """Let people and faces be found by their colours; return the finder of people."""
    return use_colours(monkeypatch)
