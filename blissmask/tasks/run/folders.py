"""Which folders a task reads and writes: all there, and the output none of the inputs."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from blissmask.config.config_file import how_to_start
from blissmask.config.model import Config
from blissmask.errors import Problem, UsageError
from blissmask.plurals import listed, verb
from blissmask.storage.content import shared_places, without_links
from blissmask.tasks.run.wording import bytes_text


@dataclass(frozen=True, slots=True)
class FolderPair:
    """A folder of photos or videos, and the folder for their masks."""

    input: Path
    output: Path


def required(config: Config, table: str, folders: Mapping[str, Path | None]) -> list[Path]:
    """Return the folders in the order given.

    Args:
        config: the whole configuration, whose file the message names.
        table: the TOML table they belong to, e.g. ``to_alpha``.
        folders: field name -> folder.

    Raises:
        UsageError: some are not given; names each flag and key.
    """
    absent = [name for name, folder in folders.items() if folder is None]
    if absent:
        raise UsageError.several([missing(config, table, *absent)])
    return [folder for folder in folders.values() if folder is not None]


def missing(config: Config, table: str, *names: str) -> Problem:
    """Return the problem of folders that must be given, as flags or as keys of ``table``."""
    flags = [f"--{name.replace('_', '-')}" for name in names]
    given = " ".join(f"{flag} FOLDER" for flag in flags)
    keys = listed(f"`{name}`" for name in names)
    setting = f"give `{given}`, or set {keys} under [{table}] in the configuration file"
    what = f"{listed(f'`{flag}`' for flag in flags)} {verb(len(flags), 'is', 'are')} missing"
    return Problem(what, fix=f"{setting}; {how_to_start(config.read_from, table)}")


def refuse_output_in_place(output: Path, inputs: Mapping[str, Path]) -> None:
    """Refuse to write into a folder that is read: results would stand between the inputs, or replace them.

    Folders inside an input are fine, since sub-folders are not entered.

    Args:
        output: the folder to write to; need not exist.
        inputs: what each input folder is called in the message -> folder.

    Raises:
        UsageError: ``output`` is one of ``inputs``, by whatever path or link.
    """
    for name, folder in inputs.items():
        if without_links(output) == without_links(folder):
            raise UsageError(
                f"the output folder is the folder of {name}",
                where=[output],
                fix="choose another output folder; inputs are never changed",
            )


def room_warning(folder: Path, needed: int, what: str, *, fix: str) -> list[Problem]:
    """Warn when the disk of a folder, which need not exist, has clearly less room than will be written there.

    Args:
        folder: where it is written.
        needed: about how many bytes.
        what: what needs them, with its verb: "the cache needs".
        fix: how to mend it.
    """
    present = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(present).free
    if needed <= free:
        return []
    sentence = f"{what} about {bytes_text(needed)}, and {bytes_text(free)} are free"
    return [Problem(sentence, (str(folder),), fix)]


def pairs_to_do(
    config: Config, table: str, source: Path | None, output: Path | None
) -> tuple[list[FolderPair], list[Problem]]:
    """Return which folders to go through: the one given, else every image or video folder of the data sets.

    Args:
        config: the whole configuration.
        table: the TOML table that ``source`` and ``output`` come from.
        source: its ``input``.
        output: its ``output``.

    Returns:
        The pairs, without repetition, and warnings about data sets that name no folder.

    Raises:
        UsageError: something is not given, an output is an input, or two inputs share an output.
    """
    if source is not None or output is not None or not config.datasets:
        source_folder, output_folder = required(config, table, {"input": source, "output": output})
        pairs, warnings = [FolderPair(source_folder, output_folder)], list[Problem]()
    else:
        pairs, warnings = _pairs_of_datasets(config)
    for pair in pairs:
        refuse_output_in_place(pair.output, {"photos": pair.input})
    shared = shared_places([pair.output for pair in pairs])
    if shared:
        raise UsageError(
            "several data sets would share one folder of masks",
            where=sorted(pairs[positions[0]].output for positions in shared.values()),
            fix="give each its own `mask_directory`",
        )
    return pairs, warnings


def _pairs_of_datasets(config: Config) -> tuple[list[FolderPair], list[Problem]]:
    pairs: list[FolderPair] = []
    problems: list[Problem] = []
    without_folder: list[str] = []
    for number, dataset in enumerate(config.datasets, 1):
        folder = dataset.image_directory or dataset.video_directory
        if folder is None:
            without_folder.append(f"dataset {number}")
        elif dataset.mask_directory is None:
            what = f"dataset {number} has no `mask_directory`"
            problems.append(Problem(what, (str(folder),), "say in the configuration where its masks go"))
        elif dataset.several:
            what = f"dataset {number} takes the masks of several subjects, which `apply` makes"
            fix = "give `--input` and `--output` for the masks of everybody"
            problems.append(Problem(what, (str(dataset.mask_directory),), fix))
        else:
            pairs.append(FolderPair(folder, dataset.mask_directory))
    if problems:
        raise UsageError.several(problems)
    if not pairs:
        raise UsageError(
            "no data set names a folder of photos or videos",
            where=without_folder,
            fix="give `--input FOLDER` and `--output FOLDER`",
        )
    warnings = []
    if without_folder:
        fix = "name their folders with `--input` and `--output`"
        what = "data sets that list files, not a folder, are left out"
        warnings.append(Problem(what, tuple(without_folder), fix))
    return list(dict.fromkeys(pairs)), warnings
