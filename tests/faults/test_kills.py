"""Promises 1, 2 and 22: killed at any moment, a run leaves only whole files, and the next run ends in the same files as an undisturbed one."""

import random
import signal
import subprocess
import sys
import time

import pytest

from blissmask.media.image import read_header
from tests.builders import tree
from tests.faults.scenes import SCENES

KILLS = 6


def start(scene, folder):
    command = [sys.executable, "-m", "blissmask", *scene.arguments]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def finish(scene, folder):
    process = start(scene, folder)
    printed, _ = process.communicate(timeout=200)
    assert process.returncode == 0, printed.decode()


def outputs(folder):
    """Return name -> content of the results; run records and leftovers that the next run sweeps are not results."""
    return {name: content for name, content in tree(folder).items() if not name.endswith((".json", "-part"))}


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted(SCENES))
def test_killed_runs_leave_whole_files_and_finish_like_an_undisturbed_run(tmp_path, command):
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    undisturbed.mkdir()
    scene = SCENES[command](undisturbed)
    started = time.monotonic()
    finish(scene, undisturbed)
    duration = time.monotonic() - started

    # The same inputs down to their times, which are part of a cache entry's fingerprint.
    subprocess.run(["cp", "-a", undisturbed, killed], check=True)
    subprocess.run(["rm", "-r", killed / scene.output], check=True)
    moments = random.Random(command)
    for _ in range(KILLS):
        process = start(scene, killed)
        time.sleep(moments.uniform(0.3, 1.0) * duration)
        process.kill()
        process.communicate()
        for path in (killed / scene.output).glob("*.png"):
            assert read_header(path).size_wh[0] > 0
    finish(scene, killed)
    assert outputs(killed / scene.output) == outputs(undisturbed / scene.output)
    assert not [path for path in (killed / scene.output).iterdir() if path.name.endswith("-part")]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stop_signal_ends_with_its_code_and_the_next_run_continues(tmp_path, number, code):
    scene = SCENES["masks"](tmp_path)
    process = start(scene, tmp_path)
    deadline = time.monotonic() + 60
    # The lock says that the run itself has begun.
    while not (tmp_path / scene.output / ".blissmask.lock.json").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(number)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == code, printed.decode()
    assert b"run the same command again to continue" in printed
    finish(scene, tmp_path)
