"""The files that a cache folder holds already: listed once, and opened only where an item asks for one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from blissmask.cachefile.file_names import parse_latent_name, parse_text_name
from blissmask.cachefile.metadata import OURS
from blissmask.cachefile.read_file import is_sound, read_metadata
from blissmask.errors import CacheError, InputError


class CacheFolder:
    """The files of one family in a folder, by stem.

    Args:
        folder: need not exist.
        suffix: the family's short name in file names.
        verify: read whole files, and take those with broken values for damaged.

    Raises:
        InputError: the folder is there and cannot be listed.
    """

    def __init__(self, folder: Path, suffix: str, *, verify: bool = False) -> None:
        self.path = folder
        self.verify = verify
        self._pictures: dict[str, list[str]] = {}
        self._clips: dict[str, list[str]] = {}
        self._latents: set[str] = set()
        self._texts: dict[str, str] = {}
        for name in _list_names(folder):
            text_stem = parse_text_name(name, suffix)
            picture = parse_latent_name(name, suffix, is_clip=False)
            clip = parse_latent_name(name, suffix, is_clip=True)
            if text_stem is not None:
                self._texts[name] = text_stem
            if picture:
                self._latents.add(name)
                self._pictures.setdefault(picture.stem, []).append(name)
            if clip:
                self._clips.setdefault(clip.stem, []).append(name)

    def latents_of(self, stem: str, *, clips: bool) -> list[str]:
        """Return the names of the latent files that an item called ``stem`` may have made."""
        return (self._clips if clips else self._pictures).get(stem, [])

    def metadata(self, name: str) -> Mapping[str, str] | None:
        """Return the metadata of a file; empty when it is damaged, None when it is not there."""
        if name not in self._latents and name not in self._texts:
            return None
        try:
            return {} if self.verify and not is_sound(self.path / name) else read_metadata(self.path / name)
        except CacheError:
            # Damaged and foreign files get the same answer: made anew under their name.
            return {}

    def ours_beyond(self, claimed: set[str], stems: set[str], *, latents: bool, texts: bool) -> list[Path]:
        """Return our own files that no item needs, sorted by name; files that are not ours are never among them.

        Args:
            claimed: names that items make or keep.
            stems: stems of items that cannot be read now, so that their files are not known; all files of these
                stems are needed.
            latents: look at latent files.
            texts: look at text files.
        """
        candidates: set[str] = set()
        if latents:
            candidates |= self._latents
        if texts:
            candidates |= self._texts.keys()
        kept = {name for name, stem in self._texts.items() if stem in stems}
        for stem in stems:
            kept.update(self._pictures.get(stem, ()), self._clips.get(stem, ()))
        names = sorted(candidates - claimed - kept)
        return [self.path / name for name in names if f"{OURS}format" in (self.metadata(name) or {})]


def _list_names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [
                entry.name
                for entry in entries
                if entry.name.endswith(".safetensors") and not entry.name.startswith(".")
            ]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"cannot read the cache folder: {error.strerror}", where=[folder]) from error
