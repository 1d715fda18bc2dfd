"""The commands that write masks share their items among processes as `cache` does, and count each exactly once."""

import json
import subprocess

import pytest

from tests.builders.command import run_blissmask
from tests.builders.pictures import mask_folder, photo_folder
from tests.builders.torchrun import LAUNCHERS, launched_by

NAMES = [f"{number}.png" for number in range(5)]
ARGUMENTS = ("to-alpha", "--image-directory", "photos", "--mask-directory", "masks", "--output-directory", "out")


@pytest.fixture
def folder(tmp_path):
    """Five photos with masks, one of which is empty."""
    photo_folder(tmp_path / "photos", NAMES, size_wh=(64, 64))
    mask_folder(tmp_path / "masks", NAMES, size_wh=(64, 64))
    return tmp_path


def test_processes_of_a_job_array_do_all_items_once_and_each_counts_its_own(folder):
    written = []
    # One after the other, as a queue may start them: what is finished then is seen by the later ones.
    for rank in range(2):
        ran = run_blissmask(*ARGUMENTS, "--json", cwd=folder, RANK=str(rank), WORLD_SIZE="2")
        assert ran.code == 0, ran.err
        document = json.loads(ran.out)
        assert document["skipped"] == 0
        written.append(document["written"])
    assert sorted(written) == [2, 3]
    assert sorted(path.name for path in (folder / "out").glob("*.png")) == NAMES


@pytest.mark.slow
def test_under_torchrun_the_first_process_counts_what_all_did(folder, warm_python):
    # It fails in the run and not in the plan, which reads headers only.
    whole = (folder / "photos" / "3.png").read_bytes()
    (folder / "photos" / "3.png").write_bytes(whole[:-40])
    command = [warm_python, "-m", *LAUNCHERS["torchrun"], "-m", "blissmask", *ARGUMENTS, "--json"]
    ran = subprocess.run(
        command,
        cwd=folder,
        env=launched_by(warm_python),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    [line] = [line for line in ran.stdout.splitlines() if line.startswith("{")]
    document = json.loads(line)
    assert document["written"] == 4, ran.stderr
    assert [failure["item"] for failure in document["failed"]] == ["3"]
    assert sorted(path.name for path in (folder / "out").glob("*.png")) == [n for n in NAMES if n != "3.png"]
