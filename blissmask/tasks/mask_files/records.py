"""JSON files of ours that stand beside outputs: whatever is in them, they are read as an object or as nothing."""

from __future__ import annotations

import json
from pathlib import Path

from blissmask.errors import MediaError


def read_record(path: Path) -> dict[str, object] | None:
    """Return the JSON object in a file; None when there is no file, or something else is in it.

    Raises:
        MediaError: the file is there but cannot be read.
    """
    try:
        # A link that leads nowhere, or in a circle, is no file either.
        content = json.loads(path.read_bytes()) if path.exists() else None
    except OSError as error:
        raise MediaError(f"the file cannot be read: {error.strerror or error}", where=[path]) from error
    except (ValueError, RecursionError):
        # No JSON, no text, or brackets nested deeper than Python reads.
        return None
    return content if isinstance(content, dict) else None
