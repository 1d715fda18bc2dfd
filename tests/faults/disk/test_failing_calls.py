"""Promise 4: whichever open, write, sync or rename fails, the run says so, tears nothing, and the next run ends as an undisturbed one.

Of calls that are alike, the same call on the same kind of file from the same place in the package, one fails, and of writes the
first and the last: a PNG is written in 38 pieces by a library that our code waits for in one place.
"""

import errno
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.faults.forks import Forks, calls_of
from tests.faults.injected import CALLS, Fault
from tests.faults.scenes import SCENES, Scene, alike, leftovers, results

# Nothing lost, the machine's fault, a configuration that cannot be read, or one item's.
CODES = (0, 1, 2, 3)


@dataclass
class Place:
    """A folder with a small scene in it, shared by the tests of one subcommand.

    Attributes:
        folder: the working folder; what is in its output is of the test before.
        arguments: of the command line.
        output: the folder that is written.
        whole: the results of an undisturbed run.
        calls: the kinds of its calls, in their order.
        mended: what failed runs left behind and the next run has made whole already.
    """

    folder: Path
    arguments: tuple[str, ...]
    output: Path
    whole: dict[str, bytes]
    calls: list[str]
    mended: list[tuple[set[str], dict[str, bytes]]] = field(default_factory=list)

    def left_behind(self) -> tuple[set[str], dict[str, bytes]]:
        """Return the names of all files of the output, and the contents of the results."""
        return {str(path) for path in self.output.rglob("*")}, results(self.output)


@pytest.fixture(scope="module", params=sorted(SCENES))
def place(request: pytest.FixtureRequest, forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Place:
    return make_place(forks, tmp_path_factory.mktemp(request.param), request.param)


def make_place(forks: Forks, folder: Path, command: str, *more: str) -> Place:
    scene = small_scene(folder, command)
    arguments, output = (*scene.arguments, *more), folder / scene.output
    ended = forks.run(folder, *arguments, recorded=True)
    assert ended.code == 0, ended.err
    whole = results(output)
    shutil.rmtree(output)
    return Place(folder, arguments, output, whole, calls_of(folder))


def small_scene(folder: Path, command: str) -> Scene:
    """Return a scene of one or two items or steps, done one after the other: every call of it fails once."""
    scene = SCENES[command](folder)
    # Networks look at one photo only, which is slow enough.
    left_out = ("two", "three", "four") if command in ("masks", "instance") else ("three", "four")
    for name in scene.inputs if command != "train" else ():
        for path in (folder / name).iterdir():
            if path.stem in left_out:
                path.unlink()
    # TensorBoard, whose calls are most of a training's and all alike, has a test of its own.
    steps = ("--max-train-steps", "2", "--log-with", "none") if command == "train" else ()
    return replace(scene, arguments=(*scene.arguments, *steps, "--jobs", "1"))


def failing(calls: Sequence[Fault], *, write: bool) -> list[Fault]:
    """Return what is to fail of calls that are alike: the first, and of writes the last too, of another item or near the end."""
    return [
        replace(fault, error=errno.EIO) for fault in ((calls[0], calls[-1]) if write and len(calls) > 1 else calls[:1])
    ]


@pytest.mark.slow
@pytest.mark.parametrize("call", CALLS)
def test_any_failing_call_is_told_and_mended_by_the_next_run(forks: Forks, place: Place, call: str) -> None:
    kinds = alike(place.calls, call)
    assert kinds
    for calls in kinds:
        for fault in failing(calls, write=call == "write"):
            fail_and_mend(forks, place, fault)


@pytest.mark.slow
@pytest.mark.parametrize("call", ["open", "write"])
def test_a_failing_call_of_tensorboard_is_told_and_mended_by_the_next_run(
    forks: Forks, tmp_path: Path, call: str
) -> None:
    place = make_place(forks, tmp_path, "train", "--log-with", "tensorboard")
    # All of them are made by a thread of TensorBoard's, for number after number.
    (calls,) = [kind for kind in alike(place.calls, call) if "tfevents" in kind[0].kind]
    assert len(calls) > 12
    for fault in (calls[0], calls[len(calls) // 2], calls[-1]):
        fail_and_mend(forks, place, replace(fault, error=errno.EIO))


def fail_and_mend(forks: Forks, place: Place, fault: Fault) -> None:
    """Let a call fail and run again."""
    shutil.rmtree(place.output, ignore_errors=True)
    failed = forks.run(place.folder, *place.arguments, fault=fault)
    where = f"{fault}: {failed.err}"
    assert failed.struck, where
    assert failed.code in CODES, where
    if failed.code:
        assert "Input/output error" in failed.err, where
    else:
        assert results(place.output) == place.whole, where
    assert leftovers(place.folder) == [], where
    state = place.left_behind()
    # Of failures that leave the same behind, one is enough to see that the next run mends it.
    if state not in place.mended:
        again = forks.run(place.folder, *place.arguments)
        assert again.code == 0, f"after {where}: {again.err}"
        assert results(place.output) == place.whole, where
        place.mended.append(state)


@pytest.mark.slow
def test_any_failing_read_of_finished_work_is_told_and_harms_nothing(forks: Forks, place: Place) -> None:
    shutil.rmtree(place.output, ignore_errors=True)
    assert forks.run(place.folder, *place.arguments).code == 0
    assert forks.run(place.folder, *place.arguments, recorded=True).code == 0
    kinds = alike(calls_of(place.folder), "open")
    assert kinds
    for calls in kinds:
        (fault,) = failing(calls, write=False)
        failed = forks.run(place.folder, *place.arguments, fault=fault)
        where = f"{fault}: {failed.err}"
        assert failed.struck, where
        assert failed.code in CODES, where
        assert not failed.code or "Input/output error" in failed.err, where
        present = results(place.output)
        # The record of scores is of each run, which leaves out what it could not read.
        assert [
            name for name in place.whole if present.get(name) != place.whole[name] and name != "blissmask-scores.json"
        ] == [], where
    assert forks.run(place.folder, *place.arguments).code == 0
    assert results(place.output) == place.whole


def can_trace() -> bool:
    return (
        bool(shutil.which("strace"))
        and not subprocess.run(["strace", "-qq", "true"], capture_output=True, check=False).returncode
    )


@pytest.mark.slow
@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_call_that_the_kernel_fails_is_told_too(tmp_path: Path, call: str) -> None:
    if not can_trace():
        pytest.skip("no strace, or it may not trace here; the tests above do without")
    scene = SCENES["to-alpha"](tmp_path)
    # The first call of each thread: what the main thread writes first is the name of the lock's holder, which is a courtesy.
    traced = [
        "strace",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "--seccomp-bpf",
        "-e",
        f"trace={call}",
        "-e",
        f"inject={call}:error=EIO:when=1",
    ]
    ran = subprocess.run(
        [*traced, sys.executable, "-m", "blissmask", *scene.arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1, ran.stderr
    assert "Input/output error" in ran.stderr
    assert leftovers(tmp_path) == []
