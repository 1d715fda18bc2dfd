"""Save what a run leaves: LoRA files with their metadata, and training states."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from blissmask.errors import MachineError
from blissmask.tasks.run.plan import RunContext
from blissmask.tasks.train.lora_metadata import TrainedOn, lora_metadata
from blissmask.tasks.train.plan import TrainPlan
from blissmask.tasks.train.saving.rescue import Rescue, save_patiently
from blissmask.tasks.train.settings import BASE, base_identities
from blissmask.training.data.cached_set import commonest_sizes
from blissmask.training.data.mask_totals import MaskTotals
from blissmask.training.eval_mode import inference_weights
from blissmask.training.experts import Learner
from blissmask.training.record import saving
from blissmask.training.record.saving import Outputs


class Checkpoints:
    """Saves after some of the steps; only the first process writes.

    Args:
        plan: of the run.
        learners: all of them.
        totals: of the masks, for the metadata; None when the mask loss is off.
        context: its reporter is told when saving fails.
    """

    def __init__(
        self, plan: TrainPlan, learners: Sequence[Learner], totals: MaskTotals | None, context: RunContext
    ) -> None:
        self._plan = plan
        self._learners = learners
        self._context = context
        self._trained_on = TrainedOn(
            items=plan.data.trained_count,
            batches_per_epoch=plan.steps.batches_per_epoch,
            batches_per_step=plan.steps.batches_per_step,
            total_steps=plan.steps.total,
            totals=totals,
            base_identity=learners[0].denoiser.identity,
            resolutions=commonest_sizes(plan.data.used_headers, plan.family.latent.spatial_stride),
        )
        # The first state of a run that starts anew replaces those of an earlier run.
        self._replaces_states = plan.state is None

    def save(self, done: int) -> None:
        """Save a training state, and the LoRA files that are due after ``done`` steps.

        Raises:
            MachineError: there is no room for them, or their drive is gone, and waiting did not help; see ``rescue``.
        """
        plan = self._plan
        if not plan.processes.first:
            # Of processes that share their weights all take part in reading them.
            self._save_loras(self._due_files(done), done)
        else:
            rescue = Rescue(plan.config.saving.rescue_dir, partial(self._save_elsewhere, done))
            save_patiently(partial(self._save_here, done), rescue, plan.names, self._context, done=done)
        self._replaces_states = False

    def _save_here(self, done: int) -> None:
        self._save_loras(self._due_files(done), done)
        self._save_state(self._plan.names, done)

    def _save_elsewhere(self, done: int, folder: Path) -> Path:
        """Save into another folder and return the state's; the LoRA files only where there is room for them, too."""
        names = replace(self._plan.names, folder=folder)
        state = self._save_state(names, done)
        with contextlib.suppress(MachineError):
            # The state holds the LoRA as well; the run that goes on from it writes the files.
            self._save_loras([folder / path.name for path in self._due_files(done)], done)
        return state

    def _save_state(self, names: Outputs, done: int) -> Path:
        plan = self._plan
        here = names == plan.names
        return saving.save_run_state(
            names,
            self._learners,
            step=done,
            settings={**plan.settings, BASE: base_identities(self._learners)},
            # What stands in the second place is of other runs.
            keep_last=plan.config.saving.keep_last if here else None,
            anew=self._replaces_states and here,
        )

    def _due_files(self, done: int) -> list[Path]:
        """Return the final files after the last step, those of the step where they were asked for, else none."""
        plan = self._plan
        if done >= plan.steps.total:
            return plan.names.lora_files()
        return plan.names.lora_files(done) if plan.saves_at(done) else []

    def _save_loras(self, files: Sequence[Path], done: int) -> None:
        if not files:
            return
        plan = self._plan

        def metadata_of(name: str) -> Mapping[str, str]:
            return lora_metadata(plan.config, plan.family, self._trained_on, step=done, name=name)

        with inference_weights(self._learners):
            saving.save_loras(
                files,
                self._learners,
                metadata_of,
                precision=plan.config.saving.save_precision,
                file_format=plan.config.saving.lora_format,
                publishes=plan.processes.first,
                native_alpha=plan.family.native_alpha,
            )
