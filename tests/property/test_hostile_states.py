"""A training state whose manifest fits and whose content does not is continued rightly or refused by name, never a crash."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from blissmask.errors import CacheError, InputError
from blissmask.tasks.train.previews.measure import read_likeness
from blissmask.training.optim.optimizer import (
    OptimizerOptions,
    build_optimizer,
    set_training_mode,
)
from blissmask.training.optim.optimizer_state import pack_optimizer, restore_optimizer
from blissmask.training.optim.rehearsal import refuse_unusable_state
from blissmask.training.optim.schedule import ScheduleOptions, build_scheduler
from blissmask.training.record.metrics import read_log
from blissmask.training.record.states import faults
from blissmask.training.record.states.find import find_states
from blissmask.training.record.states.load import load_state
from blissmask.training.record.states.save import TrainingState, save_state

SHAPES = ((2, 6), (5, 2))
ODD: list[Any] = [None, True, -5, 0, 1, 3.5, 10**400, float("nan"), float("inf"), "", "a", "\0", [], [1], {}, {"a": 1}]


def parameters() -> list[tuple[str, nn.Parameter]]:
    return [(name, nn.Parameter(torch.ones(shape))) for name, shape in zip(("lora_A", "lora_B"), SHAPES, strict=True)]


def trained(options: OptimizerOptions) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return what an optimiser remembers after two steps, through JSON."""
    named = parameters()
    optimizer = build_optimizer(named, options)
    set_training_mode(optimizer, training=True)
    for _ in range(2):
        for _, parameter in named:
            parameter.grad = torch.full_like(parameter, 0.5)
        optimizer.step()
    tensors, numbers = pack_optimizer(optimizer)
    return tensors, json.loads(json.dumps(numbers))


def go_on(options: OptimizerOptions, tensors: dict[str, Tensor], numbers: Any) -> None:
    """Check and restore what was remembered, and take a step from there."""
    named = parameters()
    optimizer = build_optimizer(named, options)
    scheduler = build_scheduler(optimizer, ScheduleOptions(), steps=4)
    restore_optimizer(optimizer, scheduler, tensors, numbers, steps=2, options={"weight_decay"})
    refuse_unusable_state(optimizer, options)
    set_training_mode(optimizer, training=True)
    for _, parameter in named:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    scheduler.step()


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to every value inside ``value``."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in inside for place in places(part, (*path, key)))]


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """Return a copy of ``value`` with ``new`` at ``path``."""
    if not path:
        return new
    result = copy.deepcopy(value)
    owner = result
    for key in path[:-1]:
        owner = owner[key]
    owner[path[-1]] = new
    return result


OPTIMIZERS = {
    "adamw": OptimizerOptions(),
    "lora+": OptimizerOptions(loraplus_lr_ratio=4.0),
    "sgd": OptimizerOptions("SGD", ("momentum=0.9",)),
    "adafactor": OptimizerOptions("adafactor"),
    "prodigy": OptimizerOptions("prodigy"),
    "schedulefree": OptimizerOptions("schedulefree"),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_state_of_ours_goes_on(name: str) -> None:
    go_on(OPTIMIZERS[name], *trained(OPTIMIZERS[name]))


@pytest.mark.filterwarnings("ignore:Casting complex values")
@pytest.mark.parametrize("name", OPTIMIZERS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_numbers_of_an_optimiser_fit_or_are_refused(name: str, data: st.DataObject) -> None:
    tensors, numbers = trained(OPTIMIZERS[name])
    place = data.draw(st.sampled_from(places(numbers)))
    odd = changed(numbers, place, data.draw(st.sampled_from(ODD)))
    with contextlib.suppress(CacheError):
        go_on(OPTIMIZERS[name], tensors, odd if isinstance(odd, dict) else {})


def odd_tensors(tensor: Tensor) -> list[Tensor]:
    return [
        torch.zeros(()),
        torch.zeros(0),
        torch.zeros(3, 3),
        torch.zeros(7),
        tensor.to(torch.int64),
        tensor.to(torch.complex64),
        tensor.unsqueeze(0),
    ]


@pytest.mark.filterwarnings("ignore:Casting complex values")
@pytest.mark.parametrize("name", OPTIMIZERS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_tensors_of_an_optimiser_fit_or_are_refused(name: str, data: st.DataObject) -> None:
    tensors, numbers = trained(OPTIMIZERS[name])
    names = sorted(tensors)
    which = data.draw(st.sampled_from(names))
    other = data.draw(
        st.sampled_from([which, "", "group", "group.x.lr", "group.9.lr", "9.exp_avg", "-1.x", "x", "0", "\u0663.x"])
    )
    odd = dict(tensors)
    value = odd.pop(which)
    if data.draw(st.booleans()):
        odd[other] = data.draw(st.sampled_from(odd_tensors(value)))
    with contextlib.suppress(CacheError):
        go_on(OPTIMIZERS[name], odd, numbers)


def write_state(folder: Path, state: Any) -> Path:
    """Write a state of step 7 whose ``state.json`` is ``state`` (a value, or bytes) and whose manifest fits."""
    path = save_state(folder, "kyla", TrainingState(7, {}, {"lora": {"a": torch.ones(2)}}), keep_last=2)
    content = state if isinstance(state, bytes) else json.dumps(state).encode()
    (path / "state.json").write_bytes(content)
    manifest = faults.describe(path, ["lora.safetensors", "state.json"])
    (path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert find_states(folder, "kyla").newest == path
    return path


@pytest.mark.parametrize(
    "state",
    [
        *ODD,
        *({"files": [], "step": value} for value in ODD if value is not True),
        *({"step": 7, "files": value} for value in ODD if value != []),
        *({"files": [], "step": 7, "settings": value} for value in ODD if value not in ({}, {"a": 1}) or value == []),
        {"files": [], "step": 7, "settings": {"optimizer_args": "betas=0.9,0.99"}},
        {"files": [], "step": 7, "settings": {"optimizer_args": [1]}},
        {"files": [], "step": 8},
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"step": ' + b"9" * 5000 + b"}",
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_state_that_says_odd_things_is_refused_by_its_file(tmp_path: Path, state: Any) -> None:
    path = write_state(tmp_path, state)
    with pytest.raises(CacheError) as caught:
        load_state(path)
    assert caught.value.problems[0].where == (str(path / "state.json"),)


@pytest.mark.parametrize(
    "manifest", [b"", b"\xff", b"[]", b"[" * 100_000, b'{"state.json": 3}', b'{"state.json": {"size": 1}}']
)
def test_a_manifest_that_is_none_makes_the_state_damaged(tmp_path: Path, manifest: bytes) -> None:
    path = write_state(tmp_path, {"step": 7})
    (path / "manifest.json").write_bytes(manifest)
    assert list(find_states(tmp_path, "kyla").damaged) == [path]
    # Nor is it taken for one of the whole ones when old states are removed.
    later = save_state(tmp_path, "kyla", TrainingState(8, {}, {}), keep_last=1)
    assert find_states(tmp_path, "kyla").newest == later
    assert path.is_dir()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"a\0b", b"../kyla-step00000007-state", b"/", b"x" * 5000])
def test_a_marker_that_names_no_state_hides_none(tmp_path: Path, content: bytes) -> None:
    path = write_state(tmp_path, {"step": 7})
    (tmp_path / ".kyla.blissmask-replaces").write_bytes(content)
    assert find_states(tmp_path, "kyla").newest == path
    later = save_state(tmp_path, "kyla", TrainingState(8, {}, {}), keep_last=2)
    assert [found for _, found in find_states(tmp_path, "kyla").whole] == [path, later]


LINES = [b'{"step": 1, "loss": 2}', b"", b"\xff\xfe", b"[1]", b"3", b"{}", b"[" * 100_000, b'{"step": 1e999}']
LINES += [b'{"step": "1"}', b'{"step": null}', b'{"step": 1, "loss": 1' + b"0" * 400 + b"}"]


@pytest.mark.parametrize("read", [read_log, read_likeness])
@given(lines=st.lists(st.sampled_from(LINES), max_size=4), torn=st.booleans())
def test_a_log_is_read_or_its_file_is_named(
    tmp_path_factory: pytest.TempPathFactory, read: Callable[[Path], object], lines: list[bytes], *, torn: bool
):
    path = tmp_path_factory.mktemp("log") / "kyla-log.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in lines) + (b"\xff{" if torn else b""))
    told = (str(path),)
    try:
        read(path)
    except InputError as error:
        told = error.problems[0].where
    assert told == (str(path),)
