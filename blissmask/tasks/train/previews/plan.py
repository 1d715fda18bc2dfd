"""Plan the previews: complete each prompt by the family's defaults, and find missing files before a model is loaded."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from blissmask.cachefile.entry import CacheHeader
from blissmask.config.dataset_section import DatasetSection
from blissmask.config.model import Config
from blissmask.config.saving_section import PreviewsSection
from blissmask.dataset.captions.caption_words import (
    blanks,
    fill_in,
    how_to_fill,
    listed_names,
    unknown_names,
    words_for,
)
from blissmask.errors import BlissmaskError, Problem, UsageError
from blissmask.families.family import FamilyForTask
from blissmask.families.files.model_files import ModelFiles, is_tiny, model_files
from blissmask.families.files.part import Part
from blissmask.families.previews import PreviewPipeline, PreviewSettings
from blissmask.families.protocol import Expert
from blissmask.media.image import read_header
from blissmask.plurals import counted
from blissmask.storage.ordinary import what_is, why_no_file
from blissmask.tasks.train.previews.prompt_file import PreviewPrompt, parse_prompts, read_prompts

_STEPS = 20
"""Denoising steps of a prompt that names none; musubi-tuner's default."""
_STEPS_OF_MINIATURE = 4
"""The same for `--model tiny`: random weights draw noise in any number of steps, and at 1024 x 1024 each of them takes
seconds of a CPU."""

_WHEN = ("sample_every_n_steps", "sample_every_n_epochs", "sample_at_first")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPreview:
    """A prompt with everything filled in that it left open.

    Attributes:
        place: file and line of the prompt, for messages.
        prompt: what to draw.
        negative_prompt: None without classifier-free guidance.
        pictures: files of the first frame or of the control pictures.
        settings: of the sampling.
    """

    place: str
    prompt: str
    negative_prompt: str | None
    pictures: tuple[Path, ...]
    settings: PreviewSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewPlan:
    """The previews of a run.

    Attributes:
        pipeline: how the family draws.
        previews: in the order of the prompt file.
        frozen_experts: experts that are not trained, and draw together with those that are.
        warnings: what differs from the prompts, or from how the model is used.
    """

    pipeline: PreviewPipeline
    previews: tuple[PlannedPreview, ...]
    frozen_experts: tuple[Expert, ...]
    warnings: tuple[Problem, ...]

    def describe(self, section: PreviewsSection, *, end_apart: bool) -> str:
        """Return how many previews there are, and when, e.g. ``2 prompts every 500 steps``.

        Args:
            section: says when to draw.
            end_apart: whether the last step is none of those, and draws, too.
        """
        times = []
        if section.sample_at_first:
            times.append("before the first step")
        if section.sample_every_n_steps:
            times.append(f"every {counted(section.sample_every_n_steps, 'step')}")
        if section.sample_every_n_epochs:
            times.append(f"every {counted(section.sample_every_n_epochs, 'epoch')}")
        if end_apart:
            times.append("after the last step")
        return f"{counted(len(self.previews), 'prompt')} {' and '.join(times)}"


@dataclass(frozen=True, slots=True)
class _Size:
    """Width and height in pixels, and the number of frames."""

    width: int
    height: int
    frame_count: int


def plan_previews(
    config: Config, family: FamilyForTask, headers: Sequence[CacheHeader], trained: Sequence[Expert]
) -> PreviewPlan | None:
    """Plan the previews; None when none are asked for.

    Args:
        config: names the prompts, and when to draw them.
        family: for the task that is trained.
        headers: of the data set; a prompt without a size gets the commonest one.
        trained: the experts that are trained.

    Raises:
        UsageError: prompts are wrong, or previews need files that are not given; all of them are named. Missing files
            are warnings of a dry run.
        ModelError: the file of an expert that draws previews cannot be read, or is another model's.
    """
    prompts = _prompts(config)
    if not prompts:
        return None
    _check_preview_model(config, family)
    files, pipeline = model_files(config.model), family.preview_pipeline()
    missing = _missing_files(family.task.encoders, files)
    # A dry run only tells of files that are not here yet.
    problems = [] if config.run.dry_run else list(missing)
    usual = _usual_size(family, headers)
    steps = _STEPS_OF_MINIATURE if is_tiny(files) else _STEPS
    previews: list[PlannedPreview] = []
    changes: list[str] = []
    for prompt in prompts:
        asked = _Size(
            prompt.width or usual.width, prompt.height or usual.height, prompt.frame_count or usual.frame_count
        )
        try:
            preview = _complete(prompt, asked, family, pipeline, default_steps=steps, default_seed=config.train.seed)
        except BlissmaskError as error:
            problems += [
                Problem(f"{prompt.place}: {problem.what}", problem.where, problem.fix) for problem in error.problems
            ]
        else:
            previews.append(preview)
            changes += _changes(prompt, asked, preview.settings, family, pipeline)
    if problems:
        raise UsageError.several(problems)
    present, warnings = _frozen_experts(family.experts, trained, files)
    if config.run.dry_run:
        warnings = [*missing, *warnings]
    if changes:
        warnings.insert(0, Problem("some previews are not drawn as they are written", tuple(changes)))
    return PreviewPlan(
        pipeline=pipeline, previews=tuple(previews), frozen_experts=tuple(present), warnings=tuple(warnings)
    )


def _prompts(config: Config) -> list[PreviewPrompt]:
    """Return the prompts of the file, else of the configuration, with the trigger in them; none where none are wanted.

    Raises:
        UsageError: prompts are wrong, prompts without a time, or a time or a model without prompts.
    """
    section = config.previews
    wanted = [name for name in _WHEN if getattr(section, name)]
    given = next((name for name in ("sample_prompts", "prompts") if getattr(section, name)), "")
    if not given and wanted:
        raise UsageError(f"`{wanted[0]}` needs prompts to draw", fix="name a file of them with `--sample-prompts`")
    needing = {
        "preview_dit": section.preview_dit is not None,
        "likeness_reference": bool(section.likeness_reference),
        "likeness = photos": section.likeness == "photos",
    }
    if not given and any(needing.values()):
        name = next(name for name, is_needing in needing.items() if is_needing)
        raise UsageError(f"`{name}` needs prompts to draw", fix="name a file of them with `--sample-prompts`")
    if given and not wanted:
        raise UsageError(
            f"`{given}` is given, and nothing says when to draw", fix="add e.g. `--sample-every-n-epochs 1`"
        )
    if section.sample_prompts:
        # A file that is named, mostly on the command line, takes the place of what the configuration lists.
        prompts = read_prompts(section.sample_prompts)
    else:
        listed = ((f"[previews] prompt {number}", text) for number, text in enumerate(section.prompts, 1))
        prompts = parse_prompts(listed)
    return [_with_words(prompt, config.datasets) for prompt in prompts]


def _with_words(prompt: PreviewPrompt, datasets: Sequence[DatasetSection]) -> PreviewPrompt:
    """Return a prompt with the trigger and the class word of the first data set that has them, and those of subjects.

    Raises:
        UsageError: it has a placeholder for which no data set has a word, or that is none.
    """
    words: dict[str, str | None] = {}
    for dataset in datasets:
        words |= {name: word for name, word in words_for(dataset).items() if not words.get(name)}
    if missing := blanks(prompt.prompt, words):
        what = f"{prompt.place}: {{{missing[0]}}} stands in it, and `{missing[0]}` is blank"
        raise UsageError(what, fix=how_to_fill(missing[0]))
    if unknown := unknown_names(prompt.prompt, words):
        what = f"{prompt.place}: {{{unknown[0]}}} stands in it, and is the name of nothing"
        raise UsageError(what, fix=f"these are filled in: {listed_names(words)}")
    return dataclasses.replace(prompt, prompt=fill_in(prompt.prompt, words))


def _check_preview_model(config: Config, family: FamilyForTask) -> None:
    """Raise UsageError when another model cannot draw, or is not there."""
    path = config.previews.preview_dit
    if path is None:
        return
    if len(family.experts) > 1:
        raise UsageError(
            f"`preview_dit` is one model, and `{family.name}` draws with two", fix="leave `--preview-dit` out"
        )
    if config.memory.fsdp:
        raise UsageError("`preview_dit` would have to be spread over the processes too", fix="leave `--fsdp` out")
    why = why_no_file(path, "file to draw previews with")
    if why:
        raise UsageError(why, where=[path], fix="correct `--preview-dit`")


def _usual_size(family: FamilyForTask, headers: Sequence[CacheHeader]) -> _Size:
    """Return the size that most of the data set has."""
    shapes: Counter[tuple[int, ...]] = Counter()
    for header in headers:
        frames, rows, columns = header.latent_shape[1:]
        # The latent frames of a one-frame item are pictures of their own.
        shapes[1 if "f_indices" in header.contents else frames, rows, columns] += 1
    frames, rows, columns = shapes.most_common(1)[0][0]
    latent = family.latent
    return _Size(
        width=columns * latent.spatial_stride,
        height=rows * latent.spatial_stride,
        frame_count=(frames - 1) * latent.temporal_stride + 1,
    )


def _complete(
    prompt: PreviewPrompt,
    asked: _Size,
    family: FamilyForTask,
    pipeline: PreviewPipeline,
    *,
    default_steps: int,
    default_seed: int,
) -> PlannedPreview:
    """Fill in what the prompt leaves open, and round its size to what the family can draw.

    Raises:
        UsageError: the family cannot draw this size, or takes other pictures.
        MediaError: a picture cannot be read.
    """
    size_wh = (_on_grid("w", asked.width, family), _on_grid("h", asked.height, family))
    cfg_scale = _cfg_scale(prompt, pipeline)
    settings = PreviewSettings(
        size_wh=size_wh,
        frame_count=_whole_latent_frames(asked.frame_count, family),
        steps=prompt.sample_steps or default_steps,
        cfg_scale=cfg_scale,
        guidance_scale=_guidance_scale(prompt, pipeline),
        shift=prompt.discrete_flow_shift or pipeline.shift,
        seed=default_seed if prompt.seed is None else prompt.seed,
    )
    return PlannedPreview(
        place=prompt.place,
        prompt=prompt.prompt,
        negative_prompt=(prompt.negative_prompt or "") if cfg_scale > 1 else None,
        pictures=_pictures(prompt, family, pipeline),
        settings=settings,
    )


def _on_grid(letter: str, side: int, family: FamilyForTask) -> int:
    """Return ``side`` rounded down to the family's grid; raises UsageError when nothing is left."""
    grid = family.latent.grid_multiple
    if side < grid:
        raise UsageError(f"`--{letter}` is {side}, and `{family.name}` draws from {grid} pixels on")
    return side // grid * grid


def _whole_latent_frames(frame_count: int, family: FamilyForTask) -> int:
    """Return ``frame_count`` rounded down to whole latent frames; raises UsageError for a clip of a picture model."""
    if not family.task.takes_videos and frame_count > 1:
        raise UsageError(f"`--f` is {frame_count}, and `{family.name}` draws pictures only")
    stride = family.latent.temporal_stride
    return (frame_count - 1) // stride * stride + 1


def _cfg_scale(prompt: PreviewPrompt, pipeline: PreviewPipeline) -> float:
    """Return the scale of classifier-free guidance, at least 1, which turns it off."""
    scale = prompt.cfg_scale
    if scale is None and pipeline.guidance_scale is None:
        scale = prompt.guidance_scale
    return max(pipeline.cfg_scale if scale is None else scale, 1.0)


def _guidance_scale(prompt: PreviewPrompt, pipeline: PreviewPipeline) -> float | None:
    """Return the embedded guidance of a distilled model; None for other models."""
    if pipeline.guidance_scale is None:
        return None
    return prompt.guidance_scale or pipeline.guidance_scale


def _changes(
    prompt: PreviewPrompt, asked: _Size, settings: PreviewSettings, family: FamilyForTask, pipeline: PreviewPipeline
) -> list[str]:
    """Return what is drawn otherwise than it is written, one line each."""
    width, height = settings.size_wh
    grid, stride = family.latent.grid_multiple, family.latent.temporal_stride
    lines = []
    if width != asked.width:
        lines.append(f"`--w` {asked.width} becomes {width}, a multiple of {grid}")
    if height != asked.height:
        lines.append(f"`--h` {asked.height} becomes {height}, a multiple of {grid}")
    if not pipeline.takes_negatives and (prompt.negative_prompt or (prompt.cfg_scale or 1) > 1):
        lines.append(f"`--n` and `--l` have no effect: the guidance of `{family.name}` is `--g`")
    elif settings.cfg_scale <= 1 and prompt.negative_prompt:
        lines.append("`--n` has no effect without `--l` above 1")
    if settings.frame_count != asked.frame_count:
        lines.append(f"`--f` {asked.frame_count} becomes {settings.frame_count}; frames come as {stride}k+1")
    return [f"{prompt.place}: {line}" for line in lines]


def _pictures(prompt: PreviewPrompt, family: FamilyForTask, pipeline: PreviewPipeline) -> tuple[Path, ...]:
    """Return the files of the pictures that the family needs.

    Raises:
        UsageError: there are too few or too many, or they are given by the wrong option.
        MediaError: one cannot be read.
    """
    given = {"--i": (prompt.image_path,) if prompt.image_path else (), "--ci": prompt.control_image_path}
    fewest, most = pipeline.pictures
    wanted = _picture_option(family, most)
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


def _picture_option(family: FamilyForTask, most: int) -> str:
    """Return the option of a prompt that names the family's pictures; empty when it takes none."""
    if most == 0:
        return ""
    return "--ci" if family.task.control_range[1] else "--i"


def _missing_files(parts: Sequence[Part], files: ModelFiles) -> list[Problem]:
    """Return one problem about all files that nobody named, and one about each that does not exist."""
    unnamed: list[str] = []
    problems: list[Problem] = []
    for part in parts:
        if part.is_fetched_later(files):
            continue
        try:
            source = part.source(files)
        except UsageError:
            unnamed.append(f"{part.folder.replace('_', ' ')}: `{part.option}`")
            continue
        except BlissmaskError as error:
            problems += error.problems
            continue
        why = "" if source is None or what_is(source) == "a folder" else why_no_file(source)
        if why:
            problems.append(Problem(f"previews need `{part.option}`, and {why}", (str(source),)))
    if unnamed:
        fix = "give them, or a diffusers folder with `--model`; or leave the prompts out"
        problems.insert(0, Problem("previews need model files that are not given", tuple(unnamed), fix))
    return problems


def _frozen_experts(
    experts: Sequence[Expert], trained: Sequence[Expert], files: ModelFiles
) -> tuple[list[Expert], list[Problem]]:
    """Return the experts that are not trained and whose files are here, and warnings about those that are not here."""
    present: list[Expert] = []
    warnings: list[Problem] = []
    names = [expert.name for expert in trained]
    for expert in experts:
        if expert.name in names:
            continue
        if expert.part.is_here(files):
            expert.part.check(files)
            present.append(expert)
            continue
        what = f"previews are drawn with the {names[0]}-noise expert alone, which is not how the model is used"
        fix = (
            f"name the {expert.name}-noise expert with `{expert.part.option}`; "
            "it is not trained, and rests in CPU memory between previews"
        )
        warnings.append(Problem(what, fix=fix))
    return present, warnings
