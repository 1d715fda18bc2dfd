"""processes.py: what a process says when it cannot exchange anything."""

import pytest
import torch
import torch.distributed as dist

from blissmask.errors import MachineError
from blissmask.processes import Processes


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
