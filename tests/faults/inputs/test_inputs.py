"""Promises 8 and 25: inputs are never changed, wherever the output lies, and nothing is fetched."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders.pictures import tree
from tests.faults.forks import Forks
from tests.faults.scenes import SCENES, Scene

NO_NETWORK = "import socket, sys\ndef refuse(*_): raise OSError('network is off')\nsocket.socket.connect = refuse\nsocket.getaddrinfo = refuse\n"
USAGE = 2
# A cache lies beside its photos unless told otherwise, and a LoRA may lie beside its cache: their files have names of their own.
BESIDE = ("cache", "train")


def with_output(scene: Scene, output: str) -> tuple[str, ...]:
    return tuple(output if argument == scene.output else argument for argument in scene.arguments)


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted(SCENES))
def test_inputs_stay_as_they_were_and_nothing_needs_the_network(tmp_path: Path, command: str) -> None:
    scene = SCENES[command](tmp_path)
    before = {name: tree(tmp_path / name) for name in scene.inputs}
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(NO_NETWORK)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}
    environment.pop("HF_HUB_OFFLINE", None)
    ran = subprocess.run(
        [sys.executable, "-m", "blissmask", *scene.arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert ran.returncode == 0, ran.stderr
    assert {name: tree(tmp_path / name) for name in scene.inputs} == before


@pytest.mark.slow
@pytest.mark.parametrize("spelling", ["{}", "./{}/", "link"])
@pytest.mark.parametrize("command", sorted(SCENES))
def test_an_output_that_is_an_input_is_refused_or_stands_beside(
    tmp_path: Path, forks: Forks, command: str, spelling: str
) -> None:
    scene = SCENES[command](tmp_path)
    for name in scene.inputs:
        (tmp_path / "link").unlink(missing_ok=True)
        (tmp_path / "link").symlink_to(name)
        before = tree(tmp_path / name)
        ended = forks.run(tmp_path, *with_output(scene, spelling.format(name)))
        after = tree(tmp_path / name)
        if command in BESIDE:
            assert ended.code == 0, ended.err
            assert before.items() <= after.items()
            return
        assert ended.code == USAGE, ended.err
        assert "inputs are never changed" in ended.err
        assert after == before


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted(SCENES))
def test_an_output_inside_an_input_is_no_part_of_it(tmp_path: Path, forks: Forks, command: str) -> None:
    scene = SCENES[command](tmp_path)
    inside = f"{scene.inputs[0]}/results"
    before = tree(tmp_path / scene.inputs[0])
    for _ in range(2):
        ended = forks.run(tmp_path, *with_output(scene, inside))
        assert ended.code == 0, ended.err
    after = tree(tmp_path / scene.inputs[0])
    assert {name: content for name, content in after.items() if not name.startswith("results/")} == before
    assert len(after) > len(before)


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted(SCENES))
def test_inputs_inside_the_output_stay_as_they_were(tmp_path: Path, forks: Forks, command: str) -> None:
    scene = SCENES[command](tmp_path)
    before = {name: tree(tmp_path / name) for name in scene.inputs}
    ended = forks.run(tmp_path, *with_output(scene, "."))
    assert ended.code == 0, ended.err
    assert {name: tree(tmp_path / name) for name in scene.inputs} == before
