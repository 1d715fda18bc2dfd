"""Several processes share one cache run: each file has one writer, and counts are exact."""

import json
import os
import socket
import subprocess
import sys

import pytest

from blissmask.tasks.shards import Shard
from tests.builders import mask_folder, photo_folder
from tests.cache_builders import PHOTO_WH, captions, entries

_PROCESS = """
import json, sys
from pathlib import Path
from blissmask.tasks.cache import build_cache
from blissmask.tasks.plan import RunContext
from tests.cache_builders import config
folder = Path(sys.argv[1])
plan = build_cache.plan(config(folder, mask_directory=folder / "masks"))
summary = build_cache.run(plan, RunContext())
print(json.dumps({**summary.to_json(), "locks": len(plan.outputs)}))
"""


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shares_hold_every_item_exactly_once(count):
    items = list(range(20))
    shares = [Shard(rank, count).share(items) for rank in range(count)]
    assert sorted(item for share in shares for item in share) == items


@pytest.mark.slow
def test_two_processes_fill_one_cache_and_agree_on_the_counts(tmp_path):
    photo_folder(tmp_path / "photos", [f"{letter}.png" for letter in "abcde"], size_wh=PHOTO_WH)
    mask_folder(tmp_path / "masks", ["a.png", "c.png", "d.png"], size_wh=PHOTO_WH)
    captions(tmp_path, list("abcde"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _PROCESS, str(tmp_path)],
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    printed = [process.communicate(timeout=240) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], printed
    first, second = (json.loads(out.splitlines()[-1]) for out, _ in printed)
    assert first["mask_sources"] == second["mask_sources"] == {"alpha": 0, "file": 3, "full": 2}
    assert (first["written"], first["locks"], second["locks"]) == (5, 1, 0)
    assert sorted(entries(tmp_path)) == list("abcde")
