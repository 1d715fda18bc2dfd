"""What one call does, part by part.

`train --prepare` brings masks and cache up to date first; `cache --captions` writes captions first; with several
subjects, `instance` and `apply` go once for each of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from blissmask.cli.commands import APPLY, CACHE, INSTANCE, MASKS, TO_ALPHA, TRAIN, Command
from blissmask.config.flags import Flags
from blissmask.config.model import Config
from blissmask.config.sections.mask_sections import SubjectSection
from blissmask.errors import Problem, UsageError
from blissmask.processes import this_process
from blissmask.storage.near_miss import near_miss


@dataclass(frozen=True, slots=True)
class Part:
    """One command of the road.

    Attributes:
        name: what its heading calls it.
        command: which it is.
        config: with which it goes.
    """

    name: str
    command: Command
    config: Config


def road(command: Command, config: Config) -> list[Part]:
    """Return what to run one after another; without `--prepare`, `--captions` and [[subjects]] only ``command`` itself.

    Raises:
        UsageError: several processes share the training, and each would prepare everything; or references stand in
            two tables; or captions are to be written in a job array.
    """
    if command is not TRAIN or not config.train.prepare or command.task_for(config) is not TRAIN.task:
        return _parts_of(command, config)
    if this_process().count > 1:
        raise UsageError(
            "`--prepare` works in one process, and several share this training",
            fix="run the commands before `train` first, then `train` without `--prepare`",
        )
    # To do over is the training; masks that were mended by hand would be lost.
    made = config.model_copy(update={"run": config.run.model_copy(update={"force": False})})
    before = [part for each in (*_asked_for(config), CACHE) for part in _parts_of(each, made)]
    return [*before, *_parts_of(TRAIN, config)]


def refuse_captions_without(flags: Flags, config: Config) -> None:
    """Refuse what was typed for writing captions where none are written; a file may keep it for another time.

    Raises:
        UsageError: `--caption-model` or `--caption-prompt` stand without `--captions`.
    """
    typed = [
        f"--{name.replace('_', '-')}" for name in ("caption_model", "caption_prompt") if name in flags.get("cache", {})
    ]
    if typed and config.cache.captions is None:
        raise UsageError(
            f"`{typed[0]}` does nothing without `--captions`", fix="add `--captions transformers`, or leave it out"
        )


def refuse_missing_references(config: Config) -> None:
    """Refuse missing references of [[subjects]]. `instance` needs all of them: one's are negatives for the others.

    Raises:
        UsageError: names each with its subject.
    """
    problems = [
        Problem(
            f"subject `{subject.name}`: `references`: there is no such photo or folder",
            (str(path),),
            near_miss(path) or f"correct `references` of `{subject.name}` in [[subjects]]",
        )
        for subject in config.subjects
        for path in subject.references
        if _is_missing(path)
    ]
    if problems:
        raise UsageError.several(problems)


def _is_missing(path: Path) -> bool:
    try:
        path.stat()
    except FileNotFoundError:
        return True
    except OSError:
        # Something is there; the plan says what is the matter with it.
        return False
    return False


def _parts_of(command: Command, config: Config) -> list[Part]:
    if command is CACHE and config.cache.captions is not None:
        if this_process().apart:
            raise UsageError(
                "`--captions` cannot share photos in a job array: each process would encode captions that another one "
                "has still to write",
                fix="write all captions in one process first, then start the job array without `--captions`",
            )
        cached = config.model_copy(update={"cache": config.cache.model_copy(update={"captions": None})})
        return [Part("captions", command, config), Part(command.name, command, cached)]
    if command not in (INSTANCE, APPLY) or not config.subjects:
        return [Part(command.name, command, config)]
    if config.instance.reference:
        raise UsageError(
            "there are [[subjects]] with references, and `reference` of [instance] is set",
            fix="leave `reference` out, or make a [[subjects]] of it",
        )
    return [
        Part(f"{command.name}, {subject.name}", command, for_subject(config, subject)) for subject in config.subjects
    ]


def _asked_for(config: Config) -> Iterator[Command]:
    """Yield the commands before `cache` whose tables say what they read and write."""
    if _makes_masks(config):
        yield MASKS
    if config.instance.reference or config.subjects:
        yield INSTANCE
    if config.apply.weighted_masks is not None:
        yield APPLY
    if config.to_alpha.output_directory is not None:
        yield TO_ALPHA


def _makes_masks(config: Config) -> bool:
    """Return whether [masks] names folders, or a data set has a folder of masks that no other command fills."""
    if config.masks.input is not None or config.masks.output is not None:
        return True
    return any(
        dataset.mask_directory is not None
        and not config.is_filled_by_apply(dataset.mask_directory)
        and (dataset.image_directory or dataset.video_directory) is not None
        for dataset in config.datasets
    )


def for_subject(config: Config, subject: SubjectSection) -> Config:
    """Return the configuration with which `instance` and `apply` make the masks of one of several subjects.

    Its masks are in a folder of its own, and the references of the others say who it is not: a person belongs to one.
    """
    others = [path for other in config.subjects if other.name != subject.name for path in other.references]
    instance, apply = config.instance, config.apply
    return config.model_copy(
        update={
            "instance": instance.model_copy(
                update={
                    "reference": list(subject.references),
                    "negatives": [*instance.negatives, *others],
                    "output": _below(instance.output, subject),
                    "review": _below(instance.review, subject),
                    "sheet": _beside(instance.sheet, subject),
                }
            ),
            "apply": apply.model_copy(
                update={
                    "instance_masks": _below(apply.instance_masks, subject),
                    "output": _below(apply.output, subject),
                    "sheet": _beside(apply.sheet, subject),
                }
            ),
        }
    )


def _below(folder: Path | None, subject: SubjectSection) -> Path | None:
    return None if folder is None else folder / subject.name


def _beside(file: Path | None, subject: SubjectSection) -> Path | None:
    return None if file is None else file.with_name(f"{file.stem}-{subject.name}{file.suffix}")
