"""networks/batching.py: pictures of several threads go through the network together."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from blissmask.errors import MachineError, ModelError
from blissmask.networks.batching import BatchedNetwork

PATIENCE = 300.0
"""Most seconds that a thread waits for another: only one that never comes takes longer."""


def picture(value, side=2):
    return np.full((3, side, side), value, np.float32)


def network_of(sizes, *, loads=None):
    def load():
        if loads is not None:
            loads.append(1)

        def first_values(pixels_B3hw):
            sizes.append(len(pixels_B3hw))
            return [float(pixels[0, 0, 0]) for pixels in pixels_B3hw]

        return first_values

    return load


def test_results_come_in_the_order_of_the_pictures():
    sizes = []
    assert BatchedNetwork(network_of(sizes), batch_size=2).run([picture(1), picture(2), picture(3)]) == [1, 2, 3]
    assert sizes == [2, 1]


def test_only_pictures_of_one_size_share_a_batch():
    sizes = []
    pictures = [picture(1), picture(2, side=4), picture(3), picture(4, side=4)]
    assert BatchedNetwork(network_of(sizes), batch_size=4).run(pictures) == [1, 2, 3, 4]
    assert sizes == [2, 2]


def test_network_is_loaded_once_and_not_before_the_first_picture():
    loads = []
    network = BatchedNetwork(network_of([], loads=loads), batch_size=1)
    assert not loads
    network.run([picture(1)])
    network.run([picture(1)])
    assert loads == [1]


def test_pictures_that_wait_are_taken_along():
    sizes, started, release = [], threading.Event(), threading.Event()

    def slow(pixels_B3hw):
        sizes.append(len(pixels_B3hw))
        started.set()
        release.wait(PATIENCE)
        return [float(pixels[0, 0, 0]) for pixels in pixels_B3hw]

    network = BatchedNetwork(lambda: slow, batch_size=3)
    with ThreadPoolExecutor(4) as threads:
        results = [threads.submit(network.run, [picture(0)])]
        started.wait(PATIENCE)
        results += [threads.submit(network.run, [picture(value)]) for value in (1, 2, 3)]
        while len(network._waiting) < 3:
            pass
        release.set()
        assert [result.result(PATIENCE) for result in results] == [[0], [1], [2], [3]]
    assert sizes == [1, 3]


def test_every_thread_of_a_failed_batch_learns_of_it():
    def broken():
        raise ModelError("no such weights")

    network = BatchedNetwork(broken, batch_size=4)
    with ThreadPoolExecutor(4) as threads:
        results = [threads.submit(network.run, [picture(value)]) for value in range(4)]
        for result in results:
            with pytest.raises(ModelError, match="no such weights"):
                result.result(PATIENCE)


def test_network_that_cannot_be_loaded_is_not_tried_again():
    loads = []

    def broken():
        loads.append(1)
        raise ModelError("no such weights")

    network = BatchedNetwork(broken, batch_size=1)
    for _ in range(2):
        with pytest.raises(ModelError, match="no such weights"):
            network.run([picture(1)])
    assert loads == [1]


def test_running_out_of_memory_names_the_way_out():
    def too_large(pixels_B3hw):
        raise MemoryError

    with pytest.raises(MachineError) as refusal:
        BatchedNetwork(lambda: too_large, batch_size=1).run([picture(1)])
    assert "--batch-size" in refusal.value.problems[0].fix
