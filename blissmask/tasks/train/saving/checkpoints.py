"""Save what a run leaves: LoRA files with their metadata, and training states."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from blissmask.errors import MachineError
from blissmask.events import ItemsMeasured
from blissmask.tasks.run.plan import RunContext
from blissmask.tasks.train.data.read_items import TrainingItems
from blissmask.tasks.train.saving.lora_metadata import TrainedOn, average_metadata, lora_metadata
from blissmask.tasks.train.saving.page.run_page import Drawing
from blissmask.tasks.train.saving.rescue import Rescue, save_patiently
from blissmask.tasks.train.settings import BASE, COMPILED, base_identities
from blissmask.tasks.train.train_plan import TrainPlan
from blissmask.training.data.cached_set import commonest_sizes
from blissmask.training.eval_mode import inference_weights
from blissmask.training.experts import Learner
from blissmask.training.lora.file import LoraContents, lora_contents, write_lora
from blissmask.training.record import saving
from blissmask.training.record.saving import FILES_OF_BEFORE, Outputs


@dataclass(frozen=True, slots=True)
class LoraFile:
    """A LoRA file that is to be published."""

    path: Path
    contents: LoraContents


@dataclass(frozen=True, slots=True)
class _DueFile:
    """A LoRA file that is due: of the weights of a learner, or of their running average."""

    path: Path
    learner: Learner
    averaged: bool


class Checkpoints:
    """Saves after some of the steps; only the first process writes.

    Args:
        plan: of the run.
        learners: all of them.
        items: that are trained on; what was measured of their masks is told with what is saved.
        drawing: drawn anew with what is saved.
        context: its reporter is told when saving fails.
    """

    def __init__(
        self,
        plan: TrainPlan,
        learners: Sequence[Learner],
        items: TrainingItems,
        drawing: Drawing,
        context: RunContext,
    ) -> None:
        self._plan = plan
        self._learners = learners
        self._items = items
        self._drawing = drawing
        self._context = context
        self._trained_on = TrainedOn(
            items=plan.data.trained_count,
            batches_per_epoch=plan.steps.batches_per_epoch,
            batches_per_step=plan.steps.batches_per_step,
            total_steps=plan.steps.total,
            totals=items.totals,
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
        # All processes take part in reading: they may share their weights, and each has seen other items. The first one
        # alone writes, and may retry.
        loras = self._read_loras(done)
        self._items.losses.gather(self._plan.processes)
        if self._plan.processes.first:
            rescue = Rescue(self._plan.config.saving.rescue_dir, partial(self._save_elsewhere, done, loras))
            save = partial(self._save_here, done, loras)
            save_patiently(save, rescue, self._plan.names, self._context, done=done)
            self._context.reporter.emit(ItemsMeasured(done, self._items.losses.worst_first()))
            if done < self._plan.steps.total:
                # After the last step it is drawn with the last numbers and previews.
                self._drawing.draw()
        self._replaces_states = False

    def _save_here(self, done: int, loras: Sequence[LoraFile]) -> None:
        for lora in loras:
            write_lora(lora.path, lora.contents.tensors, lora.contents.metadata)
            self._plan.files_of_before.discard(lora.path.name)
        self._save_state(self._plan.names, done)

    def _save_elsewhere(self, done: int, loras: Sequence[LoraFile], folder: Path) -> Path:
        """Save into another folder and return the state's; the LoRA files only where there is room for them, too."""
        names = replace(self._plan.names, folder=folder)
        state = self._save_state(names, done)
        with contextlib.suppress(MachineError):
            # The state holds the LoRA as well; the run that goes on from it writes the files.
            for lora in loras:
                write_lora(folder / lora.path.name, lora.contents.tensors, lora.contents.metadata)
        return state

    def _save_state(self, names: Outputs, done: int) -> Path:
        plan = self._plan
        here = names == plan.names
        return saving.save_run_state(
            names,
            self._learners,
            step=done,
            settings={
                **plan.settings,
                BASE: base_identities(self._learners),
                FILES_OF_BEFORE: sorted(plan.files_of_before),
                **self._compiled(),
            },
            losses=self._items.losses,
            # What stands in the second place is of other runs.
            keep_last=plan.config.saving.keep_last if here else None,
            anew=self._replaces_states and here,
        )

    def _compiled(self) -> dict[str, bool]:
        if not self._plan.compiling.by_rule:
            return {}
        compiler = self._learners[0].compiler
        return {COMPILED: compiler is not None and compiler.is_on}

    def _due_files(self, done: int) -> list[_DueFile]:
        """Return the final files after the last step, those of the step where they were asked for, else none."""
        plan = self._plan
        at_end = done >= plan.steps.total
        if not at_end and not plan.saves_at(done):
            return []
        step = None if at_end else done
        # Learners that share their LoRA have one file.
        due = [
            _DueFile(path, learner, averaged=False)
            for path, learner in zip(plan.names.lora_files(step), self._learners, strict=False)
        ]
        due += [
            _DueFile(path, learner, averaged=True)
            for path, learner in zip(plan.names.average_files(step), self._learners, strict=False)
        ]
        return due

    def _read_loras(self, done: int) -> list[LoraFile]:
        """Return the LoRA files that are due after ``done`` steps, with what they hold."""
        due = self._due_files(done)
        if not due:
            return []
        with inference_weights(self._learners):
            return [LoraFile(file.path, self._contents(file, done)) for file in due]

    def _contents(self, file: _DueFile, done: int) -> LoraContents:
        plan, saving_section = self._plan, self._plan.config.saving
        metadata = lora_metadata(plan.config, plan.family, self._trained_on, step=done, name=file.path.stem)
        average = file.learner.average if file.averaged else None
        weights: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
        if average is not None:
            metadata |= average_metadata(decay=average.decay, steps=average.updates)
            weights = average.in_place()
        with weights, file.learner.readable():
            return lora_contents(
                file.learner.lora,
                metadata,
                precision=saving_section.save_precision,
                file_format=saving_section.lora_format,
                native_alpha=plan.family.native_alpha,
            )
