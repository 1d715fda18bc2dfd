"""What previews will draw: prompts completed by the family's defaults, sizes on its grid, files looked for, before a model is loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from blissmask.config.model import Config
from blissmask.config.saving_section import PreviewsSection
from blissmask.errors import BlissmaskError, Problem, UsageError
from blissmask.families.family import FamilyForTask
from blissmask.families.files.model_files import ModelFiles, model_files
from blissmask.families.files.part import Part
from blissmask.families.previews import Drawing
from blissmask.families.protocol import Expert
from blissmask.media.image import read_header
from blissmask.tasks.run.wording import counted
from blissmask.tasks.train.previews.prompt_file import PreviewPrompt, read_prompts
from blissmask.training.data.cached_set import CachedSet

_STEPS = 20
_CADENCES = ("sample_every_n_steps", "sample_every_n_epochs", "sample_at_first")


@dataclass(frozen=True, slots=True)
class PlannedShot:
    """One picture or clip to draw, whenever it is time; attributes as in :class:`blissmask.families.previews.Shot`, pictures as files."""

    place: str
    prompt: str
    negative: str | None
    size_wh: tuple[int, int]
    frames: int
    steps: int
    cfg_scale: float
    guidance: float | None
    shift: float | None
    seed: int
    pictures: tuple[Path, ...]


@dataclass(slots=True)
class PreviewPlan:
    """What previews draw.

    Attributes:
        drawing: how the family draws.
        shots: in the order of the prompt file.
        onlookers: experts that are not trained, and draw beside those that are.
        warnings: what was changed, or is not as the model is used.
    """

    drawing: Drawing
    shots: list[PlannedShot] = field(default_factory=list)
    onlookers: tuple[Expert, ...] = ()
    warnings: list[Problem] = field(default_factory=list)

    def describe(self, section: PreviewsSection) -> str:
        """Say how many there are, and when, e.g. ``2 prompts every 500 steps``."""
        times = [
            *(["before the first step"] if section.sample_at_first else []),
            *([f"every {counted(section.sample_every_n_steps, 'step')}"] if section.sample_every_n_steps else []),
            *([f"every {counted(section.sample_every_n_epochs, 'epoch')}"] if section.sample_every_n_epochs else []),
        ]
        return f"{counted(len(self.shots), 'prompt')} {' and '.join(times)}"


def plan_previews(
    config: Config, family: FamilyForTask, sets: Sequence[CachedSet], trained: Sequence[Expert]
) -> PreviewPlan | None:
    """Return what previews will draw; None when none are asked for.

    Args:
        config: prompts, and when to draw them.
        family: the family, for its task.
        sets: what a prompt leaves open is as in most of the data set.
        trained: experts that are trained.

    Raises:
        UsageError: a prompt is wrong, or previews need files that are not given; all of it is named.
    """
    section = config.previews
    wanted = [name for name in _CADENCES if getattr(section, name)]
    if section.sample_prompts is None:
        if wanted:
            raise UsageError(f"`{wanted[0]}` needs prompts to draw", fix="name a file of them with `--sample-prompts`")
        return None
    if not wanted:
        raise UsageError(
            "`sample_prompts` is given, and nothing says when to draw", fix="add e.g. `--sample-every-n-epochs 1`"
        )
    files, plan = model_files(config.model), PreviewPlan(family.drawing())
    prompts = read_prompts(section.sample_prompts)
    problems = _missing_files(family.task.encoders, files)
    changed: list[str] = []
    for prompt in prompts:
        try:
            plan.shots.append(_complete(prompt, plan.drawing, family, sets, config.train.seed, changed))
        except BlissmaskError as error:
            problems += [
                Problem(f"{prompt.place}: {problem.what}", problem.where, problem.fix) for problem in error.problems
            ]
    if problems:
        raise UsageError.several(problems)
    if changed:
        plan.warnings.append(Problem("some previews are not drawn as they are written", tuple(changed)))
    _choose_onlookers(plan, family.experts, trained, files)
    return plan


def _complete(
    prompt: PreviewPrompt,
    drawing: Drawing,
    family: FamilyForTask,
    sets: Sequence[CachedSet],
    seed: int,
    changed: list[str],
) -> PlannedShot:
    """Fill in what the prompt leaves open, and put its size on the grid; ``changed`` takes a line for each rounding."""
    (usual_w, usual_h), usual_frames = _usual_size(family, sets)
    size_wh = (
        _on_grid(prompt, prompt.width or usual_w, family, "w", changed),
        _on_grid(prompt, prompt.height or usual_h, family, "h", changed),
    )
    cfg_scale = prompt.cfg_scale
    if cfg_scale is None:
        told = drawing.guidance is not None
        cfg_scale = drawing.cfg_scale if told or prompt.guidance_scale is None else prompt.guidance_scale
    if cfg_scale <= 1 and prompt.negative_prompt:
        changed.append(f"{prompt.place}: `--n` has no effect without `--l` above 1")
    return PlannedShot(
        place=prompt.place,
        prompt=prompt.prompt,
        negative=(prompt.negative_prompt or "") if cfg_scale > 1 else None,
        size_wh=size_wh,
        frames=_frames(prompt, prompt.frame_count or usual_frames, family, changed),
        steps=prompt.sample_steps or _STEPS,
        cfg_scale=max(cfg_scale, 1.0),
        guidance=None if drawing.guidance is None else prompt.guidance_scale or drawing.guidance,
        shift=prompt.discrete_flow_shift or drawing.shift,
        seed=seed if prompt.seed is None else prompt.seed,
        pictures=_pictures(prompt, drawing, family),
    )


def _usual_size(family: FamilyForTask, sets: Sequence[CachedSet]) -> tuple[tuple[int, int], int]:
    """Return the (width, height) in pixels and the frames that most of the data set has."""
    headers = [header for cached in sets for header in cached.headers]
    # The latent frames of a one-frame item are pictures, each for itself.
    shapes = Counter(
        (1 if "f_indices" in header.contents else header.latent_shape[1], *header.latent_shape[2:])
        for header in headers
    )
    frames, rows, columns = shapes.most_common(1)[0][0]
    latent = family.latent
    return (columns * latent.spatial_stride, rows * latent.spatial_stride), (frames - 1) * latent.temporal_stride + 1


def _on_grid(prompt: PreviewPrompt, side: int, family: FamilyForTask, letter: str, changed: list[str]) -> int:
    grid = family.latent.grid_multiple
    if side < grid:
        raise UsageError(f"`--{letter}` is {side}, and `{family.name}` draws from {grid} pixels on")
    if side % grid:
        changed.append(f"{prompt.place}: `--{letter}` {side} becomes {side // grid * grid}, a multiple of {grid}")
    return side // grid * grid


def _frames(prompt: PreviewPrompt, frames: int, family: FamilyForTask, changed: list[str]) -> int:
    stride = family.latent.temporal_stride
    if not family.task.takes_videos and frames > 1:
        raise UsageError(f"`--f` is {frames}, and `{family.name}` draws pictures only")
    rounded = (frames - 1) // stride * stride + 1
    if rounded != frames:
        changed.append(f"{prompt.place}: `--f` {frames} becomes {rounded}; frames come as {stride}k+1")
    return rounded


def _pictures(prompt: PreviewPrompt, drawing: Drawing, family: FamilyForTask) -> tuple[Path, ...]:
    """Return the files of the pictures that the family needs.

    Raises UsageError when there are too few, too many, or unreadable ones.
    """
    given = {"--i": (prompt.image_path,) if prompt.image_path else (), "--ci": prompt.control_image_path}
    fewest, most = drawing.pictures
    wanted = "" if not most else "--ci" if family.task.text_sees_controls else "--i"
    for option, paths in given.items():
        if paths and option != wanted:
            instead = f"; it takes `{wanted}`" if wanted else ""
            raise UsageError(f"`{option}` is not for `{family.name}` with this task{instead}")
    pictures = given.get(wanted, ())
    if not fewest <= len(pictures) <= most:
        need = f"{fewest} to {most} pictures" if most > fewest else counted(fewest, "picture")
        raise UsageError(
            f"{counted(len(pictures), 'picture')} given, and this task takes {need}", fix=f"name them with `{wanted}`"
        )
    for path in pictures:
        read_header(path)
    return pictures


def _missing_files(parts: Sequence[Part], files: ModelFiles) -> list[Problem]:
    """Return one problem that names every file which drawing needs and nobody named, and one for each not there."""
    missing: list[str] = []
    problems: list[Problem] = []
    for part in parts:
        if part.is_fetched_later(files):
            continue
        try:
            source = part.source(files)
        except UsageError:
            missing.append(f"{part.folder.replace('_', ' ')}: `{part.option}`")
            continue
        except BlissmaskError as error:
            problems += error.problems
            continue
        if source is not None and not source.exists():
            problems.append(Problem(f"previews need `{part.option}`, and there is no such file", (str(source),)))
    if missing:
        fix = "give them, or a diffusers folder with `--model`; or leave `sample_prompts` out"
        problems.insert(0, Problem("previews need model files that are not given", tuple(missing), fix))
    return problems


def _choose_onlookers(
    plan: PreviewPlan, experts: Sequence[Expert], trained: Sequence[Expert], files: ModelFiles
) -> None:
    """Let the experts that are not trained draw too where their files are given, and say so where they are not."""
    names = [expert.name for expert in trained]
    resting = [expert for expert in experts if expert.name not in names]
    plan.onlookers = tuple(expert for expert in resting if _is_there(expert.part, files))
    for expert in resting:
        if expert not in plan.onlookers:
            option = expert.part.option
            plan.warnings.append(
                Problem(
                    f"previews are drawn with the {names[0]}-noise expert alone, which is not how the model is used",
                    fix=f"name the {expert.name}-noise expert with `{option}`; it is not trained, and rests in CPU memory between previews",
                )
            )


def _is_there(part: Part, files: ModelFiles) -> bool:
    if part.is_fetched_later(files):
        return True
    try:
        source = part.source(files)
    except BlissmaskError:
        return False
    return source is None or source.exists()
