"""Several processes share one cache run: each file has one writer, and counts are exact."""

import json
import sys
from collections import Counter

import pytest

from blissmask.processes import Processes
from tests.builders.cache import FRAMES, PHOTO_WH, captions, entries, on_videos, video_folder
from tests.builders.pictures import mask_folder, photo_folder
from tests.builders.torchrun import run_worker

WORKER = """
import json, os, sys
from pathlib import Path
from blissmask.dataset import frame_source
from blissmask.tasks.cache.plan import plan as plan_cache
from blissmask.tasks.cache.run import run as run_cache
from blissmask.tasks.run.plan import RunContext
from tests.builders.cache import config
folder, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
decoded = []
whole = frame_source.read_frames
def counted(path, indices):
    for frame in whole(path, indices):
        decoded.append(path.name)
        yield frame
frame_source.read_frames = counted
plan = plan_cache(config(folder, **settings))
summary = run_cache(plan, RunContext(jobs=2))
threads = [Path(task, "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
counts = {**summary.to_json(), "locks": len(plan.outputs), "decoded": decoded, "threads": threads}
(folder / f"process-{os.environ['RANK']}.json").write_text(json.dumps(counts))
"""


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shares_hold_every_item_exactly_once(count):
    items = list(range(20))
    shares = [Processes(rank, count).share(items) for rank in range(count)]
    assert sorted(item for share in shares for item in share) == items


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_what_belongs_together_comes_to_one_process(count):
    items = [
        (name, number)
        for name, clips in (("film", 12), ("short", 1), ("trailer", 3), ("scene", 4))
        for number in range(clips)
    ]
    shares = [Processes(rank, count).share(items, together=lambda item: item[0]) for rank in range(count)]
    assert sorted(item for share in shares for item in share) == sorted(items)
    assert all(
        len({rank for rank, share in enumerate(shares) for item in share if item[0] == name}) == 1 for name, _ in items
    )


def test_photos_are_shared_evenly():
    shares = [Processes(rank, 3).share(range(10), together=lambda item: item) for rank in range(3)]
    assert sorted(map(len, shares)) == [3, 3, 4]


def test_a_long_film_leaves_the_rest_to_the_other_process():
    items = ["film"] * 9 + ["a", "b", "c"]
    assert [Processes(rank, 2).share(items, together=str) for rank in range(2)] == [["film"] * 9, ["a", "b", "c"]]


@pytest.mark.slow
def test_two_processes_fill_one_cache_and_agree_on_the_counts(tmp_path):
    photo_folder(tmp_path / "photos", [f"{letter}.png" for letter in "abcde"], size_wh=PHOTO_WH)
    mask_folder(tmp_path / "masks", ["a.png", "c.png", "d.png"], size_wh=PHOTO_WH)
    captions(tmp_path, list("abcde"))
    # In processes of their own, since how they end is looked at, too.
    first, second = in_two_processes("torchrun", tmp_path, sys.executable, mask_directory=str(tmp_path / "masks"))
    assert first["mask_sources"] == second["mask_sources"] == {"alpha": 0, "file": 3, "full": 2}
    assert (first["written"], first["locks"], second["locks"]) == (5, 1, 0)
    assert sorted(entries(tmp_path)) == list("abcde")
    # Threads of a connection that outlives the run can abort the process while Python ends.
    assert not [name for name in first["threads"] + second["threads"] if "gloo" in name]


@pytest.mark.slow
def test_two_processes_decode_each_video_once_and_count_every_clip(tmp_path, warm_python):
    video_folder(tmp_path, "a", "b", "c")
    settings = on_videos(tmp_path, frame_extraction="slide", video_directory=str(tmp_path / "videos"))
    first, second = in_two_processes("accelerate", tmp_path, warm_python, **settings)
    assert first["written"] == second["written"] == 3 * (FRAMES - 5 + 1)
    assert Counter(first["decoded"]) + Counter(second["decoded"]) == dict.fromkeys(("a.avi", "b.avi", "c.avi"), FRAMES)
    assert first["decoded"]
    assert second["decoded"]


def in_two_processes(launcher, folder, python, **settings):
    """Plan and run in two processes at once; return what each counted.

    The launcher fails when one of its processes does, also when that is aborted after its work is done.
    """
    done = run_worker(WORKER, folder, settings, launcher=launcher, python=python)
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"process-{rank}.json").read_text()) for rank in range(2)]
