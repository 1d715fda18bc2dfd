"""Where a path leads, whatever its links do."""

from __future__ import annotations

import os
from pathlib import Path


def without_links(path: Path) -> Path:
    """Return the absolute path that ``path`` leads to, to compare places by.

    Unlike ``Path.resolve``, which before Python 3.13 raises, links that lead in a circle come back as they are: opening
    them says so.
    """
    return Path(os.path.realpath(path))
