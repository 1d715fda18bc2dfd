"""Plan `cache --captions`: which photos have no caption file, and where it goes."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from blissmask.config.model import Config
from blissmask.config.sections.dataset_section import CaptionStyle, DatasetSection
from blissmask.dataset.captions.caption_words import blanks, fill_in, how_to_fill, words_for
from blissmask.dataset.collect import caption_files
from blissmask.errors import Problem, UsageError
from blissmask.networks.caption_model import EXAMPLE, check_caption_folder
from blissmask.storage.seen import states_of
from blissmask.tasks.run.plan import Action, Plan, PlannedItem

COMMAND = "cache"


@dataclass(frozen=True, slots=True)
class CaptionForm:
    """How the captions of a data set are asked for and written.

    Attributes:
        prompt: what the model is asked, with the words for its placeholders.
        trigger: the word that stands for the subject, written as ``{trigger}``; empty where there is none, and for
            photos of other people.
        style: what a caption file holds.
    """

    prompt: str
    trigger: str
    style: CaptionStyle


@dataclass(slots=True, kw_only=True)
class CaptionsPlan(Plan):
    """What `cache --captions` will do.

    Attributes:
        folder: of the model.
        device: as written in the configuration.
        forms: how the caption of each item is written, by key. The key is the caption file: photos of one name may
            share it, and one photo may have several.
    """

    folder: Path
    device: str
    forms: dict[str, CaptionForm]


def outputs(config: Config) -> tuple[Path, ...]:
    """Return the folders of the captions: ``caption_directory``, or the photos' own."""
    folders = (
        section.caption_directory or section.image_directory
        for section in config.datasets
        if section.image_directory is not None
    )
    return tuple(dict.fromkeys(folder for folder in folders if folder is not None))


def plan(config: Config) -> CaptionsPlan:
    """Find the photos without a caption file.

    Raises:
        UsageError: no model is named, or what it is asked holds a placeholder without a word.
        ModelError: there are photos to describe, and the model's folder is no such.
        InputError: a folder cannot be read, holds nothing, or two photos have one name.
    """
    folder = config.cache.caption_model
    if folder is None:
        raise UsageError(
            "`--captions` needs a model, and none is named",
            fix="name the folder of a vision-language model with `--caption-model FOLDER`, "
            f"such as a copy of `{EXAMPLE}`",
        )
    items: dict[str, PlannedItem] = {}
    forms: dict[str, CaptionForm] = {}
    for section in config.datasets:
        if section.image_directory is None:
            continue
        form = _form(section, config.cache.caption_prompt)
        for item in _items(section):
            if items.setdefault(item.key, item) is item:
                forms[item.key] = form
    if any(item.action is Action.WRITE for item in items.values()):
        check_caption_folder(folder)
    return CaptionsPlan(
        command=COMMAND,
        items=list(items.values()),
        outputs=outputs(config),
        warnings=[*_without_photos(items.values()), *_left_out(config)],
        folder=folder,
        device=config.model.device,
        forms=forms,
    )


def _form(section: DatasetSection, prompt: str) -> CaptionForm:
    # Photos that are only held to the base model show other people.
    trigger = "" if section.prior else section.trigger or ""
    words = words_for(section)
    if missing := blanks(prompt, words):
        raise UsageError(
            f"`caption_prompt` holds {{{missing[0]}}}, and `{missing[0]}` is blank",
            fix=f"{how_to_fill(missing[0])}, or ask without it",
        )
    return CaptionForm(fill_in(prompt, words), trigger, section.caption_style or "text")


def _items(section: DatasetSection) -> Iterator[PlannedItem]:
    for photo, caption in caption_files(section):
        states = states_of((photo,), caption)
        # A link that leads nowhere is not replaced either.
        if os.path.lexists(caption):
            yield PlannedItem(str(caption), Action.SKIP, "has a caption", (photo,), caption)
        else:
            yield PlannedItem(str(caption), Action.WRITE, "no caption", (photo,), caption, states=states)


def _without_photos(items: Collection[PlannedItem]) -> list[Problem]:
    if items:
        return []
    fix = "give a data set `image_directory`; videos and lists are left out"
    return [Problem("there are no photos to describe", fix=fix)]


def _left_out(config: Config) -> list[Problem]:
    """Name the data sets that get no captions."""
    videos = [str(section.video_directory) for section in config.datasets if section.video_directory is not None]
    lists = [section.image_jsonl_file or section.video_jsonl_file for section in config.datasets]
    listed = [str(path) for path in lists if path is not None]
    problems = []
    if videos:
        what = "videos get no captions: what moves in them cannot be seen in a picture"
        problems.append(Problem(what, tuple(videos), "write them yourself"))
    if listed:
        problems.append(Problem("captions of lists stand in the lists, and are left as they are", tuple(listed)))
    return problems
