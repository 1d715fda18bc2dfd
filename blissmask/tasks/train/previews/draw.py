"""Draw previews while a LoRA is trained: prompts encoded once before the first step, then a file for each when it is time.

Nothing that goes wrong while drawing ends the training, and nothing that is drawn changes it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from blissmask.errors import BlissmaskError, Hint, Problem
from blissmask.events import Advanced, Noted, PhaseFinished, PhaseStarted, Warned
from blissmask.families.files.model_files import model_files
from blissmask.families.previews import Painter, Shot
from blissmask.families.protocol import Denoiser
from blissmask.media.png import write_png_rgb
from blissmask.media.video import write_mp4
from blissmask.storage import atomic
from blissmask.tasks.run.plan import RunContext
from blissmask.tasks.train.plan import TrainPlan
from blissmask.tasks.train.previews.encode import encode_shots
from blissmask.tasks.train.previews.plan import PlannedShot
from blissmask.training.build import LearnerPlan, load_onlooker
from blissmask.training.device import is_out_of_memory, release_memory
from blissmask.training.eval_mode import evaluation_mode
from blissmask.training.experts import Learner, Onlooker
from blissmask.training.record import training_state

_FOLDER = "sample"
_VAE_DTYPE = "float32"


class _StoppedDrawingError(Exception):
    """A signal asked to stop between two passes through the denoiser."""


class _Performer(Protocol):
    """An expert that draws, trained or not."""

    @property
    def name(self) -> str: ...
    @property
    def denoiser(self) -> Denoiser: ...
    def to(self, device: torch.device) -> None: ...


@dataclass(slots=True)
class Studio:
    """Everything that previews need besides the denoisers.

    Attributes:
        plan: of the training.
        planned: what to draw, in the order of the prompt file.
        shots: the same, encoded; empty in a process that does not draw.
        painter: None in a process that does not draw.
        device: of the denoisers.
        kept_from: time of the training state that this run goes on from; an older picture is of an earlier run.
        onlookers: experts that are not trained.
        failed: files that could not be drawn.
    """

    plan: TrainPlan
    planned: Sequence[PlannedShot]
    shots: Sequence[Shot]
    painter: Painter | None
    device: torch.device
    kept_from: float
    onlookers: Sequence[Onlooker] = ()
    failed: list[Path] = field(default_factory=list)

    def file(self, number: int, done: int) -> Path:
        """Return the file of shot ``number`` (from 0) after ``done`` steps, by step or epoch like musubi-tuner's, without the time."""
        shot, names = self.planned[number], self.plan.names
        suffix = "png" if shot.frames == 1 else "mp4"
        return (
            names.folder / _FOLDER / f"{names.run_name}_{self.plan.previews_at(done)}_{number:02d}_{shot.seed}.{suffix}"
        )

    def is_drawn(self, path: Path) -> bool:
        """Say whether this training has drawn ``path`` before it was interrupted."""
        return path.is_file() and path.stat().st_mtime >= self.kept_from


def open_studio(plan: TrainPlan, models: LearnerPlan, context: RunContext) -> Studio | None:
    """Encode the prompts, before the denoisers take the device; the encoders are let go.

    None where no previews are asked for, and where the encoders do not fit into the memory, which is told.

    Args:
        plan: of the training.
        models: which denoisers it loads, and how.
        context: is told what is done.

    Raises:
        ModelError: an encoder, the VAE or an expert cannot be loaded.
        MediaError: a picture cannot be read.
    """
    if plan.previews is None:
        return None
    planned = plan.previews.shots
    kept_from = float("inf") if plan.state is None else _state_time(plan)
    # In lockstep every process passes through the model with the first one.
    if not plan.processes.first and not plan.processes.lockstep:
        return Studio(plan, planned, (), None, models.device, kept_from)
    model, device = plan.config.model, models.device
    atomic.sweep(plan.names.folder / _FOLDER)
    context.reporter.emit(PhaseStarted("Encoding prompts", None))
    try:
        shots = encode_shots(plan, planned, device)
    except Exception as error:
        # Other processes would wait for the pictures of this one.
        if not is_out_of_memory(error) or plan.processes.count > 1:
            raise
        release_memory(device)
        what = "no previews are drawn: the text encoder does not fit into the memory"
        context.reporter.emit(
            Warned(Problem(what, fix="leave `--sample-prompts` out, or train where there is more memory"))
        )
        return None
    painter = Painter(
        plan.previews.drawing,
        model_files(model),
        device=device,
        dtype=models.dtype,
        vae_dtype=getattr(torch, model.vae_dtype or _VAE_DTYPE),
    )
    onlookers = [load_onlooker(models, expert) for expert in plan.previews.onlookers]
    context.reporter.emit(PhaseFinished("Encoding prompts"))
    return Studio(plan, planned, shots, painter, device, kept_from, onlookers)


def draw_previews(studio: Studio, learners: Sequence[Learner], context: RunContext, done: int) -> None:
    """Draw the previews of ``done`` steps; afterwards the experts may be on other devices.

    Args:
        studio: what to draw.
        learners: the experts that are trained.
        context: is told of each file, and of each that could not be drawn.
        done: optimiser steps done, at which previews are due.
    """
    processes = studio.plan.processes
    performers: list[_Performer] = [*learners, *studio.onlookers]
    with contextlib.ExitStack() as stack:
        if studio.painter is not None:
            stack.enter_context(evaluation_mode(learners, studio.device))
            # Pictures of other sizes than the training's would have every block compiled again.
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        for number in range(len(studio.planned)):
            path = studio.file(number, done)
            if studio.painter is not None and (processes.lockstep or not studio.is_drawn(path)):
                _draw_one(studio, performers, number, path, context)
            # All processes meet after each picture, so that none waits for the others longer than one takes.
            if processes.highest(context.stop_signal()):
                break
    # What decoding a clip took is more than a training step needs.
    release_memory(studio.device)


def _draw_one(studio: Studio, performers: Sequence[_Performer], number: int, path: Path, context: RunContext) -> None:
    """Draw and write one shot; what goes wrong is said, and that is all."""
    shot, planned, painter = studio.shots[number], studio.planned[number], studio.painter
    assert painter is not None
    writes = studio.plan.processes.first
    fix: str | Hint
    try:
        with _on_stage(studio, performers, _before_pass(studio, number, context)):
            rgb_FHW3 = painter.draw({performer.name: performer.denoiser.module for performer in performers}, shot)
        if writes:
            _write(path, rgb_FHW3, studio.plan)
    except _StoppedDrawingError:
        return
    except (torch.OutOfMemoryError, MemoryError):
        width, height = planned.size_wh
        reason, fix = (
            f"{planned.frames} frames of {width}x{height} do not fit in the memory",
            "lower `--w`, `--h` or `--f` of the prompt",
        )
    except BlissmaskError as error:
        reason, fix = str(error), error.problems[0].fix
    except Exception as error:  # noqa: BLE001 - a picture is never worth a training
        reason, fix = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}", ""
    else:
        if writes:
            context.reporter.emit(Noted(f"preview {path}"))
        return
    # Only here has the error let go of the tensors that it held.
    release_memory(studio.device)
    studio.failed.append(path)
    problem = Problem(
        f"preview {number + 1} could not be drawn, and the training goes on: {reason}",
        (f"{planned.place}: {planned.prompt}",),
        fix,
    )
    context.reporter.emit(Warned(problem))


def _before_pass(studio: Studio, number: int, context: RunContext) -> Callable[[], None]:
    """Return what to do before each pass through a denoiser: stop when asked to, and show how far the picture is."""
    shot, processes = studio.shots[number], studio.plan.processes
    total = shot.steps * (1 if shot.negative is None else 2)
    passes = 0

    def look_up() -> None:
        nonlocal passes
        signal = context.stop_signal()
        # In lockstep a process that stopped alone would leave the others waiting.
        if processes.highest(signal) if processes.lockstep else signal:
            raise _StoppedDrawingError
        context.reporter.emit(
            Advanced(0, note=f"preview {number + 1} of {len(studio.shots)}, {passes * 100 // total}%")
        )
        passes += 1

    return look_up


@contextlib.contextmanager
def _on_stage(studio: Studio, performers: Sequence[_Performer], before_pass: Callable[[], None]) -> Iterator[None]:
    """Bring each expert to the device when the pipeline calls it; where there is not room for all, the others leave."""
    section = studio.plan.config.memory
    # Weights in shards stay where they are.
    takes_turns = (section.offload_inactive_dit or bool(studio.onlookers)) and not section.fsdp
    present: int | None = None

    def enter(position: int) -> None:
        nonlocal present
        before_pass()
        if position == present or not takes_turns:
            return
        present = None
        for other, performer in enumerate(performers):
            if other != position:
                performer.to(torch.device("cpu"))
        performers[position].to(studio.device)
        present = position

    hooks = [
        performer.denoiser.module.register_forward_pre_hook(lambda _module, _inputs, position=position: enter(position))
        for position, performer in enumerate(performers)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        if takes_turns:
            for onlooker in studio.onlookers:
                onlooker.to(torch.device("cpu"))


def _write(path: Path, rgb_FHW3: NDArray[np.uint8], plan: TrainPlan) -> None:
    assert plan.family is not None
    if len(rgb_FHW3) == 1:
        write_png_rgb(path, rgb_FHW3[0])
    else:
        write_mp4(path, rgb_FHW3, fps=plan.family.default_fps)


def _state_time(plan: TrainPlan) -> float:
    return training_state.state_path(plan.names.folder, plan.names.run_name, plan.start).stat().st_mtime
