"""Importing torch, transformers and diffusers for less: they are most of the time that a training takes to begin.

Half a million objects come into being, none of them garbage, and Python's collector looks through all of them again and
again: a fifth of the time of importing torch, peft and a model's class (4.6 s of 5.8 s are left without it).
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.util
import sys
import threading
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from importlib.abc import Loader

_LATER = "scipy.stats"
"""Is imported when it is used, not because a model class is.

diffusers' model classes inherit reading single files, and the module of that imports all schedulers, each of which
imports ``scipy.stats`` where scipy is installed (diffusers 0.42: ``loaders/single_file_utils.py``), for beta sigmas
alone: 0.5 s.
"""
_LATER_FUNCTION = "scipy.optimize", "linear_sum_assignment"
"""Is imported when it is called, and :data:`_LATER_MODULES` when an attribute is asked for.

transformers 5 imports it with every model where scipy is installed, for the losses of object detection alone
(``loss/loss_for_object_detection.py``), and diffusers' schedulers import ``scipy.integrate``, for one of them: together
0.4 s.
"""
_LATER_MODULES = "scipy.optimize", "scipy.integrate"


class _Pauses:
    """How many threads want the garbage collector to rest, and whether it was at work before the first of them.

    ``kept`` is whether what was imported is out of its sight for good: asking the collector walks through all of it,
    which takes 25 to 50 ms.
    """

    lock = threading.Lock()
    count = 0
    collecting = False
    kept = False


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Pause the garbage collector, which looks through all objects again and again while many come into being.

    It is at work again when the last thread that is inside leaves.
    """
    with _Pauses.lock:
        if not _Pauses.count:
            _Pauses.collecting = gc.isenabled()
            gc.disable()
        _Pauses.count += 1
    try:
        yield
    finally:
        with _Pauses.lock:
            _Pauses.count -= 1
            if not _Pauses.count and _Pauses.collecting:
                gc.enable()


@contextlib.contextmanager
def quick_imports() -> Iterator[None]:
    """Import libraries inside for less: nothing is collected meanwhile.

    What is there after the first time is never looked at again, for it stays until the process ends. What a process
    has loaded since then, such as a model, must be freed when it is let go: later times leave it to the collector.
    """
    _import_modules_later()
    with uncollected():
        try:
            yield
        finally:
            if not _Pauses.kept:
                _Pauses.kept = True
                gc.freeze()


class _Later(ModuleType):
    """Stands for the module until an attribute is asked for.

    ``importlib.util.LazyLoader`` does not serve: the import statement itself looks at ``__spec__``, and
    ``inspect.getmodule``, which torch calls, at ``__file__`` of every module; either makes it load.
    """

    def __getattr__(self, name: str) -> Any:
        if (self.__name__, name) == _LATER_FUNCTION:
            return self._called_later
        return getattr(self.loaded(), name)

    def _called_later(self, *arguments: Any, **options: Any) -> Any:
        return getattr(self.loaded(), _LATER_FUNCTION[1])(*arguments, **options)

    def loaded(self) -> ModuleType:
        """Return the module itself, which takes this one's place."""
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return importlib.import_module(self.__name__)


class _PathLater:
    """Where the modules inside of one that comes later are; whoever looks gets them after it."""

    def __init__(self, later: _Later) -> None:
        self._later = later

    def load(self) -> None:
        """Import the one that comes later."""
        self._later.loaded()

    def __iter__(self) -> Iterator[str]:
        return iter(self._later.loaded().__path__)


class _InsideLater:
    """Finds the modules inside of one that comes later, which are there as soon as that one is imported.

    Python has asked whether they are there before it looks at the path, and would execute them a second time: there
    would be two of each class. As ``importlib`` of Python 3.11 to 3.13 does it, a spec counts only where nothing has
    the module's name (``_find_spec``), and the loader is asked for the module (``_load_unlocked``).
    """

    def find_spec(self, name: str, path: object, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return a spec that gives the module which the import of the package around it has made, if it has."""
        if not isinstance(path, _PathLater):
            return None
        path.load()
        made = sys.modules.pop(name, None)
        return None if made is None else ModuleSpec(name, cast("Loader", _Made(made)))


class _Made:
    """Loads a module that is made already.

    No ``importlib.abc.Loader``: importing that takes 15 ms.
    """

    def __init__(self, module: ModuleType) -> None:
        self._module = module
        self._spec = module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module."""
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        """Give it back its own spec, whose place the spec for this loader has taken."""
        module.__spec__ = self._spec


def _import_modules_later() -> None:
    """Let importing :data:`_LATER_MODULES` cost nothing until they are used; scipy itself is not even looked into."""
    found = None
    # ValueError where something that is no module stands in its place.
    with contextlib.suppress(ValueError):
        found = importlib.util.find_spec("scipy")
    for module in _LATER_MODULES if found is not None else ():
        if module in sys.modules:
            continue
        later = _Later(module)
        later.__spec__, later.__file__ = ModuleSpec(module, None), None
        # An import of a name asks whether this is there, and only an import of a module inside goes through it.
        later.__dict__["__path__"] = _PathLater(later)
        sys.modules[module] = later
        if not any(isinstance(finder, _InsideLater) for finder in sys.meta_path):
            sys.meta_path.insert(0, _InsideLater())


def import_scipy_stats_later() -> None:
    """Let ``import scipy.stats`` cost nothing until it is used; to be called before a model class is imported.

    Nothing is done where it is there already, and where scipy is missing or broken: whoever needs it says so.
    """
    if _LATER in sys.modules:
        return
    spec = None
    # Looking for it imports scipy itself: ImportError and ValueError where that does not fit this NumPy.
    with contextlib.suppress(ImportError, ValueError):
        spec = importlib.util.find_spec(_LATER)
    if spec is None:
        return
    later = _Later(_LATER)
    later.__spec__, later.__file__ = spec, spec.origin
    sys.modules[_LATER] = later
