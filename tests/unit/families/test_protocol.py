"""What families declare is in order, and asking for it loads no model class."""

import subprocess
import sys

from blissmask.families.protocol import OneFrame


def test_one_frame_indices_are_sorted():
    assert OneFrame((0, 9), 5).frame_indices == (0, 5, 9)


def test_importing_a_family_does_not_import_diffusers_or_transformers():
    code = "import sys; from blissmask.families.registry import *; [load_family(n) for n in FAMILIES.names()]; print('diffusers' in sys.modules, 'transformers' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False"]
