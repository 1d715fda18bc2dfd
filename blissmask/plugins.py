"""Find backends and model families by file name: ``families/NAME/some_model.py`` is ``--arch some-model``.

A folder is the registry, with its sub-folders. A module belongs to it when it defines the folder's marker at top level
(``ARCHITECTURE = ...`` or ``def backend(...)``). Its docstring's first line is its help text, read without importing
it. Third parties add modules through an entry-point group of the same name.
"""

from __future__ import annotations

import ast
import difflib
import functools
import importlib
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from blissmask.errors import ModelError, UsageError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


_FEWEST_LETTERS = 3
"""Of a part of a name that stands for the whole: ``wan``; fewer are in too many."""


@dataclass(frozen=True)
class Registry:
    """The modules of one package that define ``marker``, and the entry points of ``package`` as a group.

    Args:
        package: dotted package name, which is the entry-point group too, e.g. ``blissmask.families``.
        marker: the top-level name every member defines, e.g. ``ARCHITECTURE``.
        noun: what a member is called in messages, e.g. ``architecture``.
    """

    package: str
    marker: str
    noun: str

    def names(self) -> list[str]:
        """Return all names in alphabetical order, without importing any member."""
        return sorted({*_own_modules(self.package, self.marker), *_entry_points(self.package)})

    def describe(self, name: str) -> str:
        """Return the first docstring line of member ``name``; members outside the package say where they come from."""
        own = _own_modules(self.package, self.marker)
        if name in own:
            docstring = ast.get_docstring(ast.parse(own[name].path.read_text(encoding="utf-8"))) or ""
            return docstring.partition("\n")[0].rstrip(".")
        return f"from {_entry_points(self.package)[name].value}"

    def members(self) -> dict[str, str]:
        """Return name -> description of all members, in alphabetical order."""
        return {name: self.describe(name) for name in self.names()}

    def _meant(self, name: str) -> list[str]:
        """Return which members a name may mean: ``wan2.2`` and ``Wan22`` are wan22, ``klein`` is each that has it."""
        bare = {each: each.replace("-", "") for each in self.names()}
        typed = "".join(letter for letter in name.lower() if letter.isalnum())
        same = [each for each, letters in bare.items() if letters == typed]
        longer = [each for each, letters in bare.items() if len(typed) >= _FEWEST_LETTERS and typed in letters]
        return same or longer or difflib.get_close_matches(name.lower(), self.names(), n=1)

    def load(self, name: str) -> ModuleType:
        """Import and return member ``name``.

        Raises:
            UsageError: there is no such member; names the nearest.
            ModelError: an entry point cannot be imported or lacks the marker.
        """
        own = _own_modules(self.package, self.marker)
        if name in own:
            return importlib.import_module(own[name].dotted_name)
        points = _entry_points(self.package)
        if name not in points:
            near = self._meant(name)
            fix = f"did you mean {' or '.join(f'`{each}`' for each in near)}?" if near else ""
            raise UsageError(f"unknown {self.noun} `{name}`; there are {', '.join(self.names())}", fix=fix)
        try:
            module = points[name].load()
        except ImportError as error:
            raise ModelError(
                f"the {self.noun} `{name}` cannot be imported: {error}", where=[points[name].value]
            ) from error
        if not isinstance(module, ModuleType) or not hasattr(module, self.marker):
            raise ModelError(f"the {self.noun} `{name}` does not define `{self.marker}`", where=[points[name].value])
        return module


@dataclass(frozen=True, slots=True)
class _Member:
    """A module of the registry's own package."""

    path: Path
    dotted_name: str


@functools.cache
def _own_modules(package: str, marker: str) -> dict[str, _Member]:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0])
    defines_marker = re.compile(rf"^({marker}\b|def {marker}\()", re.MULTILINE)
    members = {}
    for path in sorted(folder.rglob("*.py")):
        # Read as text: importing every member would import torch before the help screen is shown.
        if defines_marker.search(path.read_text(encoding="utf-8")):
            inner_name = ".".join(path.relative_to(folder).with_suffix("").parts)
            members[path.stem.replace("_", "-")] = _Member(path, f"{package}.{inner_name}")
    return members


@functools.cache
def _entry_points(group: str) -> dict[str, EntryPoint]:
    # Here, since it takes 0.02 s, and the list of commands needs no entry points.
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=group)}
