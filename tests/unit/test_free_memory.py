"""Free memory is what the container may still take, where it has a limit; workers are as many as it is enough for."""

import pytest

from blissmask import free_memory
from blissmask.free_memory import free_cpu_memory, room_in_groups, workers_for
from blissmask.give_back import give_back

GIB = 1 << 30


def group(folder, *, limit, used, cached=0, version=2):
    names = {2: ("max", "current", "inactive_file"), 1: ("limit_in_bytes", "usage_in_bytes", "total_inactive_file")}[
        version
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"memory.{names[0]}").write_text(f"{limit}\n")
    (folder / f"memory.{names[1]}").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 1\n{names[2]} {cached}\n")
    return folder


@pytest.mark.parametrize("version", [1, 2])
def test_what_is_left_below_the_limit_counts_cached_files_as_free(tmp_path, version):
    assert room_in_groups([group(tmp_path, limit=16 * GIB, used=10 * GIB, cached=4 * GIB, version=version)]) == 10 * GIB


def test_the_tightest_limit_decides(tmp_path):
    outer = group(tmp_path, limit=8 * GIB, used=7 * GIB)
    assert room_in_groups([group(tmp_path / "inner", limit=4 * GIB, used=2 * GIB), outer]) == GIB


def test_a_group_without_a_limit_or_that_is_not_there_says_nothing(tmp_path):
    assert room_in_groups([group(tmp_path, limit="max", used=GIB), tmp_path / "elsewhere"]) is None


def test_a_container_that_is_over_its_limit_has_no_room(tmp_path):
    assert room_in_groups([group(tmp_path, limit=GIB, used=2 * GIB)]) == 0


def test_free_memory_is_the_machines_or_the_containers_whichever_is_less(tmp_path, monkeypatch):
    monkeypatch.setattr(free_memory, "_free_of_machine", lambda: 6 * GIB)
    for limit, free in ((4, 3), (32, 6)):
        monkeypatch.setattr(
            free_memory, "_own_groups", lambda limit=limit: [group(tmp_path, limit=limit * GIB, used=GIB)]
        )
        assert free_cpu_memory() == free * GIB


def test_the_memory_of_this_machine_is_found():
    assert free_cpu_memory() > 0


@pytest.mark.parametrize(
    ("cores", "megapixels", "free", "workers"),
    [(16, 12, 16, 16), (16, 48, 4, 8), (16, 48, 2, 4), (2, 48, 64, 2), (8, 170, 0, 1), (8, 0, 0, 8)],
)
def test_workers_are_as_many_as_cores_and_memory_are_enough_for(monkeypatch, cores, megapixels, free, workers):
    monkeypatch.setattr("blissmask.give_back._trim", lambda: print)
    assert workers_for(cores, megapixels * 10**6, free * GIB) == workers


def test_workers_are_fewer_where_memory_is_not_given_back(monkeypatch):
    monkeypatch.setattr("blissmask.give_back._trim", lambda: None)
    assert workers_for(16, 48 * 10**6, 4 * GIB) == 6


def test_memory_is_given_back_after_large_photos_alone(monkeypatch):
    given = []
    monkeypatch.setattr("blissmask.give_back._trim", lambda: given.append)
    give_back(512 * 512)
    assert given == []
    give_back(6000 * 8000)
    assert given == [0]
