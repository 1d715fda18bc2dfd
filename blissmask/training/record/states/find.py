"""Finding the training states of an output, and which of them are whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from blissmask.training.record.states.faults import fault_of, states_unreadable
from blissmask.training.record.states.folders import state_steps
from blissmask.training.record.states.replace import first_of_replacing


@dataclass(frozen=True, slots=True)
class FoundStates:
    """The states of one output name.

    Attributes:
        newest: the whole state of the most steps; None where there is none.
        whole: (steps, folder) of every whole state, by steps.
        damaged: folders of states that are not as they were written -> what is wrong with each.
    """

    newest: Path | None
    whole: tuple[tuple[int, Path], ...]
    damaged: Mapping[Path, str]


def find_states(folder: Path, name: str) -> FoundStates:
    """Find the training states of output ``name``.

    A state is whole when all of its files, and no others, have the size and hash with which they were written.

    Args:
        folder: output folder.
        name: of the output.

    Raises:
        MachineError: a drive fails, or the rights forbid to look. That is not taken for damage, which would let the
            training begin anew.
    """
    try:
        steps = state_steps(folder, name)
        first = first_of_replacing(folder, name)
        if first is not None and not fault_of(first):
            # A run that started anew was killed before it had removed the states that it replaces.
            steps = {first: steps[first]}
        faults = {path: fault_of(path) for path in steps}
    except OSError as error:
        raise states_unreadable(error, folder) from error
    whole = tuple(sorted((steps[path], path) for path, fault in faults.items() if not fault))
    damaged = {path: fault for path, fault in faults.items() if fault}
    return FoundStates(newest=whole[-1][1] if whole else None, whole=whole, damaged=damaged)


def state_folders(folder: Path, name: str) -> list[Path]:
    """Return the folders with the name of a state of output ``name``, whole or not, by steps.

    Raises MachineError when the output folder cannot be listed.
    """
    try:
        return list(state_steps(folder, name))
    except OSError as error:
        raise states_unreadable(error, folder) from error
