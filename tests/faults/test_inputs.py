"""Promises 8 and 25: inputs are never changed, and nothing is fetched."""

import os
import subprocess
import sys

import pytest

from tests.builders import tree
from tests.faults.scenes import SCENES

NO_NETWORK = (
    "import socket, sys\ndef refuse(*_): raise OSError('network is off')\nsocket.socket.connect = refuse\nsocket.getaddrinfo = refuse\n"
)


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted(SCENES))
def test_inputs_stay_as_they_were_and_nothing_needs_the_network(tmp_path, command):
    scene = SCENES[command](tmp_path)
    before = {name: tree(tmp_path / name) for name in scene.inputs}
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(NO_NETWORK)
    environment = {**os.environ, "PYTHONPATH": str(site)}
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
