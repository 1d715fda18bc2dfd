"""The backend of these tests, which tells classes by colours, and the photos that most of them are about."""

from pathlib import Path

import pytest

from tests.builders.masks import ColourBackend, two_photos, use_colours


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> ColourBackend:
    """Let `--backend` choose the backend of colours; return it."""
    return use_colours(monkeypatch)


@pytest.fixture
def folder(tmp_path: Path, backend: ColourBackend) -> Path:
    """Return a folder with `a.png` and `b.webp` in `photos`."""
    return two_photos(tmp_path)
