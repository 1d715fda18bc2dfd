"""processes.py: what a process says when it cannot exchange anything."""

import pytest
import torch
import torch.distributed as dist

from blissmask.errors import MachineError, UsageError
from blissmask.processes import ALONE, Processes, this_process


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"WORLD_SIZE": "3", "RANK": "3"}, "`RANK` must be 0 to 2, got `3`"),
        ({"WORLD_SIZE": "3", "RANK": "-1"}, "`RANK` must be 0 to 2, got `-1`"),
        ({"WORLD_SIZE": "3", "RANK": "1.0"}, "`RANK` must be 0 to 2"),
        ({"WORLD_SIZE": "0", "RANK": "0"}, "`WORLD_SIZE` must be 1 to 1000000, got `0`"),
        ({"WORLD_SIZE": "9" * 5000, "RANK": "0"}, r"got `9{20}\.\.\.`"),
        ({"WORLD_SIZE": "3", "RANK": ""}, "`RANK` is not set"),
        ({"WORLD_SIZE": "3"}, "`RANK` is not set"),
        ({"WORLD_SIZE": "2", "RANK": "0", "LOCAL_WORLD_SIZE": "x"}, "`LOCAL_WORLD_SIZE` must be 1 to 2"),
    ],
)
def test_variables_that_no_process_can_have_are_refused_by_name(monkeypatch, variables, message):
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=message):
        this_process()


@pytest.mark.parametrize("variables", [{}, {"WORLD_SIZE": ""}, {"WORLD_SIZE": "1", "RANK": "0"}, {"RANK": "0"}])
def test_one_process_is_alone(monkeypatch, variables):
    for name in ("WORLD_SIZE", "RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert this_process() == ALONE


def failing_with(error):
    def all_gather_object(*arguments):
        raise error

    return all_gather_object


def test_a_partner_that_died_is_named_and_is_no_bug_of_ours(monkeypatch):
    monkeypatch.setattr(dist, "all_gather_object", failing_with(RuntimeError("Connection closed by peer")))
    with pytest.raises(MachineError, match="another process of this run has ended"):
        Processes(rank=0, count=2).gather(None)


def test_a_full_memory_stays_a_full_memory(monkeypatch):
    monkeypatch.setattr(dist, "all_gather_object", failing_with(torch.OutOfMemoryError("full")))
    with pytest.raises(torch.OutOfMemoryError):
        Processes(rank=0, count=2).gather(None)
