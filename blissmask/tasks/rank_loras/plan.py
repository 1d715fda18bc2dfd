"""Plan a ranking: the LoRA files, the prompts, and the faces to compare with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from blissmask.config.model import Config
from blissmask.errors import ModelError, Problem, UsageError
from blissmask.storage.content import without_links
from blissmask.storage.seen import states_of
from blissmask.tasks.rank_loras.sheet import check_sheet
from blissmask.tasks.ranking.candidates import (
    COMMAND,
    Candidate,
    outputs,
    plan_finished,
    refuse_none,
    saved_loras,
    scale_warnings,
    unreadable_files,
)
from blissmask.tasks.run.plan import Action, Plan, PlannedItem
from blissmask.tasks.train.previews.plan import PreviewPlan
from blissmask.tasks.train.saving.page.rankings import ITEMS, LORAS
from blissmask.tasks.train.train_plan import TrainPlan
from blissmask.training.record.saving import Outputs

BASE = "base"
"""What pictures of the model without a LoRA are called."""
SHEET = "ranking.png"
_TAKEN = {
    BASE: "stands for the model without a LoRA",
    Path(LORAS).stem: "is the file of the results",
    Path(ITEMS).stem: "is the file of `--rank-items`",
}
"""Names of files beside those of the LoRA, and why a LoRA cannot be called so."""


@dataclass(slots=True, kw_only=True)
class RankPlan(Plan):
    """What a ranking does.

    Attributes:
        training: the training that the LoRA are of: model, cache and prompts.
        previews: what is drawn.
        candidates: to rank, in the order of the training, without those whose files cannot be read.
        folder: of the pictures and the results.
    """

    training: TrainPlan
    previews: PreviewPlan
    candidates: tuple[Candidate, ...]
    folder: Path


def plan(config: Config) -> RankPlan:
    """Find the LoRA files, and plan what is drawn with them.

    Raises:
        UsageError: there are no prompts or no LoRA files, nothing to rank by, or several processes.
        ModelError: none of the files can be read.
        InputError: something that is not ours stands where the ranking would go.
        BlissmaskError: what planning the training raises.
    """
    if not (config.previews.sample_prompts or config.previews.prompts):
        raise UsageError("`--rank-loras` needs prompts to draw", fix="name a file of them with `--sample-prompts`")
    # Any time will do for the plan: a ranking draws at none of the training's.
    previews = config.previews.model_copy(update={"sample_at_first": True})
    planned = plan_finished(config.model_copy(update={"previews": previews}))
    if planned.likeness is None and not planned.data.held_out:
        fix = "name photos with `--likeness-reference`, or set `validation_split` as for the training"
        nothing = Problem("there is nothing to rank by: no photo of the subject, and nothing is held out", fix=fix)
        raise UsageError.several([nothing, *planned.unmeasured])
    assert planned.previews is not None
    candidates = candidates_of(config, planned.names)
    unreadable = unreadable_files(candidates)
    readable = [candidate for candidate in candidates if candidate.name not in unreadable]
    if not readable:
        raise ModelError.several(list(unreadable.values()))
    folder = planned.names.ranking
    check_sheet(folder / SHEET)
    items = [_item(candidate, folder) for candidate in candidates]
    return RankPlan(
        command=COMMAND,
        items=[item.failing(unreadable[item.key]) if item.key in unreadable else item for item in items],
        outputs=outputs(config),
        warnings=[*planned.previews.warnings, *planned.unmeasured, *_unjudged(planned), *scale_warnings(readable)],
        training=planned,
        previews=planned.previews,
        candidates=tuple(readable),
        folder=folder,
    )


def _unjudged(planned: TrainPlan) -> list[Problem]:
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


def candidates_of(config: Config, names: Outputs) -> list[Candidate]:
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
    found = [Candidate(path.stem, (path,)) for path in _each_once(named)] or saved_loras(names)
    refuse_none(found, config, names)
    for candidate in found:
        if taken := _TAKEN.get(candidate.name):
            raise UsageError(
                f"a LoRA to rank is called `{candidate.name}`, which {taken}",
                where=list(candidate.files),
                fix="copy it under another name, and name the copy with `--rank-file`",
            )
    _refuse_one_name(found)
    return found


def _each_once(paths: Sequence[Path]) -> list[Path]:
    """Return the paths without those that lead to a file that is named before, as it is written or by a link."""
    once: dict[Path, Path] = {}
    for path in paths:
        once.setdefault(without_links(path), path)
    return list(once.values())


def _refuse_one_name(found: Sequence[Candidate]) -> None:
    """Raise UsageError where several LoRA have one name, which is that of their pictures and of their results."""
    counts = Counter(candidate.name for candidate in found)
    clashing = [path for candidate in found if counts[candidate.name] > 1 for path in candidate.files]
    if clashing:
        raise UsageError(
            "files to rank have one name",
            where=clashing,
            fix="copy all but one under another name, and name the copies with `--rank-file`",
        )
