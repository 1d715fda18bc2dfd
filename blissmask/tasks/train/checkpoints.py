"""Save what a run leaves: LoRA files with their metadata, and training states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from blissmask.tasks.train.lora_metadata import TrainedOn, lora_metadata
from blissmask.tasks.train.plan import TrainPlan
from blissmask.tasks.train.settings import BASE, base_identities
from blissmask.training.data.cached_set import commonest_sizes
from blissmask.training.data.mask_totals import MaskTotals
from blissmask.training.eval_mode import inference_weights
from blissmask.training.experts import Learner
from blissmask.training.record import saving


class Checkpoints:
    """Saves after some of the steps; only the first process writes.

    Args:
        plan: of the run.
        learners: all of them.
        totals: of the masks, for the metadata; None when the mask loss is off.
    """

    def __init__(self, plan: TrainPlan, learners: Sequence[Learner], totals: MaskTotals | None) -> None:
        self._plan = plan
        self._learners = learners
        self._trained_on = TrainedOn(
            items=len(plan.data.order.items) - len(plan.data.held_out),
            batches_per_epoch=plan.steps.batches_per_epoch,
            batches_per_step=plan.steps.batches_per_step,
            total_steps=plan.steps.total,
            totals=totals,
            base_identity=learners[0].denoiser.identity,
            resolutions=commonest_sizes(plan.data.sets, plan.family.latent.spatial_stride),
        )
        # The first state of a run that starts anew replaces those of an earlier run.
        self._replaces_states = plan.state is None

    def save(self, done: int) -> None:
        """Save a training state, and the LoRA files that are due after ``done`` steps."""
        plan = self._plan
        self._save_loras(self._due_files(done), done)
        if plan.processes.first:
            saving.save_run_state(
                plan.names,
                self._learners,
                step=done,
                settings={**plan.settings, BASE: base_identities(self._learners)},
                keep_last=plan.config.saving.keep_last,
                anew=self._replaces_states,
            )
        self._replaces_states = False

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
            )
