"""What a fitted body shows."""

import numpy as np
import pytest

from blissmask.vision.bodies.pose import LIMBS, Pose
from blissmask.vision.regions import Square


def pose(*visible: int) -> Pose:
    visibility = np.zeros(39)
    visibility[list(visible)] = 0.9
    return Pose(np.zeros((39, 2)), visibility, 0.9, Square(50, 50, 100), np.zeros((256, 256), np.float32))


@pytest.mark.parametrize("limb", LIMBS)
def test_an_elbow_a_wrist_a_knee_or_an_ankle_is_a_limb(limb):
    assert pose(limb).shows_a_limb


def test_shoulders_and_hips_are_none():
    assert not pose(0, 11, 12, 23, 24).shows_a_limb
