"""tests/lower_bounds.py: every dependency has a lower bound that can be installed by itself."""

import pytest

from tests.lower_bounds import lower_bounds, required


def test_every_dependency_gives_one_exact_version():
    assert "opencv-python-headless==4.13.0.90" in required()


@pytest.mark.parametrize("requirement", ["numpy", "numpy<3", "numpy>=2,<3", "numpy==2"])
def test_a_dependency_without_a_plain_lower_bound_is_refused(requirement):
    with pytest.raises(ValueError, match="must read NAME>=VERSION"):
        lower_bounds([requirement])
