"""The road of `train --prepare`: the commands that bring masks and cache up to date, as the configuration asks for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from blissmask.cli.commands import APPLY, CACHE, INSTANCE, MASKS, TO_ALPHA, TRAIN, Command
from blissmask.config.model import Config
from blissmask.errors import UsageError
from blissmask.processes import this_process


def road(command: Command, config: Config) -> Sequence[Command]:
    """Return the commands to run one after another; without `--prepare` only ``command`` itself.

    Raises:
        UsageError: several processes share the training, and each would prepare everything.
    """
    if command is not TRAIN or not config.train.prepare or command.task_for(config) is not TRAIN.task:
        return [command]
    if this_process().count > 1:
        raise UsageError(
            "`--prepare` works in one process, and several share this training",
            fix="run the commands before `train` first, then `train` without `--prepare`",
        )
    return [*_asked_for(config), CACHE, TRAIN]


def _asked_for(config: Config) -> Iterator[Command]:
    """Yield the commands before `cache` whose tables say what they read and write."""
    if _makes_masks(config):
        yield MASKS
    if config.instance.reference:
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
        dataset.mask_directory not in (None, config.apply.output)
        and (dataset.image_directory or dataset.video_directory) is not None
        for dataset in config.datasets
    )
