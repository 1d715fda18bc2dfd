"""Flags become a configuration."""

from __future__ import annotations

import pytest

from blissmask.cli.options import with_flags
from blissmask.errors import UsageError


@pytest.mark.parametrize(
    ("given", "flag"),
    [
        ({"config": "", "dataset_config": None}, "--config"),
        ({"config": None, "dataset_config": ""}, "--dataset-config"),
    ],
)
def test_an_empty_configuration_is_told_under_the_flag_that_was_typed(given, flag):
    command = with_flags(lambda *_: pytest.fail("taken"), (), {}, show_all=lambda: None)
    with pytest.raises(UsageError, match=f"^`{flag}` must be a path, and is empty$"):
        command(context=None, help_all=None, **given)
