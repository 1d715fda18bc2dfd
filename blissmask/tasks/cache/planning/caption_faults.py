"""Captions that cannot be encoded: no file, or a placeholder for which nobody gave a word."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from blissmask.config.model import Config
from blissmask.config.sections.dataset_section import DatasetSection
from blissmask.dataset.captions.caption_file import HOW_TO_CAPTION, caption_of, extension_advice, other_captions
from blissmask.dataset.captions.caption_words import blanks, fill_in, how_to_fill, words_for
from blissmask.dataset.collect import collect_captions
from blissmask.dataset.item import DatasetItem
from blissmask.errors import InputError, Problem
from blissmask.storage.content import without_links
from blissmask.tasks.run.wording import about


@dataclass(slots=True)
class CaptionFaults:
    """The faults of the captions of a data set.

    Attributes:
        without_caption: items that lack their caption file.
        with_blanks: name -> items whose captions hold it in braces, and nobody gave a word for it.
    """

    without_caption: list[DatasetItem] = field(default_factory=list)
    with_blanks: dict[str, list[DatasetItem]] = field(default_factory=dict)

    def text_of(self, item: DatasetItem, section: DatasetSection) -> str | None:
        """Return the caption of an item with the words for its placeholders; None, and keep it here, if it has a fault.

        Raises:
            InputError: the caption cannot be read.
        """
        if item.caption_path is not None and not item.caption_path.exists():
            self.without_caption.append(item)
            return None
        caption = caption_of(item, section.caption_style or "text")
        words = words_for(section)
        if missing := blanks(caption, words):
            self.with_blanks.setdefault(missing[0], []).append(item)
            return None
        return fill_in(caption, words)

    @property
    def problems(self) -> list[Problem]:
        """Return what must be mended before captions are encoded."""
        problems = [_no_captions(self.without_caption)] if self.without_caption else []
        for name, items in self.with_blanks.items():
            problems.append(
                about(items, f"{{}} with {{{{{name}}}}} in the caption, and `{name}` is blank", how_to_fill(name))
            )
        return problems


def refuse_captions(config: Config) -> None:
    """Refuse captions that `cache` would refuse, before the hours of work that may come before it.

    Data sets that are made on the way, by `to-alpha`, are left to `cache`, and so is what cannot be read.

    Raises:
        InputError: photos or videos have no caption, or one with a placeholder without a word; names all of them.
    """
    problems = [
        problem for number, section in enumerate(config.datasets, 1) for problem in _faults(config, section, number)
    ]
    if problems:
        raise InputError.several(problems)


def _faults(config: Config, section: DatasetSection, number: int) -> Iterator[Problem]:
    if _is_made_on_the_way(section, config.to_alpha.output_directory):
        return
    faults = CaptionFaults()
    try:
        items = collect_captions(section, number)
    except InputError:
        return
    for item in items:
        try:
            faults.text_of(item, section)
        except InputError:
            continue
    if config.cache.captions is not None and section.image_directory is not None:
        # A model will write them; it describes neither videos nor the photos of a list.
        faults.without_caption.clear()
    for problem in faults.problems:
        yield dataclasses.replace(problem, within=f"in dataset {number}")


def _is_made_on_the_way(section: DatasetSection, output: Path | None) -> bool:
    """Return whether `to-alpha`, which writes to ``output``, fills the folder of photos, by whatever path or link."""
    folder = section.image_directory
    return folder is not None and output is not None and without_links(folder) == without_links(output)


def _no_captions(items: Sequence[DatasetItem]) -> Problem:
    """Return the problem of items without a caption, with the files beside them that may be meant as captions."""
    problem = about(items, "no caption for {}", HOW_TO_CAPTION)
    others = other_captions((item.media, item.caption_path.parent) for item in items if item.caption_path is not None)
    if not others:
        return problem
    where = [f"{path}: there is {others[Path(path)].name}" if Path(path) in others else path for path in problem.where]
    return Problem(problem.what, tuple(where), extension_advice(others))
