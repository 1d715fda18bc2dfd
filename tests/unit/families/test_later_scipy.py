"""scipy.stats costs nothing until it is used, whoever imports it or looks at all modules."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("scipy")

BY_EVERY_ROAD = """
import inspect, sys
from blissmask.families.files.later_scipy import import_scipy_stats_later
import_scipy_stats_later()
import scipy.stats
inspect.getmodule(inspect.currentframe())
assert "scipy.stats._stats_py" not in sys.modules, "imported before it was used"
print(scipy.stats.beta.ppf(0.5, 1, 1))
from scipy.stats import beta
import scipy.stats._qmc
import_scipy_stats_later()
assert beta is scipy.stats.beta
"""


def test_scipy_stats_is_imported_when_it_is_used_and_not_before():
    done = subprocess.run([sys.executable, "-c", BY_EVERY_ROAD], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "0.5\n"), done.stderr
