"""``scipy.stats`` is imported when something of it is used, not because a model class is.

diffusers' model classes inherit reading single files, and the module of that imports all schedulers, each of which
imports ``scipy.stats`` where scipy is installed (diffusers 0.42: ``loaders/single_file_utils.py``). They need it for
beta sigmas alone. It is two thirds of the time that importing one model class takes: 0.47 of 0.65 s.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

_NAME = "scipy.stats"


class _Later(ModuleType):
    """Stands for the module until an attribute is asked for.

    ``importlib.util.LazyLoader`` does not serve: the import statement itself looks at ``__spec__``, and
    ``inspect.getmodule``, which torch calls, at ``__file__`` of every module; either makes it load.
    """

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(_NAME) is self:
            del sys.modules[_NAME]
        return getattr(importlib.import_module(_NAME), name)


def import_scipy_stats_later() -> None:
    """Let ``import scipy.stats`` cost nothing until it is used.

    Does nothing where scipy is missing, and where ``scipy.stats`` is loaded already.
    """
    if _NAME in sys.modules or importlib.util.find_spec("scipy") is None:
        return
    spec = importlib.util.find_spec(_NAME)
    assert spec is not None
    later = _Later(_NAME)
    later.__spec__, later.__file__ = spec, spec.origin
    sys.modules[_NAME] = later
