"""Libraries are imported for less, and nothing is lost by it."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from blissmask.imports import quick_imports, uncollected

BY_EVERY_ROAD = """
import inspect, sys
from blissmask.imports import import_scipy_stats_later, quick_imports
with quick_imports():
    assert "scipy" not in sys.modules, "commands that need no model have no use for it"
    import_scipy_stats_later()
    import scipy.stats
inspect.getmodule(inspect.currentframe())
assert "scipy.stats._stats_py" not in sys.modules, "imported before it was used"
print(scipy.stats.beta.ppf(0.5, 1, 1))
from scipy.stats import beta
import scipy.stats._qmc
with quick_imports():
    import_scipy_stats_later()
    assert beta is scipy.stats.beta
"""


def printed_with_scipy(code):
    """Return what a program prints in a Python of its own, where nothing is imported yet; skip without scipy."""
    pytest.importorskip("scipy")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_scipy_stats_is_imported_when_it_is_used_and_not_before():
    assert printed_with_scipy(BY_EVERY_ROAD) == "0.5\n"


def test_a_function_of_scipy_is_imported_when_it_is_called():
    code = """
import inspect, sys
from blissmask.imports import quick_imports
with quick_imports():
    from scipy.optimize import linear_sum_assignment
    from scipy import integrate
inspect.getmodule(inspect.currentframe())
assert "scipy.optimize._optimize" not in sys.modules, "imported before it was used"
assert "scipy.integrate._quadpack_py" not in sys.modules, "imported before it was used"
assert integrate.quad(lambda x: x, 0, 1)[0] == 0.5
print(*linear_sum_assignment([[1, 0], [0, 1]])[1])
from scipy.optimize import linear_sum_assignment as itself, minimize
import scipy.optimize._zeros_py
assert itself is scipy.optimize.linear_sum_assignment is not linear_sum_assignment
"""
    assert printed_with_scipy(code) == "1 0\n"


def test_transformers_imports_no_scipy_with_a_model():
    code = """
import sys
from blissmask.imports import quick_imports
with quick_imports():
    import transformers.loss.loss_for_object_detection as losses
assert losses.linear_sum_assignment
print("scipy.optimize._optimize" in sys.modules)
"""
    assert printed_with_scipy(code) == "False\n"


@pytest.mark.parametrize(
    "broken",
    ["", "raise ImportError('numpy.core.multiarray failed to import')", "raise ValueError('dtype size changed')"],
)
def test_a_scipy_that_is_a_mere_folder_or_broken_ends_nothing(tmp_path, broken):
    (tmp_path / "scipy").mkdir()
    if broken:
        (tmp_path / "scipy" / "__init__.py").write_text(broken)
    code = "from blissmask.imports import import_scipy_stats_later as later; later()"
    # Without site-packages, where a whole scipy may be.
    paths = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_collector_rests_until_the_last_thread_leaves():
    before = gc.isenabled()
    gc.enable()
    try:
        first, second = uncollected(), uncollected()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert not gc.isenabled()
        second.__exit__(None, None, None)
        assert gc.isenabled()
    finally:
        (gc.enable if before else gc.disable)()


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


def test_what_is_imported_the_first_time_is_never_looked_at_again():
    code = "import gc, blissmask.imports as i\nwith i.quick_imports(): import json\nprint(gc.get_freeze_count() > 1000)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_what_came_after_the_first_time_is_collected():
    with quick_imports():
        pass
    frozen = gc.get_freeze_count()
    with quick_imports():
        kept = [object(), []]
    assert gc.get_freeze_count() <= frozen
    assert kept


def test_a_module_inside_of_one_that_comes_later_is_there_once_also_where_it_is_asked_for_first():
    code = """
from blissmask.imports import quick_imports
with quick_imports():
    import scipy.integrate._quad_vec
    from scipy.optimize._optimize import OptimizeResult
import scipy.optimize, sys
assert OptimizeResult is scipy.optimize.OptimizeResult
inside = sys.modules["scipy.optimize._optimize"]
assert inside is scipy.optimize._optimize and inside.__spec__.loader is inside.__loader__
assert scipy.integrate._quad_vec.quad_vec is scipy.integrate.quad_vec
try:
    import scipy.integrate._nothing
except ModuleNotFoundError as error:
    print(error)
"""
    assert printed_with_scipy(code) == "No module named 'scipy.integrate._nothing'\n"
