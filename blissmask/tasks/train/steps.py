"""Plan the optimiser steps: how many there are, which expert each one trains, and when an epoch ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from blissmask.config.model import Config
from blissmask.errors import UsageError
from blissmask.families.family import FamilyForTask
from blissmask.families.protocol import Expert
from blissmask.processes import Processes
from blissmask.tasks.train.data.training_data import TrainingData
from blissmask.tasks.train.rules import noise_options
from blissmask.training.cost import Preservation
from blissmask.training.experts import StepSchedule, schedule_steps, wanted_experts
from blissmask.training.step.step_rule import StepRule
from blissmask.training.timesteps import training_noise


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPlan:
    """The optimiser steps of a run.

    Attributes:
        experts: those to train, in the order of ``schedule``.
        schedule: which of them each step trains.
        total: number of steps.
        batches_per_step: micro-batches of a step in all processes together.
        batches_per_epoch: micro-batches of one pass over the data set.
        shared_lora: whether the experts train one LoRA, and so share its optimiser.
    """

    experts: tuple[Expert, ...]
    schedule: StepSchedule
    total: int
    batches_per_step: int
    batches_per_epoch: int
    shared_lora: bool

    @property
    def fewest(self) -> int:
        """Return the steps of the optimiser that gets the fewest."""
        if self.shared_lora:
            return self.total
        return min(self._steps_of_each())

    @property
    def steps_per_epoch(self) -> int:
        """Return the whole steps of one pass over the data set, at least 1."""
        return max(1, self.batches_per_epoch // self.batches_per_step)

    @property
    def epochs(self) -> float:
        """Return how often the data set is passed."""
        return self.total * self.batches_per_step / self.batches_per_epoch

    def epochs_after(self, done: int) -> int:
        """Return the epochs that are complete after ``done`` steps."""
        return done * self.batches_per_step // self.batches_per_epoch

    def step_after(self, epochs: int) -> int:
        """Return the number of the step that completes so many epochs."""
        return -(-epochs * self.batches_per_epoch // self.batches_per_step)

    def ends_epochs(self, done: int, every: int | None) -> bool:
        """Return whether step ``done`` was the one that completed another ``every`` epochs; None never."""
        if not every:
            return False
        return self.epochs_after(done) // every > self.epochs_after(done - 1) // every

    def expert_lines(self) -> list[str]:
        """Return how many steps each of several experts gets: with the usual shift they are very different."""
        if len(self.experts) == 1:
            return []
        return [
            f"the {expert.name}-noise expert gets {count} of {self.total} steps ({count / self.total:.0%})"
            for expert, count in zip(self.experts, self._steps_of_each(), strict=True)
        ]

    def _steps_of_each(self) -> list[int]:
        return [self.schedule.steps_of(position) for position in range(len(self.experts))]


def plan_steps(config: Config, family: FamilyForTask, data: TrainingData, processes: Processes) -> StepPlan:
    """Decide how many steps there are, and which expert each one trains.

    Raises:
        UsageError: an expert is named that the family does not have, or timesteps leave nothing to an expert.
    """
    section = config.train
    batches_per_step = section.gradient_accumulation_steps * processes.count
    batches_per_epoch = data.order.batches_per_epoch
    total = section.max_train_steps
    if section.max_train_epochs is not None:
        # Rounded up: the last step may begin another epoch.
        total = -(-section.max_train_epochs * batches_per_epoch // batches_per_step)
    if len(family.experts) == 1 and section.expert is not None:
        raise UsageError(f"`{family.name}` has only one expert", fix="leave `--expert` out")
    experts = tuple(wanted_experts(family.experts, section.expert))
    return StepPlan(
        experts=experts,
        schedule=schedule_steps(
            _shares(config, family, experts, data), run_length=section.expert_run_length, total=total
        ),
        total=total,
        batches_per_step=batches_per_step,
        batches_per_epoch=batches_per_epoch,
        shared_lora=section.shared_lora,
    )


def _shares(config: Config, family: FamilyForTask, experts: Sequence[Expert], data: TrainingData) -> list[float]:
    """Return the share of the steps of each expert: by the noise levels that it is for, unless the user decides.

    Raises:
        UsageError: the user's timesteps leave nothing to an expert.
    """
    noise = training_noise(noise_options(config.timesteps, default_shift=family.default_shift))
    # The first entry stands for all: only the resolution-dependent samplings look at the size.
    rows, columns = data.used_headers[0].latent_shape[2:]
    shares = [noise((rows, columns)).share(*expert.timestep_range) for expert in experts]
    without = [expert.name for expert, share in zip(experts, shares, strict=True) if share <= 0]
    if without:
        raise UsageError(
            f"`min_timestep` and `max_timestep` leave nothing to the {', '.join(without)}-noise expert",
            fix="widen the range, or train the other expert",
        )
    high = config.train.high_noise_share
    if high is not None and len(experts) > 1:
        return [high, 1 - high]
    return shares


def step_cost(rule: StepRule, *, checkpointing: bool, only_held: float = 0.0, holds_outside: bool = True) -> str:
    """Return in one line what a step costs, compared with one without preservation; empty where there is none.

    Args:
        rule: what a step does.
        checkpointing: whether activations are computed a second time for the backward pass.
        only_held: share of the items that are only held to the base model.
        holds_outside: whether the others are held outside their masks.
    """
    held = Preservation.of(
        outside_share=rule.prior.share if rule.prior is not None and holds_outside else 0.0,
        class_share=0.0 if rule.trigger_free is None else rule.trigger_free.share,
        only_held=only_held,
    )
    if not held.base:
        return ""
    passes = f"one more pass of the base model{_often(held.base, only_held)}"
    if held.again:
        passes += f", one more of the LoRA{_often(held.again, only_held)}"
    times = held.times(recomputes=checkpointing)
    return f"{times:.2f} times the operations of a step without preservation: {passes}"


def _often(share: float, only_held: float) -> str:
    if share == 1:
        return ""
    # What is only held is so in every step.
    return f" for {share:.0%} of the items" if only_held else f" in {share:.0%} of the steps"
