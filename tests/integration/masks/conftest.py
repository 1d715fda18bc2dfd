"""The backend of these tests, which tells classes by colours."""

import pytest

from tests.builders.masks import ColourBackend, use_colours


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> ColourBackend:
    """Let `--backend` choose the backend of colours; return it."""
    return use_colours(monkeypatch)
