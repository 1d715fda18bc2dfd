"""cli/installed.py: builds of OpenCV that overwrite each other are told."""

from importlib import metadata

import pytest

from blissmask.cli.installed import doubled_opencv


def install(monkeypatch, **versions):
    def version(name):
        found = versions.get(name.replace("-", "_"))
        if found is None:
            raise metadata.PackageNotFoundError(name)
        return found

    monkeypatch.setattr(metadata, "version", version)


def test_one_build_is_as_it_should_be(monkeypatch):
    install(monkeypatch, opencv_python_headless="4.13.0.90")
    assert doubled_opencv() == []


@pytest.mark.parametrize("other", ["opencv_python", "opencv_contrib_python", "opencv_contrib_python_headless"])
def test_a_second_build_is_named_with_its_version(monkeypatch, other):
    install(monkeypatch, opencv_python_headless="4.13.0.90", **{other: "4.12.0.88"})
    [problem] = doubled_opencv()
    assert problem.where == ("opencv-python-headless 4.13.0.90", f"{other.replace('_', '-')} 4.12.0.88")
    assert "environment of its own" in problem.fix
