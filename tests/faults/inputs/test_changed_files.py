"""Promise 26: a file that changes while a command runs costs its item, is named, and is planned anew by the next run."""

import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.faults.forks import Forks, Running
from tests.faults.injected import Fault
from tests.faults.scenes import SCENES, Scene, leftovers, results

pytestmark = pytest.mark.slow
SOME_FAILED = 3
INPUTS = {
    "masks": ("photos/two.png",),
    "instance": ("photos/two.png",),
    "apply": ("masks/two.png", "subject/two.png"),
    "to-alpha": ("photos/two.png", "masks/two.png", "photos/two.txt"),
    "cache": ("photos/two.png", "masks/two.png", "photos/two.txt"),
}
"""What is read for the item that is still to come when the first result gets its name."""
EACH_INPUT = [(command, name) for command, names in INPUTS.items() for name in names]
MASKS = {"masks": "out/two.png", "instance": "out/two.png", "apply": "out/two.png", "to-alpha": "out/two.png"}
"""Results that people retouch."""


def begin(forks: Forks, folder: Path, scene: Scene) -> Running:
    """Start a run that stands still before its first result has its name."""
    standstill = Fault("rename", 2, below=scene.output, signal=signal.SIGSTOP)
    run = forks.start(folder, *scene.arguments, "--jobs", "1", fault=standstill)
    run.wait_until(run.stands_still)
    return run


def change(path: Path) -> None:
    """Put another file in the place of an input: a picture of the same size, or another caption."""
    new = path.with_name(f"new{path.suffix}")
    if path.suffix == ".txt":
        new.write_text("another person\n")
    else:
        with Image.open(path) as picture:
            Image.fromarray(255 - np.asarray(picture)).save(new)
    new.replace(path)


@pytest.mark.parametrize(("command", "name"), EACH_INPUT)
def test_a_changed_input_costs_its_item_and_is_planned_anew(
    tmp_path: Path, forks: Forks, command: str, name: str
) -> None:
    scene = SCENES[command](tmp_path)
    run = begin(forks, tmp_path, scene)
    change(tmp_path / name)
    run.signal(signal.SIGCONT)
    ended = run.wait()
    assert ended.code == SOME_FAILED, ended.err
    assert name in ended.err
    assert "since the run was planned" in ended.err
    assert forks.run(tmp_path, *scene.arguments).code == 0
    again = results(tmp_path / scene.output)
    shutil.rmtree(tmp_path / scene.output)
    assert forks.run(tmp_path, *scene.arguments).code == 0
    assert results(tmp_path / scene.output) == again


@pytest.mark.parametrize(("command", "name"), MASKS.items())
def test_a_result_that_somebody_puts_there_is_not_overwritten(
    tmp_path: Path, forks: Forks, command: str, name: str
) -> None:
    scene = SCENES[command](tmp_path)
    run = begin(forks, tmp_path, scene)
    (tmp_path / name).write_bytes(b"retouched")
    run.signal(signal.SIGCONT)
    ended = run.wait()
    assert ended.code == SOME_FAILED, ended.err
    assert name in ended.err
    assert "a file appeared here since the run was planned" in ended.err
    assert (tmp_path / name).read_bytes() == b"retouched"
    assert leftovers(tmp_path / scene.output) == []


@pytest.mark.parametrize("command", sorted(INPUTS))
def test_an_output_folder_that_vanishes_is_an_error_and_not_made_anew(
    tmp_path: Path, forks: Forks, command: str
) -> None:
    scene = SCENES[command](tmp_path)
    run = begin(forks, tmp_path, scene)
    (tmp_path / scene.output).rename(tmp_path / "moved")
    run.signal(signal.SIGCONT)
    ended = run.wait()
    assert ended.code == 1, ended.err
    assert "the output folder is gone" in ended.err
    assert not (tmp_path / scene.output).exists()
