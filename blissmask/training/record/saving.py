"""What a run leaves on disk: LoRA files and training states, and how a state is restored."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from blissmask.errors import BlissmaskError, CacheError, UsageError
from blissmask.training.experts import Learner
from blissmask.training.lora.running_average import RunningAverage
from blissmask.training.optim.arguments import parse_arguments
from blissmask.training.optim.optimizer import OptimizerOptions
from blissmask.training.optim.optimizer_state import pack_optimizer, restore_optimizer
from blissmask.training.optim.rehearsal import refuse_unusable_state
from blissmask.training.record.item_losses import ItemLosses
from blissmask.training.record.states.load import SavedState, is_whole_number, restore_parameters
from blissmask.training.record.states.save import TrainingState, save_state

DATA = "data"
"""The setting that tells one data set from another."""
FILES_OF_BEFORE = "files_of_before"
"""Among the settings of a state: names of LoRA files that an earlier run left, and this one has not replaced."""
RANKINGS = "ranking"
"""The folder of the rankings of all trainings, in the output folder."""
_MOST_NAME_BYTES = 190
"""Of `output_name`: the name of an expert's state has 59 bytes more while it is written, and a file name has 255."""
_ITEMS = "items"
"""Losses of the items in the numbers of a state."""
_ENDING = r"(?P<average>-ema)?(?:-step(?P<step>[0-9]{8}))?"
"""What the names of LoRA files have behind that of the training; as :meth:`Outputs.lora_files` writes them."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """Names of the files of one run.

    Attributes:
        folder: output folder.
        run_name: of states and logs, e.g. ``kyla`` or ``kyla-low``.
        lora_names: of the LoRA of each learner, in order; one name when they share it.
        averaged: whether each LoRA has a file of its running average, too.
    """

    folder: Path
    run_name: str
    lora_names: tuple[str, ...]
    averaged: bool = False

    @property
    def likeness(self) -> Path:
        """Return the file of how alike the faces in previews are."""
        return self.folder / f"{self.run_name}-likeness.jsonl"

    @property
    def log(self) -> Path:
        """Return the file of step numbers."""
        return self.folder / f"{self.run_name}-log.jsonl"

    @property
    def curve(self) -> Path:
        """Return the picture of the log."""
        return self.folder / f"{self.run_name}-loss.png"

    @property
    def page(self) -> Path:
        """Return the page of the run."""
        return self.folder / f"{self.run_name}.html"

    @property
    def ranking(self) -> Path:
        """Return the folder of the rankings; other trainings of the output folder have their own beside it."""
        return self.folder / RANKINGS / self.run_name

    def tracker_folder(self, logging_dir: Path | None) -> Path:
        """Return the folder of the files of trackers: in ``logging_dir`` where one was chosen."""
        return (logging_dir or self.folder / "logs") / self.run_name

    def lora_files(self, step: int | None = None) -> list[Path]:
        """Return the LoRA files of a step, or the final ones."""
        return self._files(self.lora_names, step)

    def average_files(self, step: int | None = None) -> list[Path]:
        """Return the files of the running averages of a step, or the final ones, in the same order; may be empty."""
        return self._files([f"{name}-ema" for name in self.lora_names], step) if self.averaged else []

    def earlier_files(self, *, without: Collection[str] = ()) -> list[tuple[int, Path]]:
        """Return the LoRA files of earlier steps that are in the folder, each with its step, in order.

        Those of running averages are not among them, nor those whose names are in ``without``.
        """
        found = []
        for path in self.folder.glob("*.safetensors"):
            name = self.parse_lora(path.stem)
            if name is not None and name.step is not None and not name.is_average and path.name not in without:
                found.append((name.step, path))
        return sorted(found)

    def files_of_before(self) -> set[str]:
        """Return the names of the LoRA files that a run that starts anew finds, but for those that it will replace."""
        replaced = {*self.lora_files(), *self.average_files()}
        there = (path for path in self.folder.glob("*.safetensors") if path not in replaced)
        return {path.name for path in there if self.parse_lora(path.stem) is not None}

    def parse_lora(self, stem: str) -> LoraName | None:
        """Return what the name of a LoRA file, without its suffix, says; None where it is not of this run."""
        ours = "|".join(map(re.escape, self.lora_names))
        match = re.fullmatch(f"(?P<lora>{ours}){_ENDING}", stem)
        if match is None:
            return None
        step = match["step"]
        return LoraName(match["lora"], None if step is None else int(step), match["average"] is not None)

    def _files(self, names: Sequence[str], step: int | None) -> list[Path]:
        suffix = "" if step is None else f"-step{step:08d}"
        return [self.folder / f"{name}{suffix}.safetensors" for name in names]


@dataclass(frozen=True, slots=True)
class LoraName:
    """The name of a LoRA file of a run.

    Attributes:
        lora: of which LoRA, one of ``Outputs.lora_names``.
        step: after which it was saved; None for the final one.
        is_average: whether it is a running average.
    """

    lora: str
    step: int | None
    is_average: bool


def refuse_all_but_plain_name(name: str) -> None:
    """Raise UsageError for an ``output_name`` that cannot be the beginning of file names."""
    if not name or Path(name).name != name or name.startswith("."):
        raise UsageError(
            f"`output_name` must be a plain file name without suffix, got `{name}`", fix="give folders as `output_dir`"
        )


def _refuse_output_name(name: str) -> None:
    """Raise UsageError for an ``output_name`` after which the files of a training cannot be called."""
    refuse_all_but_plain_name(name)
    if len(os.fsencode(name)) > _MOST_NAME_BYTES:
        what = f"`output_name` has {len(os.fsencode(name))} bytes, and {_MOST_NAME_BYTES} are possible"
        raise UsageError(what, fix="shorten it: files are called after it, with the step and more behind it")


def output_names(
    folder: Path, name: str, *, all_experts: int, trained: Sequence[str], shared: bool, averaged: bool = False
) -> Outputs:
    """Return the names of a run's files.

    Args:
        folder: output folder.
        name: ``output_name``.
        all_experts: how many experts the family has.
        trained: names of those that are trained.
        shared: whether they share one LoRA.
        averaged: whether running averages are kept.

    Raises:
        UsageError: ``name`` cannot be the beginning of a file name, or is too long for it.
    """
    _refuse_output_name(name)
    if all_experts == 1:
        return Outputs(folder, name, (name,), averaged)
    if len(trained) == 1:
        return Outputs(folder, f"{name}-{trained[0]}", (f"{name}-{trained[0]}",), averaged)
    lora_names = (name,) if shared else tuple(f"{name}-{expert}" for expert in trained)
    return Outputs(folder, name, lora_names, averaged)


def save_run_state(
    outputs: Outputs,
    learners: Sequence[Learner],
    *,
    step: int,
    settings: Mapping[str, Any],
    losses: ItemLosses,
    keep_last: int | None,
    anew: bool = False,
) -> Path:
    """Publish a training state after ``step`` steps and return its folder.

    Args:
        outputs: where.
        learners: all of the run.
        step: optimiser steps done.
        settings: what must be, or should be, the same when the run is resumed.
        losses: of the items.
        keep_last: states to keep; None for all that are there.
        anew: see ``states.save.save_state``.
    """
    tensors: dict[str, Mapping[str, Tensor]] = {}
    numbers: dict[str, Any] = {"settings": dict(settings), _ITEMS: losses.numbers()}
    for learner in _with_own_lora(learners):
        suffix = f"-{learner.name}" if learner.name else ""
        tensors[f"lora{suffix}"] = {name: parameter.detach() for name, parameter in learner.lora.named_parameters()}
        tensors[f"optimizer{suffix}"], numbers[f"optimizer{suffix}"] = pack_optimizer(learner.optimizer)
        # Everything else of a schedule is made from the settings.
        numbers[f"scheduler{suffix}"] = learner.scheduler.last_epoch
        if learner.average is not None:
            tensors[f"ema{suffix}"] = learner.average.tensors()
            numbers[f"ema{suffix}"] = learner.average.updates
    state = TrainingState(step, numbers, tensors)
    return save_state(outputs.folder, outputs.run_name, state, keep_last=keep_last, anew=anew)


def restore_run_state(
    state: SavedState, learners: Sequence[Learner], options: OptimizerOptions, losses: ItemLosses
) -> None:
    """Bring every learner, and the losses of the items, to where ``state`` was saved.

    Learning rate, schedule and options of the optimiser stay as they are now.

    Args:
        state: where to go on.
        learners: as the options of now make them.
        options: of the optimiser now.
        losses: of the items.

    Raises:
        CacheError: the state is of another LoRA, does not fit, or cannot be read.
    """
    try:
        _restore(state, learners, options)
        losses.restore(state.numbers.get(_ITEMS))
    except BlissmaskError as error:
        problem = error.as_one()
        fix = problem.fix or "remove it to continue from an older one, or begin again with `--no-resume`"
        raise CacheError(problem.what, where=problem.where or [state.path], fix=fix) from error


def _restore(state: SavedState, learners: Sequence[Learner], options: OptimizerOptions) -> None:
    tensors = state.tensors()
    before = state.settings.get("optimizer_args", [])
    own = {"weight_decay", *_names(options.arguments), *_names(before)}
    for learner in _with_own_lora(learners):
        suffix = f"-{learner.name}" if learner.name else ""
        restore_parameters(learner.lora.named_parameters(), tensors.get(f"lora{suffix}", {}))
        remembered, kept = state.numbers.get(f"optimizer{suffix}"), tensors.get(f"optimizer{suffix}", {})
        steps = state.numbers.get(f"scheduler{suffix}")
        if not isinstance(remembered, dict) or not is_whole_number(steps, most=state.step):
            raise CacheError("the training state holds no optimiser or no schedule for this run")
        restore_optimizer(learner.optimizer, learner.scheduler, kept, remembered, steps=steps, options=own)
        refuse_unusable_state(learner.optimizer, options)
        if learner.average is not None:
            _restore_average(
                learner.average, tensors.get(f"ema{suffix}"), state.numbers.get(f"ema{suffix}"), state.step
            )


def _names(arguments: Sequence[str]) -> list[str]:
    return list(parse_arguments(arguments, option="optimizer_args"))


def _restore_average(
    average: RunningAverage, tensors: Mapping[str, Tensor] | None, updates: object, most_updates: int
) -> None:
    """Go on with the average of a state; one of a run that kept none lets it begin with the weights of now.

    Raises:
        CacheError: the state holds an average that is not of this LoRA.
    """
    if tensors is None and updates is None:
        average.restart()
        return
    if tensors is None or not is_whole_number(updates, most=most_updates):
        raise CacheError("the training state does not hold the whole running average of the LoRA")
    restore_parameters(list(average.tensors().items()), tensors)
    average.updates = updates


def compare_settings(saved: Mapping[str, Any], wanted: Mapping[str, Any], *, fixed: Sequence[str]) -> list[str]:
    """Return what changed since a state was saved, one line each. Settings that the state does not hold do not count.

    Raises:
        UsageError: one of ``fixed`` changed: the state cannot be continued.
    """
    changed = {
        name: _change(name, saved.get(name), value) for name, value in wanted.items() if saved.get(name, value) != value
    }
    broken = [line for name, line in changed.items() if name in fixed]
    if broken:
        raise UsageError(
            "the training state was made with other settings, so training cannot go on from it",
            where=broken,
            fix="set them back, choose another `output_name`, or start anew with `--no-resume`",
        )
    return list(changed.values())


def _change(name: str, before: Any, now: Any) -> str:
    if name == DATA:
        return "the cache holds other photos, captions or masks"
    was, is_now = ("not set" if value is None else value for value in (before, now))
    return f"`{name}` was {was}, is {is_now}"


def _with_own_lora(learners: Sequence[Learner]) -> list[Learner]:
    seen: set[int] = set()
    own = []
    for learner in learners:
        if id(learner.optimizer) not in seen:
            seen.add(id(learner.optimizer))
            own.append(learner)
    return own
