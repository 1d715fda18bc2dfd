"""What is decided before the first step of a training, and what is due after each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from blissmask.config.model import Config
from blissmask.errors import Problem
from blissmask.families.family import FamilyForTask
from blissmask.processes import Processes
from blissmask.tasks.run.plan import Plan
from blissmask.tasks.train.data.training_data import TrainingData
from blissmask.tasks.train.memory.compile_rule import CompileRule
from blissmask.tasks.train.previews.likeness_plan import LikenessPlan
from blissmask.tasks.train.previews.plan import PreviewPlan
from blissmask.tasks.train.rules import prior_rule
from blissmask.tasks.train.steps import StepPlan, step_cost
from blissmask.training.record.saving import Outputs
from blissmask.training.record.states.load import SavedState
from blissmask.training.step.step_rule import StepRule
from blissmask.training.weighting.rule import WeightRule


@dataclass(slots=True, kw_only=True)
class TrainPlan(Plan):
    """Everything that is decided before the first step.

    Attributes:
        config: the configuration, with the memory options that were chosen.
        family: the model family, for the task that is trained.
        data: the cache.
        weights: how mask weights become loss weights; None when the mask loss is off.
        rule: what each step does with its items; prior preservation is in it.
        steps: how many there are, and what each one trains.
        names: of the files.
        settings: what a training state remembers of this run.
        state: the training state to continue from; None starts anew.
        files_of_before: names of LoRA files of an earlier run; the run leaves out those that it replaces.
        previews: None where none are drawn.
        likeness: what the faces in previews are compared with; None where they are not.
        stale: what is trained as it was cached and is different now; among the warnings, too.
        unmeasured: why they are not, where photos of [instance] or [[subjects]] are missing; among the warnings, too.
        read_in_part_by: programs that would use a part of the LoRA; among the warnings, too.
        processes: that train together. Only the first one writes, warns and locks the output folder.
        resting_bytes: CPU memory that the denoisers will take, as far as it is known; cached items leave it free.
        compiling: whether blocks are compiled, and why; it is in the configuration, too.
        room_known: whether the plan knew how much room the files need; else the run looks when the model is loaded.
    """

    config: Config
    family: FamilyForTask
    data: TrainingData
    weights: WeightRule | None
    rule: StepRule
    steps: StepPlan
    names: Outputs
    settings: Mapping[str, object]
    state: SavedState | None
    files_of_before: set[str]
    previews: PreviewPlan | None
    likeness: LikenessPlan | None
    stale: Sequence[Problem]
    unmeasured: Sequence[Problem]
    read_in_part_by: Sequence[str]
    processes: Processes
    resting_bytes: int
    compiling: CompileRule
    room_known: bool

    @property
    def start(self) -> int:
        """Return how many steps are already done."""
        return self.state.step if self.state else 0

    def saves_at(self, done: int) -> bool:
        """Return whether LoRA files and a training state are due after ``done`` steps, the last step aside."""
        section = self.config.saving
        if section.save_every_n_steps and done % section.save_every_n_steps == 0:
            return True
        return self.steps.ends_epochs(done, section.save_every_n_epochs)

    def preview_label(self, done: int) -> str | None:
        """Return the label in the names of previews after ``done`` steps; None when none are due.

        It is the step, or ``e`` and the epoch.
        """
        if done == self.steps.total and self.draws_end_apart:
            return f"{done:06d}"
        return self._due_label(done)

    @property
    def draws_end_apart(self) -> bool:
        """Whether the final LoRA is drawn, too, though no previews would be due after the last step."""
        return self.previews is not None and self._due_label(self.steps.total) is None

    def _due_label(self, done: int) -> str | None:
        section = self.config.previews
        if self.previews is None:
            return None
        by_steps = section.sample_every_n_steps and done and done % section.sample_every_n_steps == 0
        if by_steps or (done == 0 and section.sample_at_first):
            return f"{done:06d}"
        if done and self.steps.ends_epochs(done, section.sample_every_n_epochs):
            return f"e{self.steps.epochs_after(done):06d}"
        return None

    def validates_at(self, done: int) -> bool:
        """Return whether the held-out items are validated after ``done`` steps; always after the last one."""
        every = self.config.train.validate_every_n_steps or self.steps.steps_per_epoch
        return bool(self.data.held_out) and (done % every == 0 or done == self.steps.total)

    @property
    def cost_of_step(self) -> str:
        """What a step costs, in one line; empty where nothing is held to the base model."""
        return step_cost(
            self.rule,
            checkpointing=self.config.memory.gradient_checkpointing,
            only_held=self.data.only_held_share,
            holds_outside=prior_rule(self.config.mask_loss) is not None,
        )
