"""Libraries are imported for less, and nothing is lost by it."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from blissmask.imports import quick_imports

BY_EVERY_ROAD = """
import inspect, sys
from blissmask.imports import quick_imports
with quick_imports():
    import scipy.stats
inspect.getmodule(inspect.currentframe())
assert "scipy.stats._stats_py" not in sys.modules, "imported before it was used"
print(scipy.stats.beta.ppf(0.5, 1, 1))
from scipy.stats import beta
import scipy.stats._qmc
with quick_imports():
    assert beta is scipy.stats.beta
"""


def test_scipy_stats_is_imported_when_it_is_used_and_not_before():
    pytest.importorskip("scipy")
    done = subprocess.run([sys.executable, "-c", BY_EVERY_ROAD], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "0.5\n"), done.stderr


@pytest.mark.parametrize("collecting", [True, False])
def test_nothing_is_collected_inside_and_afterwards_as_before(collecting):
    before = gc.isenabled()
    (gc.enable if collecting else gc.disable)()
    try:
        with quick_imports():
            inside = gc.isenabled()
        assert (inside, gc.isenabled()) == (False, collecting)
    finally:
        (gc.enable if before else gc.disable)()


def test_what_came_after_the_first_time_is_collected():
    with quick_imports():
        pass
    frozen = gc.get_freeze_count()
    with quick_imports():
        kept = [object(), []]
    assert gc.get_freeze_count() <= frozen
    assert kept
