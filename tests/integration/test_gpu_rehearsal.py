"""What tests/gpu measures on a card runs here in miniature, so that no minute of a card is lost to a slip."""

import json
import re
import sys
from types import SimpleNamespace

import pytest

from tests.gpu import __main__ as gpu
from tests.gpu import figures, musubi, parts, steps

# The step of musubi-tuner needs its source, which is not here.
MEASURED = [part.name for part in gpu.PARTS if part.name not in ("tests", "musubi")]


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["tests.gpu", "--rehearse", *arguments])
    return gpu.main()


@pytest.mark.slow
# PyTorch's compiler looks at gradients of what is no leaf; see the tests of compiled blocks.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
def test_every_measurement_runs_in_miniature_and_is_in_the_table_and_the_file(
    tmp_path, monkeypatch, capsys, packages_aside
):
    # The least that has a step between the first and the last.
    monkeypatch.setattr(steps, "STEPS", 4)
    assert run(monkeypatch, "--only", *MEASURED, "--json", str(tmp_path / "gpu.json")) == 0
    document, printed = json.loads((tmp_path / "gpu.json").read_text()), capsys.readouterr().out
    assert document["rehearsal"]
    assert all(figure["what"] in printed and figure["result"] in printed for figure in document["figures"])
    measured = [figure for figure in document["figures"] if figure["values"]]
    assert len(measured) == len(document["figures"])
    assert {"step_seconds", "photos_per_second", "seconds"} <= {name for one in measured for name in one["values"]}


def test_what_breaks_is_told_and_the_rest_is_measured(tmp_path, monkeypatch):
    calls = []

    def fail_first(plan, context):
        calls.append(plan)
        if len(calls) == 1:
            raise ValueError("broken")
        for step in range(steps.STEPS):
            context.reporter.emit(steps.Measured(step, {}, steps.STEPS))

    monkeypatch.setattr(steps.train_lora, "run", fail_first)
    assert run(monkeypatch, "--only", "large", "--json", str(tmp_path / "gpu.json")) == 1
    first, second, *_ = json.loads((tmp_path / "gpu.json").read_text())["figures"]
    assert (first["failed"], first["result"]) == (True, "ValueError: broken")
    assert not second["failed"]


def test_a_forecast_that_is_far_off_fails_on_a_card(tmp_path, monkeypatch):
    place = figures.Place(tmp_path, gpu.torch.device("cpu"), deadline=float("inf"))
    monkeypatch.setattr(
        steps, "_train", lambda where, what, model, cache, options, clock: clock.times.extend((0, 1, 2))
    )
    monkeypatch.setattr(figures.Place, "rehearses", False)
    monkeypatch.setattr(steps, "forecast", lambda *given: SimpleNamespace(total=5000, libraries=1000))
    for peak, failed in ((3700, False), (3600, True), (4400, False), (4500, True)):
        monkeypatch.setattr(steps, "peak", lambda device, peak=peak: peak)
        figure = steps._step(place, "photo", steps.MINIATURE, tmp_path, steps.SMALLEST_PHOTO, {})
        assert (figure.failed, "MISSED" in figure.result) == (failed, failed)


def test_time_in_which_nothing_runs_is_waiting(tmp_path):
    clock = steps._BusyClock(gpu.torch.device("cpu"))
    kernel = [(0.0, 10.0), (5.0, 12.0), (20.0, 30.0), (21.0, 22.0)]
    events = [SimpleNamespace(device_type=clock.watched, time_range=SimpleNamespace(start=a, end=b)) for a, b in kernel]
    clock._profile = SimpleNamespace(events=lambda: events)
    assert clock.busy_seconds() == pytest.approx(22e-6)


def test_without_its_source_the_step_of_musubi_tuner_is_skipped(tmp_path):
    place = figures.Place(tmp_path, gpu.torch.device("cpu"), deadline=float("inf"))
    assert [figure.result for figure in musubi.step_beside(place)] == ["skipped: no source was named with --musubi"]


def test_nothing_is_begun_when_the_time_of_a_part_is_spent(tmp_path, monkeypatch):
    monkeypatch.setattr(steps, "_step", lambda *given: pytest.fail("begun"))
    place = figures.Place(tmp_path, gpu.torch.device("cpu"), deadline=0.0)
    assert {figure.result for figure in steps.large_model(place)} == {"skipped: the part's time is spent"}


def test_the_tests_for_a_card_are_where_the_script_looks_for_them():
    texts = [(gpu.Path(gpu.__file__).parents[2] / path).read_text(encoding="utf-8") for path in parts.TESTS]
    words = parts.NEEDS_A_CARD.split(" or ")
    assert all(any(re.search(rf"def test_\w*{word}", text) for word in words) for text in texts)
