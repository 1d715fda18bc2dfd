"""tasks/run/workers.py: bounded, in order, one failure costs one item."""

import threading
from concurrent.futures import Future

import pytest

from blissmask.errors import MachineError, MediaError, MissingPackageError, ModelError, StoppedError
from blissmask.tasks.run.plan import RunContext
from blissmask.tasks.run.workers import work_through

PATIENCE = 300.0
"""Most seconds that a thread waits for another: only one that never comes takes longer."""


def through(items, work, **context):
    return list(work_through(items, work, RunContext(**context), phase="Testing", total=len(items), name=str))


def test_results_come_in_order_whatever_finishes_first():
    later = threading.Event()

    def work(number):
        if number == 0:
            later.wait(PATIENCE)
        else:
            later.set()
        return number * 10

    assert through([0, 1, 2], work, jobs=2) == [(0, 0), (1, 10), (2, 20)]


def test_the_first_failure_ends_the_work_when_that_is_asked_for():
    seen = []

    def work(number):
        if number == 1:
            raise MediaError("broken")
        return number

    results = work_through([0, 1, 2, 3], work, RunContext(fail_fast=True), phase="Testing", total=4, name=str)
    with pytest.raises(MediaError, match="broken"):
        seen.extend(item for item, _ in results)
    assert seen == [0, 1]


def test_failing_item_costs_only_itself():
    def work(number):
        if number == 1:
            raise MediaError("broken")
        return number

    results = through([0, 1, 2], work, jobs=2)
    assert results[0] == (0, 0)
    assert isinstance(results[1][1], MediaError)
    assert results[2] == (2, 2)


def test_a_file_that_the_system_refuses_costs_only_its_item():
    def work(number):
        if number == 1:
            raise PermissionError(13, "Permission denied", "locked/b.png")
        return number

    [_, (_, outcome), last] = through([0, 1, 2], work, jobs=2)
    assert outcome.problems[0].line == "locked/b.png: the file cannot be read: Permission denied"
    assert last == (2, 2)


def test_a_full_disk_ends_the_run():
    def work(number):
        raise OSError(28, "No space left on device", "a.png")

    with pytest.raises(OSError, match="No space left"):
        through([0, 1], work)


@pytest.mark.parametrize("kind", [MachineError, MissingPackageError, ModelError])
def test_what_would_fail_every_item_ends_the_run(kind):
    tried = []

    def work(number):
        tried.append(number)
        raise kind("going on is of no use")

    with pytest.raises(kind):
        through(list(range(100)), work)
    assert len(tried) < 10


def test_our_own_mistake_is_not_taken_for_a_bad_item():
    with pytest.raises(ZeroDivisionError):
        through([0], lambda number: 1 // number)


def test_stop_signal_finishes_what_is_begun_and_reports_the_signal():
    begun = []

    def work(number):
        begun.append(number)
        return number

    done = []
    items = work_through(
        range(100),
        work,
        RunContext(stop_signal=lambda: 15 if len(done) >= 2 else 0),
        phase="Testing",
        total=100,
        name=str,
    )
    with pytest.raises(StoppedError) as stop:
        done.extend(item for item, _ in items)
    assert stop.value.signal_number == 15


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_stop_while_items_are_in_hand_begins_no_other(jobs):
    in_hand, stopped = threading.Barrier(jobs + 1, timeout=PATIENCE), threading.Event()
    begun = []

    def work(number):
        begun.append(number)
        in_hand.wait()
        stopped.wait(PATIENCE)
        return number

    def stop():
        in_hand.wait()
        stopped.set()

    stopper = threading.Thread(target=stop)
    stopper.start()
    done = []
    context = RunContext(jobs=jobs, stop_signal=lambda: 2 if stopped.is_set() else 0)
    with pytest.raises(StoppedError):
        done.extend(item for item, _ in work_through(range(100), work, context, phase="Testing", total=100, name=str))
    stopper.join()
    assert sorted(begun) == done == list(range(jobs))


def test_items_that_wait_are_not_begun_after_the_first_failure(monkeypatch):
    begun, dropped = [], threading.Event()
    cancel = Future.cancel

    def cancel_and_tell(future):
        if cancel(future):
            dropped.set()

    monkeypatch.setattr(Future, "cancel", cancel_and_tell)

    def work(number):
        begun.append(number)
        if number:
            # In hand until the main thread has seen the failure of the first, and dropped what waits.
            dropped.wait(PATIENCE)
        raise MediaError("broken")

    with pytest.raises(MediaError):
        list(work_through(range(100), work, RunContext(fail_fast=True), phase="Testing", total=100, name=str))
    # The thread takes up the next before the main thread sees the failure.
    assert len(begun) <= 2


def test_only_a_few_items_are_read_ahead():
    read = []

    def items():
        for number in range(1000):
            read.append(number)
            yield number

    stream = work_through(items(), lambda number: number, RunContext(jobs=2), phase="Testing", total=1000, name=str)
    next(stream)
    assert len(read) <= 5
    stream.close()
