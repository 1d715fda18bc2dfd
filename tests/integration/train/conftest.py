"""The cache that most trainings of these tests read."""

import pytest

from tests.builders.training import write_masked_set


@pytest.fixture
def cache(tmp_path):
    """Return the folder of four cached items with masks."""
    return write_masked_set(tmp_path / "cache")
