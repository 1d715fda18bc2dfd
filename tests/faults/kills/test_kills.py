"""Promises 1 and 2: killed at any moment, a run leaves only whole files, and the next run ends in the same files as an undisturbed one."""

import random
import shutil
import textwrap
import time
from functools import partial
from pathlib import Path

import pytest

from tests.builders.families import CACHE_SUFFIX
from tests.builders.pictures import tree
from tests.faults.forks import Forks, calls_of
from tests.faults.scenes import SCENES, Scene, alike, leftovers, results

KILLS = 10
WRITER_KILLS = 60
WRITER_FILES = 400


@pytest.fixture(params=sorted(SCENES))
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Scene:
    return SCENES[request.param](tmp_path)


def run_undisturbed(forks: Forks, folder: Path, scene: Scene) -> dict[str, bytes]:
    """Return the files of an undisturbed run, whose calls are recorded, and remove them."""
    ended = forks.run(folder, *scene.arguments, recorded=True)
    assert ended.code == 0, ended.err
    whole = results(folder / scene.output)
    shutil.rmtree(folder / scene.output)
    return whole


def assert_finishes(forks: Forks, folder: Path, scene: Scene, whole: dict[str, bytes]) -> None:
    ended = forks.run(folder, *scene.arguments)
    assert ended.code == 0, ended.err
    assert results(folder / scene.output) == whole
    assert leftovers(folder / scene.output) == []


def assert_none_torn(folder: Path, scene: Scene, whole: dict[str, bytes]) -> None:
    """Every file that is there is one of an undisturbed run, byte by byte; a step log grows line by line."""
    for name, content in results(folder / scene.output).items():
        if name.endswith(".jsonl"):
            assert whole[name].startswith(content)
        elif name in whole:
            assert content == whole[name], name
        else:
            assert "step0000000" in name, f"{name} is in no undisturbed run"


@pytest.mark.slow
def test_runs_killed_at_random_finish_like_an_undisturbed_one(tmp_path: Path, forks: Forks, scene: Scene) -> None:
    started = time.monotonic()
    whole = run_undisturbed(forks, tmp_path, scene)
    duration = time.monotonic() - started
    moments = random.Random(scene.arguments[0])
    for _ in range(KILLS):
        run = forks.start(tmp_path, *scene.arguments)
        time.sleep(moments.uniform(0, 0.7) * duration)
        run.kill()
        if (tmp_path / scene.output).exists():
            assert_none_torn(tmp_path, scene, whole)
    assert_finishes(forks, tmp_path, scene, whole)


@pytest.mark.slow
def test_a_kill_at_any_rename_costs_the_item_in_hand_at_most(tmp_path: Path, forks: Forks, scene: Scene) -> None:
    whole = run_undisturbed(forks, tmp_path, scene)
    kinds = alike(calls_of(tmp_path), "rename")
    assert len(kinds) > 1
    # Of items that are alike the first and the last: with nothing finished before, and with everything.
    for fault in [fault for calls in kinds for fault in {calls[0], calls[-1]}]:
        killed = forks.run(tmp_path, *scene.arguments, fault=fault)
        assert (killed.code, killed.struck) == (-9, True)
        assert_none_torn(tmp_path, scene, whole)
        finished = set(written(tmp_path / scene.output))
        before = {name: (tmp_path / scene.output / name).stat().st_mtime_ns for name in finished}
        assert_finishes(forks, tmp_path, scene, whole)
        assert {name: (tmp_path / scene.output / name).stat().st_mtime_ns for name in finished} == before
        shutil.rmtree(tmp_path / scene.output)


def written(folder: Path) -> list[str]:
    """Return the results that no later run touches: records of all items are written anew by every run, and old states removed."""
    return [
        name
        for name in results(folder)
        if name.endswith((".png", f"_{CACHE_SUFFIX}.safetensors", f"_{CACHE_SUFFIX}_te.safetensors"))
    ]


WRITER = textwrap.dedent(
    """
    import pathlib
    from blissmask.storage import atomic, lock
    folder = pathlib.Path("out")
    with lock.writing_to([folder], command="writer"):
        print("begun", flush=True)
        for number in range({files}):
            atomic.write_bytes(folder / f"{{number}}.bin", bytes([number % 256]) * 3000)
    """
)


def has_content(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


@pytest.mark.slow
def test_sixty_kills_of_a_writer_tear_no_file(tmp_path: Path, forks: Forks) -> None:
    moments = random.Random(0)
    for number in range(WRITER_KILLS):
        writer = forks.start(tmp_path, "-c", WRITER.format(files=WRITER_FILES), name=f"run{number}")
        output = tmp_path / f"run{number}.out"
        writer.wait_until(partial(has_content, output))
        time.sleep(moments.uniform(0, 0.1))
        writer.kill()
        for name, content in tree(tmp_path / "out").items():
            assert name.startswith(".") or content == bytes([int(name.removesuffix(".bin")) % 256]) * 3000
    assert forks.run(tmp_path, "-c", WRITER.format(files=1)).code == 0
    assert leftovers(tmp_path) == []
