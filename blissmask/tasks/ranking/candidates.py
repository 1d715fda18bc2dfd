"""The training that a ranking is of, and the LoRA files that it left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from blissmask.config.model import Config
from blissmask.errors import ModelError, Problem, UsageError
from blissmask.storage.content import file_sha256
from blissmask.storage.ordinary import in_the_way, why_no_file
from blissmask.tasks.train.plan import plan_training
from blissmask.tasks.train.resume import files_of_before
from blissmask.tasks.train.train_plan import TrainPlan
from blissmask.training.lora.file import refuse_unreadable
from blissmask.training.lora.peft_files import alpha_warnings, configs_of
from blissmask.training.record.saving import RANKINGS, LoraName, Outputs
from blissmask.training.record.states.find import find_states
from blissmask.training.record.states.load import load_state

COMMAND = "train"
OUT_OF_THE_WAY = "remove or rename it, or name another `--output-dir`"
"""What to do with something that is not ours where results would go."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A LoRA to look at.

    Attributes:
        name: unique in the ranking.
        files: one for each LoRA of the training; none for the base model.
    """

    name: str
    files: tuple[Path, ...]

    def content(self) -> list[str]:
        """Return the hashes of the files, and of the configurations that say the scale of peft's."""
        return [file_sha256(path) for path in (*self.files, *configs_of(self.files))]


def outputs(config: Config) -> tuple[Path, ...]:
    """Return the folder that is written to: that of the rankings of all trainings, each of which has one in it."""
    return (config.saving.output_dir / RANKINGS,)


def plan_finished(config: Config) -> TrainPlan:
    """Return the plan of a training that is over: nothing is resumed, and no blocks are compiled.

    Raises:
        UsageError: several processes run.
        InputError: a file stands where the folder of the rankings would go.
        BlissmaskError: what planning the training raises.
    """
    saving = config.saving.model_copy(update={"resume": False})
    # A look is too short to pay for compiling.
    memory = config.memory.model_copy(update={"compile": False})
    planned = plan_training(config.model_copy(update={"saving": saving, "memory": memory}))
    if planned.processes.count > 1:
        raise UsageError("a ranking is made by one process", fix="run it without torchrun or accelerate")
    folder = planned.names.ranking
    if folder.exists() and not folder.is_dir():
        raise in_the_way(folder, "the folder of the rankings", fix=OUT_OF_THE_WAY)
    return planned


def saved_loras(names: Outputs) -> list[Candidate]:
    """Return every saved LoRA of a training: steps in order, then the last one, averages behind them.

    What its newest training state knows to be of an earlier run is left out.

    Raises:
        MachineError, CacheError: the states cannot be looked at, or the newest whole one cannot be read.
    """
    newest = find_states(names.folder, names.run_name).newest
    before = set() if newest is None else files_of_before(load_state(newest), names)
    first = names.lora_names[0]
    found: list[tuple[LoraName, Candidate]] = []
    for path in names.folder.glob("*.safetensors"):
        name = names.parse_lora(path.stem)
        if name is None or name.lora != first or path.name in before:
            continue
        files = [names.folder / f"{lora}{path.name.removeprefix(first)}" for lora in names.lora_names]
        if all(file.is_file() for file in files):
            found.append((name, Candidate(path.stem, tuple(files))))
    return [candidate for _, candidate in sorted(found, key=_in_training_order)]


def refuse_none(found: list[Candidate], config: Config, names: Outputs) -> None:
    """Raise UsageError where there is no LoRA to look at, or a file that was named is missing."""
    named = config.ranking.rank_file
    whys = [(path, why_no_file(path, "LoRA file")) for path in named]
    problems = [Problem(why, (str(path),), "correct `--rank-file`") for path, why in whys if why]
    if problems:
        raise UsageError.several(problems)
    if not found:
        raise UsageError(
            "there is no saved LoRA",
            where=[names.folder / f"{name}.safetensors" for name in names.lora_names],
            fix="name the training's `output_dir` and `output_name`, or files with `--rank-file`",
        )


def unreadable_files(candidates: Sequence[Candidate]) -> dict[str, Problem]:
    """Return name -> what is wrong, of those of which a file is damaged or no LoRA; headers alone are read."""
    problems = {}
    for candidate in candidates:
        try:
            for path in candidate.files:
                refuse_unreadable(path)
        except ModelError as error:
            problems[candidate.name] = error.as_one()
    return problems


def scale_warnings(candidates: Sequence[Candidate]) -> list[Problem]:
    """Warn of files whose scale is not known; all of them can be read."""
    return alpha_warnings([path for candidate in candidates for path in candidate.files])


def _in_training_order(found: tuple[LoraName, Candidate]) -> tuple[bool, float]:
    name, _ = found
    # The last LoRA has no step in its name.
    return name.is_average, math.inf if name.step is None else name.step
