"""Captions: which file, how it is read, and sd-scripts' tag shuffling."""

from __future__ import annotations

import random
from pathlib import Path

from blissmask.errors import InputError

DEFAULT_EXTENSION = ".txt"
"""Used where a data set names none."""


def caption_path(media: Path, extension: str) -> Path:
    """Return where the caption of a photo or video stands: beside it, with ``extension`` (dot included) instead of its suffix."""
    return media.with_name(media.stem + extension)


def read_caption(path: Path) -> str:
    """Read a caption: UTF-8, a byte order mark allowed, white space around it removed; an empty one is a caption too.

    Raises:
        InputError: the file cannot be read or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig").strip()
    except OSError as error:
        raise InputError(f"the caption cannot be read: {error.strerror or error}", where=[path]) from error
    except UnicodeDecodeError as error:
        raise InputError("the caption is not UTF-8 text", where=[path], fix="save it as UTF-8") from error


def shuffle_tags(caption: str, *, keep_tokens: int, seed: str) -> str:
    """Shuffle the comma-separated tags of a caption after the first ``keep_tokens``.

    sd-scripts draws a new order at every step. Embeddings are cached here, so each item has one order, drawn from
    ``seed``: other items have other orders, and a second run has the same.

    Args:
        caption: tags separated by commas.
        keep_tokens: tags at the front that stay where they are.
        seed: anything that names the item.
    """
    tags = [tag.strip() for tag in caption.split(",")]
    kept, rest = tags[:keep_tokens], tags[keep_tokens:]
    random.Random(seed.encode("utf-8", "surrogateescape")).shuffle(rest)
    return ", ".join([*kept, *rest])
