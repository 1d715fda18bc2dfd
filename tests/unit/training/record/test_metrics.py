"""Numbers of the steps, and the log that holds them."""

import pytest
import torch

from blissmask.training.record.metrics import MetricBuffer, NonFiniteLossError, StepLog, read_log


def test_numbers_are_read_every_interval_and_in_order():
    seen = []
    buffer = MetricBuffer(3, lambda step, values: seen.append((step, values["loss"])))
    for step in (1, 2):
        buffer.add(step, {"loss": torch.tensor(float(step))})
    assert seen == []
    buffer.add(3, {"loss": torch.tensor(3.0)})
    assert seen == [(1, 1.0), (2, 2.0), (3, 3.0)]


def test_slow_steps_are_read_as_they_come():
    """Ten steps of a 14B clip are minutes."""
    seen, seconds = [], iter([0.0, 0.5, 1.9, 2.1, 2.2, 2.3, 4.2])
    buffer = MetricBuffer(10, lambda step, _: seen.append(step), patience=2.0, clock=lambda: next(seconds))
    received = []
    for step in range(1, 5):
        buffer.add(step, {"loss": torch.tensor(1.0)})
        received.append(list(seen))
    assert received == [[], [], [1, 2, 3], [1, 2, 3]]


def test_reading_many_steps_is_one_transfer(monkeypatch):
    transfers = []
    genuine = torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: (transfers.append(tensor.dtype), genuine(tensor))[1])
    seen = []
    buffer = MetricBuffer(3, lambda step, values: seen.append(values))
    for step in range(3):
        buffer.add(step, {"loss": torch.tensor(step + 0.5), "lr": 0.25, "norm/limited": torch.tensor(step)})
    assert transfers == [torch.float32]
    assert seen == [{"loss": step + 0.5, "lr": 0.25, "norm/limited": step} for step in range(3)]


def test_a_loss_that_is_not_finite_stops_after_the_steps_before_it_were_received():
    seen = []
    buffer = MetricBuffer(10, lambda step, _: seen.append(step))
    buffer.add(1, {"loss": torch.tensor(1.0)})
    buffer.add(2, {"loss": torch.tensor(float("inf"))})
    with pytest.raises(NonFiniteLossError, match="step 2"):
        buffer.flush()
    assert seen == [1]


def test_a_log_goes_on_after_the_step_it_is_resumed_at(tmp_path):
    path = tmp_path / "log.jsonl"
    log = StepLog(path, keep_until=0)
    for step in (1, 2, 3):
        log.write(step, {"loss": 1 / 3})
    path.write_text(path.read_text() + '{"step": 4, "lo')
    StepLog(path, keep_until=2).write(3, {"loss": 0.5})
    assert read_log(path) == [
        {"step": 1, "loss": 0.33333333},
        {"step": 2, "loss": 0.33333333},
        {"step": 3, "loss": 0.5},
    ]


def test_a_new_run_begins_a_new_log(tmp_path):
    StepLog(tmp_path / "log.jsonl", keep_until=0).write(1, {"loss": 1.0})
    StepLog(tmp_path / "log.jsonl", keep_until=0)
    assert read_log(tmp_path / "log.jsonl") == []
