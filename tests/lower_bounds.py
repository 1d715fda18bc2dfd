"""Print the oldest versions that pyproject.toml allows, as constraints for pip; `tests/lower_bounds.sh` installs them."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
_BOUND = re.compile(r"([A-Za-z0-9._-]+)>=([0-9][0-9.]*)")


def lower_bounds(requirements: Iterable[str]) -> list[str]:
    """Return ``name==version`` for each ``name>=version``.

    Raises:
        ValueError: a requirement has no lower bound, or says more than that.
    """
    pinned = []
    for requirement in requirements:
        bound = _BOUND.fullmatch(requirement)
        if bound is None:
            raise ValueError(f"`{requirement}` must read NAME>=VERSION")
        pinned.append(f"{bound[1]}=={bound[2]}")
    return pinned


def required() -> list[str]:
    """Return what blissmask needs at least, extras aside."""
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    return lower_bounds(project["dependencies"])


if __name__ == "__main__":
    sys.stdout.write("\n".join(required()) + "\n")
