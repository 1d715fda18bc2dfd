"""Look at what is installed beside blissmask: packages that overwrite each other's files."""

from __future__ import annotations

from importlib import metadata

from blissmask.errors import Problem

_OPENCV = (
    "opencv-python-headless",
    "opencv-python",
    "opencv-contrib-python-headless",
    "opencv-contrib-python",
)
"""Four builds of OpenCV, which put the same files into one folder, ``cv2``: the one installed last wins."""


def doubled_opencv() -> list[Problem]:
    """Warn when several builds of OpenCV are installed; which one is used then depends on the order of installing."""
    found = [f"{name} {version}" for name in _OPENCV if (version := _version(name))]
    if len(found) < 2:
        return []
    fix = (
        "give blissmask an environment of its own; or `pip uninstall` all of them, "
        "then `pip install opencv-python-headless`"
    )
    return [Problem("several builds of OpenCV are installed, and overwrite each other's files", tuple(found), fix)]


def _version(name: str) -> str:
    """Return the version of an installed package; empty when it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
