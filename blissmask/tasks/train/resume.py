"""Where training starts: anew, or from the newest whole training state; and what a user should know of that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from blissmask.errors import Problem, UsageError
from blissmask.tasks.run.plan import Action, PlannedItem, places_of
from blissmask.tasks.run.wording import counted
from blissmask.tasks.train.settings import FIXED
from blissmask.training.experts import Learner
from blissmask.training.record import saving, training_state

if TYPE_CHECKING:
    from blissmask.tasks.train.plan import TrainPlan

BASE = "base"
"""The setting that names the weights of the base model by content."""


def choose_start(result: TrainPlan) -> None:
    """Decide whether to go on from a training state, and plan the files."""
    names = result.names
    found = training_state.find_states(names.folder, names.run_name)
    if found.damaged:
        result.warnings.append(
            Problem("training states that were not saved whole are passed over", places_of(found.damaged))
        )
    restart = not result.config.saving.resume or result.config.run.force
    finished = False
    if found.newest is not None and restart:
        result.warnings.append(
            Problem(
                "training starts anew; its first training state replaces those of the earlier run",
                places_of([p for _, p in found.whole]),
            )
        )
    elif found.newest is not None:
        result.state = training_state.load_state(found.newest)
        changed = saving.compare_settings(result.state.numbers.get("settings", {}), result.settings(), fixed=FIXED)
        finished = result.state.step >= result.total_steps and all(path.is_file() for path in names.lora_files())
        result.warnings += _told_of_state(result, changed, finished=finished)
    for path in names.lora_files():
        action = Action.SKIP if finished else Action.WRITE
        reason = f"already trained for {result.total_steps} steps" if finished else _reason(result)
        result.items.append(PlannedItem(path.stem, action, reason, output=path))


def _told_of_state(result: TrainPlan, changed: Sequence[str], *, finished: bool) -> list[Problem]:
    """Say what going on from a training state means where that is not what everybody expects."""
    assert result.state is not None
    anew = "choose another `--output-name`, or begin again with `--no-resume`"
    if finished:
        what = (
            f"`{result.names.run_name}` is already trained for {counted(result.state.step, 'step')}, so nothing is done"
        )
        with_other = ("it was trained with other settings:", *changed) if changed else ()
        return [Problem(what, with_other, f"to train on, give more `--max-train-steps`; for another LoRA {anew}")]
    if changed:
        what = f"training goes on from step {result.state.step} with other settings"
        return [Problem(what, tuple(changed), f"for a LoRA of these settings alone {anew}")]
    return []


def _reason(result: TrainPlan) -> str:
    return (
        f"{result.total_steps} steps"
        if result.state is None
        else f"{result.total_steps} steps, going on after {result.state.step}"
    )


def how_to_go_on(plan: TrainPlan) -> str:
    """Say what to type after a stop: the same command, unless it asked to start anew and would do so again."""
    given = [*([] if plan.config.saving.resume else ["--no-resume"]), *(["--force"] if plan.config.run.force else [])]
    if not given:
        return "run the same command again to continue"
    return f"run the command again without `{' '.join(given)}` to continue; with it the training starts anew"


def refuse_other_base(plan: TrainPlan, learners: Sequence[Learner]) -> None:
    """Raise UsageError when the training state was made on other weights, e.g. on the miniature that all was tried out with."""
    assert plan.state is not None
    before = plan.state.numbers.get("settings", {}).get(BASE)
    if before is not None and before != bases(learners):
        raise UsageError(
            "the training state was made with another base model",
            where=[plan.state.path],
            fix="name the model it was made with, choose another `output_name`, or start anew with `--no-resume`",
        )


def bases(learners: Sequence[Learner]) -> list[str]:
    """Return which weights the denoisers have, by content."""
    return [learner.denoiser.identity for learner in learners]
