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
from collections.abc import Iterator
from types import ModuleType
from typing import Any

_LATER = "scipy.stats"
"""Is imported when it is used, not because a model class is.

diffusers' model classes inherit reading single files, and the module of that imports all schedulers, each of which
imports ``scipy.stats`` where scipy is installed (diffusers 0.42: ``loaders/single_file_utils.py``), for beta sigmas
alone: 0.5 s.
"""


@contextlib.contextmanager
def quick_imports() -> Iterator[None]:
    """Import libraries inside for less: nothing is collected meanwhile, and ``scipy.stats`` waits until it is used.

    What is there after the first time is never looked at again, for it stays until the process ends. What a process
    has loaded since then, such as a model, must be freed when it is let go: later times leave it to the collector.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        _import_scipy_stats_later()
        yield
    finally:
        if not gc.get_freeze_count():
            gc.freeze()
        if collecting:
            gc.enable()


class _Later(ModuleType):
    """Stands for the module until an attribute is asked for.

    ``importlib.util.LazyLoader`` does not serve: the import statement itself looks at ``__spec__``, and
    ``inspect.getmodule``, which torch calls, at ``__file__`` of every module; either makes it load.
    """

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(_LATER) is self:
            del sys.modules[_LATER]
        return getattr(importlib.import_module(_LATER), name)


def _import_scipy_stats_later() -> None:
    """Let ``import scipy.stats`` cost nothing until it is used; not where scipy is missing, or it is there already."""
    if _LATER in sys.modules or importlib.util.find_spec("scipy") is None:
        return
    spec = importlib.util.find_spec(_LATER)
    assert spec is not None
    later = _Later(_LATER)
    later.__spec__, later.__file__ = spec, spec.origin
    sys.modules[_LATER] = later
