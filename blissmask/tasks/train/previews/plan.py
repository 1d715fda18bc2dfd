"""Plan the previews: read the prompts, and find missing files before a model is loaded."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from blissmask.cachefile.entry import CacheHeader
from blissmask.config.model import Config
from blissmask.config.sections.dataset_section import DatasetSection
from blissmask.config.sections.saving_section import PreviewsSection
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
from blissmask.families.files.model_files import WHERE_FILES_ARE, ModelFiles, is_tiny, model_files
from blissmask.families.files.part import Part
from blissmask.families.previews.pipeline import PreviewPipeline
from blissmask.families.protocol import Expert
from blissmask.plurals import counted, verb
from blissmask.storage.ordinary import what_is, why_no_file
from blissmask.tasks.train.previews.complete_prompt import PlannedPreview, Size, changes_of, complete, usual_size
from blissmask.tasks.train.previews.prompt_file import PreviewPrompt, parse_prompts, read_prompts

_STEPS = 20
"""Denoising steps of a prompt that names none; musubi-tuner's default."""
_STEPS_OF_MINIATURE = 4
"""The same for `--model tiny`: random weights draw noise in any number of steps, and at 1024 x 1024 each of them takes
seconds of a CPU."""

_WHEN = ("sample_every_n_steps", "sample_every_n_epochs", "sample_at_first")


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
    # Whoever has no files yet learns of all of them at once; a dry run only tells of them, and of the denoisers apart.
    denoisers = [] if config.run.dry_run else [expert.part for expert in trained]
    missing = _missing_files(family.task.encoders, denoisers, files)
    problems = [] if config.run.dry_run else list(missing)
    usual = usual_size(family, headers)
    steps = _STEPS_OF_MINIATURE if is_tiny(files) else _STEPS
    previews: list[PlannedPreview] = []
    changes: list[str] = []
    for prompt in prompts:
        asked = Size(
            prompt.width or usual.width, prompt.height or usual.height, prompt.frame_count or usual.frame_count
        )
        try:
            preview = complete(prompt, asked, family, pipeline, default_steps=steps, default_seed=config.train.seed)
        except BlissmaskError as error:
            problems += [
                Problem(f"{prompt.place}: {problem.what}", problem.where, problem.fix) for problem in error.problems
            ]
        else:
            previews.append(preview)
            changes += changes_of(prompt, asked, preview.settings, family, pipeline)
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


def _missing_files(parts: Sequence[Part], denoisers: Sequence[Part], files: ModelFiles) -> list[Problem]:
    """Return one problem about all files that nobody named, one about all that are not there, and those of others.

    Args:
        parts: with which previews are drawn, but for the denoiser.
        denoisers: that are trained; they are looked at elsewhere, and named here if they are not there.
        files: what was named.
    """
    unnamed: list[str] = []
    absent: list[str] = []
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
        kind = "" if source is None else what_is(source)
        why = "" if source is None or kind == "a folder" else why_no_file(source)
        if why and kind:
            problems.append(Problem(f"previews need `{part.option}`, and {why}", (str(source),)))
        elif why:
            absent.append(f"{part.field}, for previews: {source}")
    if absent:
        named = {part.field: getattr(files, part.field) for part in denoisers if not part.is_here(files)}
        absent += [f"{field}: {path}" for field, path in named.items() if path is not None]
        what = f"{counted(len(absent), 'model file')} {verb(len(absent), 'is', 'are')} not there"
        problems.append(Problem(what, tuple(absent), WHERE_FILES_ARE))
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
