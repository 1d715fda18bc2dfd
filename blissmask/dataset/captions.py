"""Find and read captions, and shuffle their tags as sd-scripts does."""

from __future__ import annotations

import random
from pathlib import Path

from blissmask.errors import InputError
from blissmask.storage.limits import MOST_CAPTION, refuse_larger
from blissmask.storage.ordinary import read_text

DEFAULT_EXTENSION = ".txt"
"""Extension of captions where a data set names none."""


def caption_path(media: Path, extension: str) -> Path:
    """Return the caption file beside a photo or video: same stem, with ``extension`` (dot included) as suffix."""
    return media.with_name(media.stem + extension)


def read_caption(path: Path) -> str:
    """Read a caption without the white space around it; an empty file is an empty caption.

    The file is UTF-8, with or without a byte order mark, of up to :data:`MOST_CAPTION` bytes.

    Raises:
        InputError: the file cannot be read, is too large or is not UTF-8.
    """
    try:
        refuse_larger(path, MOST_CAPTION)
        return read_text(path, encoding="utf-8-sig").strip()
    except OSError as error:
        raise InputError(f"the caption cannot be read: {error.strerror or error}", where=[path]) from error
    except UnicodeDecodeError as error:
        raise InputError("the caption is not UTF-8 text", where=[path], fix="save it as UTF-8") from error


def shuffle_tags(caption: str, *, keep_tokens: int, seed: str) -> str:
    """Shuffle the comma-separated tags of a caption after the first ``keep_tokens``.

    sd-scripts draws a new order at every step. Embeddings are cached here, so each item has one order, which ``seed``
    decides: other items have other orders, and a second run has the same one.

    Args:
        caption: tags separated by commas.
        keep_tokens: number of tags at the front that stay where they are.
        seed: any text that names the item.
    """
    tags = [tag.strip() for tag in caption.split(",")]
    kept, rest = tags[:keep_tokens], tags[keep_tokens:]
    random.Random(seed.encode("utf-8", "surrogateescape")).shuffle(rest)
    return ", ".join([*kept, *rest])
