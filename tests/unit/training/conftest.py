"""The noise of steps on the toy model."""

import pytest

from tests.builders.toy_step import fix_noise


@pytest.fixture
def noise_by_item(monkeypatch):
    """Give every item its own noise, in whatever micro-batch it stands."""
    fix_noise(monkeypatch)
