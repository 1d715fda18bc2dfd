"""Which control pictures belong to which photo: by name, ``STEM.png`` or ``STEM_0.png``, ``STEM_1.png`` ....

Source: musubi-tuner's matching. Names are compared as item keys, without case and accent form.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from blissmask.dataset.item_keys import item_key, stem_key
from blissmask.errors import InputError


def match_numbered(stems: Iterable[str], files: Sequence[Path]) -> Mapping[str, tuple[Path, ...]]:
    """Return key -> its files, the one without a number first, then by number.

    The longest stem that fits gets a file, so ``kyla_1_0.png`` belongs to ``kyla_1`` where there is one, else to
    ``kyla``. Each file is looked up by the few prefixes of its own name, so the work grows with the number of files
    alone.

    Args:
        stems: stems of the photos.
        files: what may belong to them.

    Raises:
        InputError: what follows a stem is no number; names the files.
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
    ends = (position for position in range(len(own) - 1, 0, -1) if own[position] in "._")
    return next((own[:end] for end in ends if own[:end] in keys), None)
