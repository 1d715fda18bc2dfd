"""Tell before the first step when the disk of the output folder has less room than a training writes."""

from __future__ import annotations

from blissmask.config.model import Config
from blissmask.config.sections.saving_section import SavingSection
from blissmask.errors import Problem
from blissmask.tasks.run.folders import room_warning
from blissmask.tasks.train.steps import StepPlan

_NUMBER_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Of one number in a LoRA file, by ``save_precision``."""
_STATE_BYTES = 12
"""Of a training state for each trained number: the float32 weight and the two moments of AdamW."""
_AVERAGE_BYTES = 4
"""Of a training state for each number of a running average."""
_STEP_BYTES = 500
"""A step in the log and in TensorBoard's events: 165 and 323 bytes, measured on 40 steps with the mask loss on."""


def room_warnings(config: Config, steps: StepPlan, *, trained_numbers: int) -> list[Problem]:
    """Warn when LoRA files, training states and logs need clearly more room than is free.

    Args:
        config: says where and how often it saves, and whether a running average is saved, too.
        steps: of the run.
        trained_numbers: of the LoRA, all experts together.
    """
    section, averaged = config.saving, config.optimizer.ema_decay is not None
    # While a state is written, those that are kept are still there.
    states = section.keep_last + 1
    file_bytes = trained_numbers * _NUMBER_BYTES[section.save_precision]
    state_bytes = trained_numbers * _STATE_BYTES
    if averaged:
        file_bytes *= 2
        state_bytes += trained_numbers * _AVERAGE_BYTES
    needed = saves_of(section, steps) * file_bytes + states * state_bytes + steps.total * _STEP_BYTES
    fix = "free some space, choose another `output_dir`, or save less often; a save without room waits for it"
    return room_warning(section.output_dir, needed, "the LoRA files, training states and logs need", fix=fix)


def saves_of(section: SavingSection, steps: StepPlan) -> int:
    """Return how many times LoRA files are saved; all of them are kept."""
    if section.save_every_n_steps:
        return steps.total // section.save_every_n_steps + 1
    if section.save_every_n_epochs:
        return int(steps.epochs // section.save_every_n_epochs) + 1
    return 1
