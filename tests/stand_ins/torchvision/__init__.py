"""Stands in for torchvision where Ultralytics runs in a test: the wheels on PyPI need the CUDA build of torch, the tests install the CPU build.

Ultralytics names torchvision as a dependency, reads its version, and takes one function of it, which it also has a version of its own of.
Only the processes that `tests/builders/ultralytics_models.py` starts see this folder, and only where torchvision is not installed.
"""

from torchvision import ops

__all__ = ["ops"]
