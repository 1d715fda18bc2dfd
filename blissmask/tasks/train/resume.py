"""Decide where training starts: anew, or from the newest whole training state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from blissmask.config.model import Config
from blissmask.errors import InputError, Problem, UsageError
from blissmask.plurals import counted
from blissmask.tasks.run.plan import Action, PlannedItem, places_of
from blissmask.tasks.train.settings import BASE, FIXED
from blissmask.tasks.train.trial import damaged_real, is_trial, refuse_real_training, trial_files
from blissmask.training.record.saving import FILES_OF_BEFORE, Outputs, compare_settings
from blissmask.training.record.states.find import FoundStates, find_states, state_folders
from blissmask.training.record.states.load import SavedState, load_state

_ANEW = "choose another `--output-name`, or begin again with `--no-resume`"


@dataclass(frozen=True, slots=True)
class Start:
    """Where a run starts, and what it writes.

    Attributes:
        state: the training state to continue from; None starts anew.
        items: the LoRA files to write, or to skip when all is done.
        warnings: what is unusual about this start.
    """

    state: SavedState | None
    items: list[PlannedItem]
    warnings: list[Problem]

    @property
    def writes(self) -> bool:
        """Return whether there is anything to train or to write."""
        return any(item.action is Action.WRITE for item in self.items)


def choose_start(
    names: Outputs, settings: Mapping[str, object], *, total_steps: int, resume: bool, miniature: bool
) -> Start:
    """Decide whether to continue from a training state.

    Args:
        names: of the run's files.
        settings: of this run, to compare with those that the state remembers.
        total_steps: of this run.
        resume: whether to continue where there is a state.
        miniature: whether this is a trial, with a miniature for a base model. A real training replaces what a trial
            left; a trial may not touch what a real training left.

    Raises:
        UsageError: the state was made with settings that cannot change, no state is whole any more, or this is a trial
            and that was none.
        InputError: a folder stands where a file would go, or the state cannot be read.
        MachineError: the states cannot be looked at.
    """
    _refuse_folders(names)
    if miniature:
        refuse_real_training(names)
    if not resume:
        warnings = [*_replaced_states(names), *_left_files(names)]
        return Start(None, _write(names, f"{total_steps} steps"), warnings)
    found = find_states(names.folder, names.run_name)
    if found.newest is None:
        _refuse_lost_states(_faults(found), names)
        warnings = [*_replaced_files(names, miniature=miniature), *_left_files(names)]
        return Start(None, _write(names, f"{total_steps} steps"), warnings)
    state = load_state(found.newest)
    if is_trial(state) and not miniature:
        _refuse_lost_states(damaged_real(found), names)
        return Start(None, _write(names, f"{total_steps} steps"), [_replaced_trial(names)])
    warnings = _damaged_states(found)
    changed = compare_settings(state.settings, settings, fixed=FIXED)
    if state.step >= total_steps and all(path.is_file() for path in _files(names)):
        return Start(state, _skip(names, state.step), [*warnings, _already_trained(names, state, changed)])
    if changed:
        what = f"training goes on from step {state.step} with other settings"
        warnings.append(Problem(what, tuple(changed), f"for a LoRA of these settings alone {_ANEW}"))
    reason = f"{total_steps} steps, going on after {state.step}"
    if state.step >= total_steps:
        reason = f"all of its steps are in the training state of step {state.step}"
    return Start(state, _write(names, reason), warnings)


def resume_hint(config: Config) -> str:
    """Return what to type after a stop: the same command, unless it asked to start anew and would do so again."""
    given = []
    if not config.saving.resume:
        given.append("--no-resume")
    if config.run.force:
        given.append("--force")
    if not given:
        return "run the same command again to continue"
    return f"run the command again without `{' '.join(given)}` to continue; with it the training starts anew"


def refuse_other_base(state: SavedState, identities: Sequence[str]) -> None:
    """Raise UsageError when ``state`` was made on other weights than those of these identities, one an expert."""
    before = state.settings.get(BASE)
    if before is not None and before != list(identities):
        raise UsageError(
            "the training state was made with another base model",
            where=[state.path],
            fix="name the model and the `base_weights` it was made with, choose another `output_name`, "
            "or start anew with `--no-resume`",
        )


def _refuse_folders(names: Outputs) -> None:
    folders = [path for path in (*_files(names), names.log) if path.is_dir()]
    if folders:
        fix = "rename or remove it, or choose another `--output-name`"
        raise InputError("a folder stands where a file of the training would go", where=folders, fix=fix)


def _replaced_states(names: Outputs) -> list[Problem]:
    folders = state_folders(names.folder, names.run_name)
    what = "training starts anew; its first training state replaces those of the earlier run"
    return [Problem(what, places_of(folders))] if folders else []


def files_of_before(state: SavedState | None, names: Outputs) -> set[str]:
    """Return the names of LoRA files of an earlier run than that of ``state``; without one, a run starts anew."""
    if state is None:
        return names.files_of_before()
    left = state.settings.get(FILES_OF_BEFORE)
    return set(map(str, left)) if isinstance(left, list) else set()


def _left_files(names: Outputs) -> list[Problem]:
    left = sorted(names.files_of_before())
    what = "LoRA files of an earlier run stay beside those of this one"
    fix = "move them away if they are no use; the page and rankings of this one leave them out"
    return [Problem(what, places_of([names.folder / name for name in left]), fix)] if left else []


def _replaced_trial(names: Outputs) -> Problem:
    replaced = [*state_folders(names.folder, names.run_name), *(path for path in _files(names) if path.exists())]
    what = "training starts anew: the training before was a trial in miniature; its states and LoRA are replaced"
    return Problem(what, places_of(replaced))


def _replaced_files(names: Outputs, *, miniature: bool) -> list[Problem]:
    if not miniature and trial_files(names):
        return [_replaced_trial(names)]
    there = [path for path in _files(names) if path.exists()]
    what = "there is no training state to go on from, so training starts anew and in the end replaces an earlier LoRA"
    return [Problem(what, places_of(there), "to keep it, choose another `--output-name`")] if there else []


def _refuse_lost_states(faults: Sequence[str], names: Outputs) -> None:
    """Raise UsageError where there are states and none is whole: beginning again would replace what they led to."""
    if faults:
        raise UsageError(
            f"none of the training states of `{names.run_name}` is whole, so the training cannot go on from them",
            where=faults,
            fix=f"put the files back as they were saved, {_ANEW}",
        )


def _damaged_states(found: FoundStates) -> list[Problem]:
    if not found.damaged:
        return []
    newest, _ = found.whole[-1]
    what = f"training states that are not whole are passed over; the newest whole one is of step {newest}"
    return [Problem(what, _faults(found))]


def _faults(found: FoundStates) -> tuple[str, ...]:
    """Return the folders of damaged states, each with what is wrong with it."""
    return tuple(f"{path}: {fault}" for path, fault in found.damaged.items())


def _already_trained(names: Outputs, state: SavedState, changed: Sequence[str]) -> Problem:
    what = f"`{names.run_name}` is already trained for {counted(state.step, 'step')}, so nothing is done"
    where = ("it was trained with other settings:", *changed) if changed else ()
    return Problem(what, where, f"to train on, give more `--max-train-steps`; for another LoRA {_ANEW}")


def _write(names: Outputs, reason: str) -> list[PlannedItem]:
    return [_item(path, Action.WRITE, reason) for path in _files(names)]


def _skip(names: Outputs, steps: int) -> list[PlannedItem]:
    return [_item(path, Action.SKIP, f"already trained for {counted(steps, 'step')}") for path in _files(names)]


def _files(names: Outputs) -> list[Path]:
    return [*names.lora_files(), *names.average_files()]


def _item(path: Path, action: Action, reason: str) -> PlannedItem:
    return PlannedItem(key=path.stem, action=action, reason=reason, output=path)
