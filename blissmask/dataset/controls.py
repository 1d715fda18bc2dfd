"""Match control pictures to photos by name: ``STEM.png``, or ``STEM_0.png``, ``STEM_1.png`` ....

Source: musubi-tuner's matching. Names are compared as item keys, without case and accent form.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from blissmask.dataset.item_keys import item_key, stem_key
from blissmask.errors import InputError


def match_numbered(stems: Iterable[str], files: Sequence[Path]) -> Mapping[str, tuple[Path, ...]]:
    """Return key -> its files, the one without a number first, then by number.

    A file belongs to the longest stem that its name begins with: ``kyla_1_0.png`` to ``kyla_1`` where there is one,
    else to ``kyla``. Each file is looked up by the few prefixes of its own name, so the time grows with the number of
    files alone.

    Args:
        stems: stems of the photos.
        files: files that may be controls.

    Raises:
        InputError: the text after a stem is no number; the error names all such files.
    """
    keys = {stem_key(stem) for stem in stems}
    matched: dict[str, list[tuple[int, Path]]] = {}
    wrong = []
    for path in files:
        own = item_key(path.name)
        owner = _longest_prefix(own, keys)
        if owner is None:
            continue
        number = own[len(owner) + 1 :]
        if number and not number.isdecimal():
            wrong.append(path)
            continue
        matched.setdefault(owner, []).append((int(number) if number else -1, path))
    if wrong:
        fix = "name them after their photo: `NAME.png`, or `NAME_0.png`, `NAME_1.png` ..."
        raise InputError("names that do not end in a number", where=wrong, fix=fix)
    return {key: tuple(path for _, path in sorted(found)) for key, found in matched.items()}


def _longest_prefix(own: str, keys: set[str]) -> str | None:
    if own in keys:
        return own
    for end in range(len(own) - 1, 0, -1):
        if own[end] in "._" and own[:end] in keys:
            return own[:end]
    return None
