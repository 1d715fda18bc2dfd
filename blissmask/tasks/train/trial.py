"""Keep trials in miniature (`--model tiny`) apart from real trainings: a trial never touches what those made."""

from __future__ import annotations

from pathlib import Path

from blissmask.cachefile.read_file import read_metadata
from blissmask.config.model import Config
from blissmask.errors import CacheError, UsageError
from blissmask.families.files.miniature import is_tiny_identity
from blissmask.families.registry import load_family
from blissmask.tasks.train.rules import run_names
from blissmask.tasks.train.saving.lora_metadata import BASE_HASH
from blissmask.tasks.train.settings import BASE
from blissmask.training.experts import wanted_experts
from blissmask.training.record.saving import Outputs
from blissmask.training.record.states.find import FoundStates, find_states
from blissmask.training.record.states.load import SavedState, load_state


def refuse_trial_over_training(config: Config) -> None:
    """Refuse a trial whose files would replace a real training's, before anything is prepared for it.

    Raises:
        UsageError: as :func:`refuse_real_training`, or the family is not known.
        MachineError, CacheError: as :func:`refuse_real_training`.
    """
    if config.model.arch is None or not config.model.is_tiny:
        return
    family = load_family(config.model.arch).for_task(config.model.task or "")
    refuse_real_training(run_names(config, family, wanted_experts(family.experts, config.train.expert)))


def refuse_real_training(names: Outputs) -> None:
    """Refuse a trial of these names where a real training has left states or LoRA files.

    Raises:
        UsageError: it has; names them.
        MachineError: the states cannot be looked at.
        CacheError: a whole state cannot be read.
    """
    found = find_states(names.folder, names.run_name)
    states = [load_state(path) for _, path in found.whole]
    real, unknown = [str(state.path) for state in states if is_real(state)], damaged_real(found)
    if not real:
        bases = {path: _base_of(path) for path in _lora_files(names) if path.is_file()}
        real = [str(path) for path, base in bases.items() if base and not is_tiny_identity(base)]
        if not states:
            # Beside the state of a trial they are the trial's, with `metadata = false`.
            unknown += [f"{path}: does not say what it was trained on" for path, base in bases.items() if not base]
    if real or unknown:
        is_one = "is" if real else "may be"
        raise UsageError(
            f"`{names.run_name}` {is_one} a real training, and a trial in miniature (`--model tiny`) would replace it",
            where=[*real, *unknown],
            fix="give the trial another `--output-name` or `--output-dir`",
        )


def damaged_real(found: FoundStates) -> list[str]:
    """Return the damaged states that do not say of themselves that a trial left them, each with what is wrong.

    Their files may be put back, so that a trial may no more replace them than whole ones.
    """
    return [f"{path}: {fault}" for path, fault in found.damaged.items() if not _says_trial(path)]


def is_real(state: SavedState) -> bool:
    """Return whether a training state names weights of a base model that is no miniature."""
    identities = _identities(state)
    return bool(identities) and not any(map(is_tiny_identity, identities))


def is_trial(state: SavedState) -> bool:
    """Return whether a training state was made on a miniature."""
    return any(map(is_tiny_identity, _identities(state)))


def _says_trial(damaged: Path) -> bool:
    try:
        return is_trial(load_state(damaged))
    except CacheError:
        # Its numbers are what is damaged.
        return False


def trial_files(names: Outputs) -> list[Path]:
    """Return the LoRA files of these names that a trial left, the final ones and those of earlier steps."""
    return [path for path in _lora_files(names) if path.is_file() and is_tiny_identity(_base_of(path))]


def _lora_files(names: Outputs) -> list[Path]:
    return [*names.lora_files(), *names.average_files(), *(path for _, path in names.earlier_files())]


def _identities(state: SavedState) -> list[str]:
    base = state.settings.get(BASE)
    return [str(identity) for identity in base] if isinstance(base, list) else []


def _base_of(lora: Path) -> str:
    """Return the identity of the weights that a LoRA file was trained on; empty where it does not say it."""
    try:
        return read_metadata(lora).get(BASE_HASH, "")
    except CacheError:
        # Whatever it is, it says nothing of a miniature.
        return ""
