"""Promise 22: Ctrl-C, SIGTERM and SIGHUP finish the item in hand and say how to go on; the second Ctrl-C stops at once."""

import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from tests.builders.pictures import save, write_video
from tests.faults.forks import Forks, Running
from tests.faults.injected import Fault
from tests.faults.scenes import SCENES, results

STOPS = 3
CLIP_FRAMES = 1000
"""So many that a busy machine sends the second signal before half of them are done."""
GO_ON = "run the same command again to continue"
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}

LOCK = ".blissmask.lock.json"


def wait_for_lock(run: Running, output: Path) -> None:
    """Wait until the run itself has begun, which its lock says."""
    run.wait_until((output / LOCK).exists)


def without_early_states(output: Path) -> dict[str, bytes]:
    """Return the results but for training states before the last step: a stop leaves one after the step it came in."""
    return {
        name: content
        for name, content in results(output).items()
        if "-state/" not in name or "-step00000004-state/" in name
    }


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted(SCENES))
def test_a_stop_at_any_moment_has_its_code_and_the_next_run_goes_on(tmp_path: Path, forks: Forks, command: str) -> None:
    scene = SCENES[command](tmp_path)
    started = time.monotonic()
    assert forks.run(tmp_path, *scene.arguments).code == 0
    duration = time.monotonic() - started
    whole = without_early_states(tmp_path / scene.output)
    moments = random.Random(command)
    for number, code in [*CODES.items()] * STOPS:
        # A run that was ended at once leaves its own.
        (tmp_path / scene.output / LOCK).unlink(missing_ok=True)
        run = forks.start(tmp_path, *scene.arguments, "--force")
        wait_for_lock(run, tmp_path / scene.output)
        time.sleep(moments.uniform(0, 0.5) * duration)
        run.signal(number)
        ended = run.wait()
        # The last item may have been in hand already, or all may be done and said, and Python be on its way out.
        finished = ended.code == 0 or (ended.code == -number and "Written " in ended.out)
        assert finished or ended.code == code, ended.err
        assert finished or "to continue" in ended.err
        assert "Traceback" not in ended.err
    ended = forks.run(tmp_path, *scene.arguments)
    assert ended.code == 0, ended.err
    assert without_early_states(tmp_path / scene.output) == whole


@pytest.mark.slow
def test_a_stop_in_the_plan_ends_at_once(tmp_path: Path, forks: Forks) -> None:
    content = save(tmp_path / "0.png", np.zeros((2, 2, 3), dtype=np.uint8)).read_bytes()
    for folder in (tmp_path / "photos", tmp_path / "masks"):
        folder.mkdir()
        for number in range(40):
            (folder / f"{number}.png").write_bytes(content)
    # The plan opens every photo to know its size.
    stop = Fault("open", 20, below="photos", signal=signal.SIGINT)
    arguments = ("to-alpha", "--image-directory", "photos", "--mask-directory", "masks", "--output-directory", "out")
    ended = forks.run(tmp_path, *arguments, fault=stop)
    assert ended.struck
    assert ended.code == 130
    assert ended.err.strip() == f"stopped at once; {GO_ON}"
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_second_stop_does_not_wait_for_a_long_clip(tmp_path: Path, forks: Forks) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (CLIP_FRAMES, 64, 64, 3), dtype=np.uint8)
    write_video(tmp_path / "clips" / "long.avi", frames)
    run = forks.start(tmp_path, "masks", "--input", "clips", "--output", "out", "--jobs", "1")
    wait_for_lock(run, tmp_path / "out")
    run.wait_until(lambda: any((tmp_path / "out" / "long").glob("*.png")))
    run.signal(signal.SIGINT)
    run.wait_until(lambda: "Ctrl-C again stops at once" in run.said())
    run.signal(signal.SIGINT)
    ended = run.wait()
    assert ended.code == 130
    assert "stopped at once" in ended.err
    assert len(list((tmp_path / "out" / "long").glob("*.png"))) < len(frames) // 2
