"""Promise 4: whichever open, write, sync or rename fails, the run says so, tears nothing, and the next run ends as an undisturbed one."""

import errno
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.forks import Forks
from tests.faults.injected import CALLS, Fault
from tests.faults.scenes import SCENES, Scene, leftovers, results

# Nothing lost, the machine's fault, a configuration that cannot be read, or one item's.
CODES = (0, 1, 2, 3)


@pytest.mark.slow
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("command", sorted(SCENES))
def test_any_failing_call_is_told_and_mended_by_the_next_run(tmp_path: Path, forks: Forks, command: str, call: str) -> None:
    scene = small_scene(tmp_path, command)
    arguments = scene.arguments
    output = tmp_path / scene.output
    whole = undisturbed(forks, tmp_path, arguments, output)
    # A training opens each kind of file many times.
    for number in range(1, 1000, 3 if (command, call) == ("train", "open") else 1):
        failed = forks.run(tmp_path, *arguments, fault=Fault(call, number, errno.EIO))
        if not failed.struck:
            break
        where = f"{call} {number}: {failed.err}"
        assert failed.code in CODES, where
        if failed.code:
            assert "Input/output error" in failed.err, where
        else:
            assert results(output) == whole, where
        assert leftovers(tmp_path) == [], where
        again = forks.run(tmp_path, *arguments)
        assert again.code == 0, f"after {where}: {again.err}"
        assert results(output) == whole, where
        shutil.rmtree(output)
    assert number > 1


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted(SCENES))
def test_any_failing_read_of_finished_work_is_told_and_harms_nothing(tmp_path: Path, forks: Forks, command: str) -> None:
    scene = small_scene(tmp_path, command)
    arguments = scene.arguments
    assert forks.run(tmp_path, *arguments).code == 0
    whole = results(tmp_path / scene.output)
    for number in range(1, 1000):
        failed = forks.run(tmp_path, *arguments, fault=Fault("open", number, errno.EIO))
        if not failed.struck:
            break
        assert failed.code in CODES, f"open {number}: {failed.err}"
        assert not failed.code or "Input/output error" in failed.err, f"open {number}: {failed.err}"
        present = results(tmp_path / scene.output)
        # The record of scores is of each run, which leaves out what it could not read.
        assert [name for name in whole if present.get(name) != whole[name] and name != "blissmask-scores.json"] == [], number
    assert number > 1
    assert results(tmp_path / scene.output) == whole


def small_scene(folder: Path, command: str) -> Scene:
    """Return a scene of one or two items or steps, done one after the other: every call of it fails once."""
    scene = SCENES[command](folder)
    # Networks look at one photo only, which is slow enough.
    left_out = ("two", "three", "four") if command in ("masks", "instance") else ("three", "four")
    for name in scene.inputs if command != "train" else ():
        for path in (folder / name).iterdir():
            if path.stem in left_out:
                path.unlink()
    steps = ("--max-train-steps", "2") if command == "train" else ()
    return replace(scene, arguments=(*scene.arguments, *steps, "--jobs", "1"))


def undisturbed(forks: Forks, folder: Path, arguments: tuple[str, ...], output: Path) -> dict[str, bytes]:
    ended = forks.run(folder, *arguments)
    assert ended.code == 0, ended.err
    whole = results(output)
    shutil.rmtree(output)
    return whole


def can_trace() -> bool:
    return bool(shutil.which("strace")) and not subprocess.run(["strace", "-qq", "true"], capture_output=True, check=False).returncode


@pytest.mark.slow
@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_call_that_the_kernel_fails_is_told_too(tmp_path: Path, call: str) -> None:
    if not can_trace():
        pytest.skip("no strace, or it may not trace here; the tests above do without")
    scene = SCENES["cache"](tmp_path)
    # The first call of each thread: what the main thread writes first is the name of the lock's holder, which is a courtesy.
    traced = ["strace", "-f", "-qq", "-o", "/dev/null", "--seccomp-bpf", "-e", f"trace={call}", "-e", f"inject={call}:error=EIO:when=1"]
    ran = subprocess.run(
        [*traced, sys.executable, "-m", "blissmask", *scene.arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1, ran.stderr
    assert "Input/output error" in ran.stderr
    assert leftovers(tmp_path) == []
