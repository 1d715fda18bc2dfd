"""Draw previews while a LoRA is trained: prompts are encoded once before the first step, and drawn when they are due.

An error while drawing never ends the training, and drawing never changes it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from blissmask.errors import BlissmaskError, Hint, Problem
from blissmask.events import Advanced, Noted, PhaseFinished, PhaseStarted, Warned
from blissmask.families.files.model_files import model_files
from blissmask.families.previews.prompt import EncodedPrompt
from blissmask.families.previews.sampler import PreviewSampler
from blissmask.families.protocol import Denoiser
from blissmask.media.png import write_png_rgb
from blissmask.media.video_writer import write_mp4
from blissmask.plurals import counted, verb
from blissmask.storage import atomic
from blissmask.tasks.run.plan import RunContext
from blissmask.tasks.train.previews.complete_prompt import PlannedPreview
from blissmask.tasks.train.previews.encode import encode_prompts
from blissmask.tasks.train.previews.plan import PreviewPlan
from blissmask.tasks.train.train_plan import TrainPlan
from blissmask.training.build import LearnerPlan, load_frozen_expert, load_preview_denoiser
from blissmask.training.device import is_out_of_memory, release_memory
from blissmask.training.eval_mode import evaluation_mode
from blissmask.training.experts import FrozenExpert, Learner
from blissmask.training.lora.layers.share import follow_lora
from blissmask.training.record.states.folders import state_path

_FOLDER = "sample"
"""Below the output folder, as musubi-tuner names it."""

_VAE_DTYPE = "float32"


class _StopRequestedError(Exception):
    """A signal asked to stop between two passes through the denoiser."""


class _Expert(Protocol):
    """An expert that draws, trained or not."""

    @property
    def name(self) -> str: ...
    @property
    def denoiser(self) -> Denoiser: ...
    def to(self, device: torch.device) -> None: ...


@dataclass(frozen=True, slots=True)
class _Sampling:
    """What a process that draws needs besides the experts that are trained.

    Attributes:
        sampler: draws.
        prompts: in the order of the plan.
        frozen_experts: experts that are not trained; in CPU memory between previews. One that has the name of a trained
            expert draws in its place.
    """

    sampler: PreviewSampler
    prompts: Sequence[EncodedPrompt]
    frozen_experts: Sequence[FrozenExpert]


@dataclass(slots=True)
class Previews:
    """The previews of a run, ready to be drawn.

    Attributes:
        plan: of the training.
        planned: what to draw.
        device: of the denoisers.
        kept_from: time of the training state that the run continues from; older files are of an earlier training.
        sampling: None in a process that only waits while another one draws.
        failed: files that could not be drawn.
    """

    plan: TrainPlan
    planned: Sequence[PlannedPreview]
    device: torch.device
    kept_from: float
    sampling: _Sampling | None
    failed: list[Path] = field(default_factory=list)

    def path(self, number: int, done: int) -> Path:
        """Return the file of preview ``number`` (from 0) after ``done`` steps.

        Named as musubi-tuner names it, but without the time.
        """
        settings, names = self.planned[number].settings, self.plan.names
        suffix = "png" if settings.frame_count == 1 else "mp4"
        name = f"{names.run_name}_{self.plan.preview_label(done)}_{number:02d}_{settings.seed}.{suffix}"
        return names.folder / _FOLDER / name

    def follow(self, learners: Sequence[Learner]) -> None:
        """Let the model that draws in the place of a learner have its LoRA.

        Raises:
            UsageError: the two models differ in size.
        """
        frozen = () if self.sampling is None else self.sampling.frozen_experts
        for expert in frozen:
            if expert.lora is not None:
                (learner,) = learners
                follow_lora(learner.lora, expert.lora, expert.denoiser.module)

    def is_drawn(self, path: Path) -> bool:
        """Return whether this training drew ``path`` before it was interrupted."""
        return path.is_file() and path.stat().st_mtime >= self.kept_from


def open_previews(
    plan: TrainPlan, previews: PreviewPlan, learners: LearnerPlan, context: RunContext
) -> Previews | None:
    """Encode the prompts before the denoisers take the device; the encoders are freed.

    None, with a warning, when the encoders do not fit into the memory.

    Args:
        plan: of the training.
        previews: what to draw.
        learners: how the denoisers will be loaded.
        context: its reporter shows the progress.

    Raises:
        ModelError: an encoder, the VAE or an expert cannot be loaded.
        MediaError: a picture cannot be read.
    """
    device, kept_from = learners.device, _state_time(plan)
    # In lockstep every process makes the passes of the first one through the model.
    if not plan.processes.first and not plan.processes.lockstep:
        return Previews(plan=plan, planned=previews.previews, device=device, kept_from=kept_from, sampling=None)
    atomic.sweep(plan.names.folder / _FOLDER)
    context.reporter.emit(PhaseStarted("Encoding prompts", None))
    prompts = _encode_prompts(plan, previews, device, context)
    if prompts is None:
        return None
    sampler = PreviewSampler(
        previews.pipeline,
        model_files(plan.config.model),
        device=device,
        dtype=learners.dtype,
        vae_dtype=getattr(torch, plan.config.model.vae_dtype or _VAE_DTYPE),
    )
    frozen_experts = [load_frozen_expert(learners, expert) for expert in previews.frozen_experts]
    if plan.config.previews.preview_dit is not None:
        frozen_experts.append(load_preview_denoiser(learners, plan.config.previews.preview_dit))
    context.reporter.emit(PhaseFinished("Encoding prompts"))
    sampling = _Sampling(sampler, prompts, frozen_experts)
    return Previews(plan=plan, planned=previews.previews, device=device, kept_from=kept_from, sampling=sampling)


def _encode_prompts(
    plan: TrainPlan, previews: PreviewPlan, device: torch.device, context: RunContext
) -> list[EncodedPrompt] | None:
    """Return the encoded prompts; None, with a warning, when the encoders do not fit into the memory."""
    try:
        return encode_prompts(
            previews.previews,
            plan.family,
            model_files(plan.config.model),
            picture_encoder=previews.pipeline.picture_encoder,
            device=device,
        )
    except Exception as error:
        # With several processes the others would wait for the pictures of this one.
        if not is_out_of_memory(error) or plan.processes.count > 1:
            raise
    release_memory(device)
    what = "no previews are drawn: the text encoder does not fit into the memory"
    fix = "leave `--sample-prompts` out, or train where there is more memory"
    context.reporter.emit(Warned(Problem(what, fix=fix)))
    return None


def draw_previews(previews: Previews, learners: Sequence[Learner], context: RunContext, done: int) -> None:
    """Draw the previews of ``done`` steps; afterwards the experts may be on other devices.

    Args:
        previews: what to draw.
        learners: the experts that are trained.
        context: its reporter shows each file, and each that could not be drawn.
        done: optimiser steps done.
    """
    paths: list[Path | None] = []
    for number in range(len(previews.planned)):
        path = previews.path(number, done)
        # In lockstep no process may skip what another one draws.
        is_due = previews.plan.processes.lockstep or not previews.is_drawn(path)
        paths.append(path if is_due else None)
    draw_pictures(previews, learners, context, paths)


def draw_pictures(
    previews: Previews, learners: Sequence[Learner], context: RunContext, paths: Sequence[Path | None]
) -> None:
    """Draw each preview into its file; None is passed over. All else is as in :func:`draw_previews`."""
    with contextlib.ExitStack() as stack:
        if previews.sampling is not None:
            stack.enter_context(evaluation_mode(learners, previews.device))
            # Pictures of other sizes than the training's would have every block compiled again.
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        for number, path in enumerate(paths):
            if previews.sampling is not None and path is not None:
                _draw_one(previews, previews.sampling, learners, number=number, path=path, context=context)
            # All processes meet after each picture, so that none waits for the others longer than one takes.
            if previews.plan.processes.highest(context.stop_signal()):
                break
    # Decoding a clip takes more than a training step needs.
    release_memory(previews.device)


def _draw_one(
    previews: Previews,
    sampling: _Sampling,
    learners: Sequence[Learner],
    *,
    number: int,
    path: Path,
    context: RunContext,
) -> None:
    """Draw and write one preview. An error becomes a warning, and the training goes on."""
    experts: list[_Expert] = [*learners, *sampling.frozen_experts]
    # Of two with one name the last one counts: the frozen expert.
    modules = {expert.name: expert.denoiser.module for expert in experts}
    planned, writes = previews.planned[number], previews.plan.processes.first
    try:
        with _experts_in_turn(previews, sampling, experts, _before_pass(previews, sampling, number, context)):
            rgb_FHW3 = sampling.sampler.sample(modules, sampling.prompts[number])
        if writes:
            _write(path, rgb_FHW3, fps=previews.plan.family.default_fps)
    except _StopRequestedError:
        return
    except Exception as error:  # noqa: BLE001 - a picture is never worth a training
        reason, fix = _reason_and_fix(error, planned)
    else:
        if writes:
            context.reporter.emit(Noted(f"preview {path}"))
        return
    # Only here has the error let go of the tensors that it held.
    release_memory(previews.device)
    previews.failed.append(path)
    what = f"preview {number + 1} could not be drawn, and the training goes on: {reason}"
    context.reporter.emit(Warned(Problem(what, (f"{planned.place}: {planned.prompt}",), fix)))


def _reason_and_fix(error: Exception, planned: PlannedPreview) -> tuple[str, str | Hint]:
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        (width, height), frame_count = planned.settings.size_wh, planned.settings.frame_count
        does = verb(frame_count, "does", "do")
        reason = f"{counted(frame_count, 'frame')} of {width}x{height} {does} not fit in the memory"
        return reason, "lower `--w`, `--h` or `--f` of the prompt"
    if isinstance(error, BlissmaskError):
        problem = error.as_one()
        return problem.line, problem.fix
    first_line = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {first_line}", ""


def _before_pass(previews: Previews, sampling: _Sampling, number: int, context: RunContext) -> Callable[[], None]:
    """Return what to do before each pass through a denoiser: stop when asked to, and show the progress."""
    prompt, processes = sampling.prompts[number], previews.plan.processes
    passes_per_step = 1 if prompt.negative is None else 2
    total = prompt.settings.steps * passes_per_step
    passes = 0

    def before_pass() -> None:
        nonlocal passes
        signal = context.stop_signal()
        if processes.lockstep:
            # A process that stopped alone would leave the others waiting.
            signal = processes.highest(signal)
        if signal:
            raise _StopRequestedError
        note = f"preview {number + 1} of {len(sampling.prompts)}, {passes * 100 // total}%"
        context.reporter.emit(Advanced(0, note=note))
        passes += 1

    return before_pass


@contextlib.contextmanager
def _experts_in_turn(
    previews: Previews, sampling: _Sampling, experts: Sequence[_Expert], before_pass: Callable[[], None]
) -> Iterator[None]:
    """Call ``before_pass`` before each pass, and bring the expert that the pipeline calls to the device.

    Where there is not room for all experts, the others leave for CPU memory.
    """
    memory = previews.plan.config.memory
    # Weights in shards stay where they are.
    takes_turns = (memory.offload_inactive_dit or bool(sampling.frozen_experts)) and not memory.fsdp
    cpu = torch.device("cpu")
    present: int | None = None

    def enter(position: int) -> None:
        nonlocal present
        before_pass()
        if position == present or not takes_turns:
            return
        present = None
        for other, expert in enumerate(experts):
            if other != position:
                expert.to(cpu)
        experts[position].to(previews.device)
        present = position

    def hook(position: int) -> Callable[[Any, Any], None]:
        return lambda _module, _inputs: enter(position)

    handles = [
        expert.denoiser.module.register_forward_pre_hook(hook(position)) for position, expert in enumerate(experts)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        if takes_turns:
            for frozen in sampling.frozen_experts:
                frozen.to(cpu)


def _write(path: Path, rgb_FHW3: NDArray[np.uint8], *, fps: float) -> None:
    if len(rgb_FHW3) == 1:
        write_png_rgb(path, rgb_FHW3[0])
    else:
        write_mp4(path, rgb_FHW3, fps=fps)


def _state_time(plan: TrainPlan) -> float:
    """Return when the training state was saved that the run continues from; infinity when it starts anew."""
    if plan.state is None:
        return float("inf")
    return state_path(plan.names.folder, plan.names.run_name, plan.start).stat().st_mtime
