"""Plan a ranking: the LoRA files, the prompts, and the faces to compare with."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from blissmask.config.model import Config
from blissmask.errors import Problem, UsageError
from blissmask.storage.seen import states_of
from blissmask.tasks.run.plan import Action, Plan, PlannedItem
from blissmask.tasks.train import plan as training
from blissmask.tasks.train.previews.plan import PreviewPlan
from blissmask.tasks.train.saving.page.rankings import FOLDER
from blissmask.training.record.saving import Outputs

COMMAND = "train"
BASE = "base"
"""What pictures of the model without a LoRA are called."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A LoRA to rank.

    Attributes:
        name: unique in the ranking, and the beginning of its pictures' names.
        files: one for each LoRA of the training; none for the base model.
    """

    name: str
    files: tuple[Path, ...]


@dataclass(slots=True, kw_only=True)
class RankPlan(Plan):
    """What a ranking does.

    Attributes:
        training: the training that the LoRA are of: model, cache and prompts.
        previews: what is drawn.
        candidates: to rank, in the order of the training.
        folder: of the pictures and the results.
    """

    training: training.TrainPlan
    previews: PreviewPlan
    candidates: tuple[Candidate, ...]
    folder: Path


def outputs(config: Config) -> tuple[Path, ...]:
    """Return the folder that is written to."""
    return (config.saving.output_dir / FOLDER,)


def plan(config: Config) -> RankPlan:
    """Find the LoRA files, and plan what is drawn with them.

    Raises:
        UsageError: there are no prompts or no LoRA files, nothing to rank by, or several processes.
        BlissmaskError: what planning the training raises.
    """
    if not (config.previews.sample_prompts or config.previews.prompts):
        raise UsageError("`--rank-loras` needs prompts to draw", fix="name a file of them with `--sample-prompts`")
    # Any time will do for the plan: a ranking draws at none of the training's.
    previews = config.previews.model_copy(update={"sample_at_first": True})
    saving = config.saving.model_copy(update={"resume": False})
    planned = training.plan_training(config.model_copy(update={"previews": previews, "saving": saving}))
    if planned.processes.count > 1:
        raise UsageError("a ranking is made by one process", fix="run it without torchrun or accelerate")
    if planned.likeness is None and not planned.data.held_out:
        raise UsageError(
            "there is nothing to rank by: no photo of the subject, and nothing is held out",
            fix="name photos with `--likeness-reference`, or set `validation_split` as for the training",
        )
    assert planned.previews is not None
    candidates = _candidates(config, planned.names)
    folder = config.saving.output_dir / FOLDER
    return RankPlan(
        command=COMMAND,
        items=[_item(candidate, folder) for candidate in candidates],
        outputs=outputs(config),
        warnings=[*planned.previews.warnings, *_unjudged(planned)],
        training=planned,
        previews=planned.previews,
        candidates=tuple(candidates),
        folder=folder,
    )


def _unjudged(planned: training.TrainPlan) -> list[Problem]:
    if planned.likeness is not None:
        return []
    fix = "name photos of the subject with `--likeness-reference`"
    return [Problem("likeness is not measured, so the LoRA are ranked by the loss of what is held out", fix=fix)]


def _item(candidate: Candidate, folder: Path) -> PlannedItem:
    output = folder / f"{candidate.name}.json"
    return PlannedItem(
        key=candidate.name,
        action=Action.WRITE,
        reason="draw and measure",
        inputs=candidate.files,
        output=output,
        states=states_of(candidate.files, output),
    )


def _candidates(config: Config, names: Outputs) -> list[Candidate]:
    """Return the LoRA to rank.

    Raises:
        UsageError: there are none, or files are named for a training that has several LoRA.
    """
    named = config.ranking.rank_file
    if named and len(names.lora_names) > 1:
        raise UsageError(
            "this training has a LoRA for each expert, and a file is one of them",
            where=list(named),
            fix="leave `--rank-file` out: the pairs of the training are ranked",
        )
    found = [Candidate(path.stem, (path,)) for path in named] or saved_loras(names)
    if not found:
        raise UsageError(
            "there is no LoRA to rank",
            where=[names.folder / f"{name}.safetensors" for name in names.lora_names],
            fix="name the training's `output_dir` and `output_name`, or files with `--rank-file`",
        )
    missing = [path for candidate in found for path in candidate.files if not path.is_file()]
    if missing:
        raise UsageError("there is no such LoRA file", where=missing, fix="correct `--rank-file`")
    stems = [candidate.name for candidate in found]
    if len({*stems, BASE}) <= len(stems):
        raise UsageError(
            f"two files to rank have one name, or one is called `{BASE}`, which stands for the model without a LoRA",
            where=[path for candidate in found for path in candidate.files],
            fix="rename one of them",
        )
    return found


def saved_loras(names: Outputs) -> list[Candidate]:
    """Return every saved LoRA of a training: steps in order, then the last one, averages behind them."""
    first = names.lora_names[0]
    ending = re.compile(re.escape(first) + r"(-ema)?(?:-step(\d{8}))?\.safetensors")
    found = []
    for path in names.folder.glob("*.safetensors"):
        match = ending.fullmatch(path.name)
        if match is None:
            continue
        files = [names.folder / f"{name}{path.name.removeprefix(first)}" for name in names.lora_names]
        if all(file.is_file() for file in files):
            averaged, step = match.groups()
            found.append((bool(averaged), int(step) if step else 10**9, Candidate(path.stem, tuple(files))))
    return [candidate for _, _, candidate in sorted(found, key=_in_training_order)]


def _in_training_order(found: tuple[bool, int, Candidate]) -> tuple[bool, int]:
    return found[:2]
