"""The cached data set of a training: its family, its entries, and the order of its micro-batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from blissmask.cachefile.entry import CacheHeader
from blissmask.config.config_file import how_to_start
from blissmask.config.model import Config
from blissmask.config.sections.model_section import ModelSection
from blissmask.errors import Hint, UsageError
from blissmask.families.family import FamilyForTask
from blissmask.families.registry import load_family
from blissmask.training.data.batch_order import BatchOrder
from blissmask.training.data.cached_set import (
    CachedSet,
    prior_positions,
    read_set,
    refuse_shared_folders,
    remembered_family,
)
from blissmask.training.validation import choose_held_out, without


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """What is trained on.

    Attributes:
        sets: the caches of the data sets.
        order: the micro-batches of all sets; its items are in the order of :attr:`headers`.
        held_out: positions of the items that are only validated on.
        left_out: positions of the items that are neither trained nor validated on, since their masks are empty.
    """

    sets: tuple[CachedSet, ...]
    order: BatchOrder
    held_out: tuple[int, ...]
    left_out: tuple[int, ...] = ()

    @property
    def headers(self) -> list[CacheHeader]:
        """Return the entries of all sets, in order."""
        return headers_of(self.sets)

    @property
    def used_headers(self) -> list[CacheHeader]:
        """Return the entries that are trained or validated on, in order; there is one at least."""
        apart = set(self.left_out)
        return [header for position, header in enumerate(self.headers) if position not in apart]

    @property
    def trained_count(self) -> int:
        """Return how many items are trained on, those that are only held to the base model included."""
        return len(self.order.items) - len(self.held_out) - len(self.left_out)

    @property
    def prior_only(self) -> frozenset[int]:
        """Return the positions of the items that are held to the base model, and teach nothing."""
        return prior_positions(self.sets)

    @property
    def only_held_share(self) -> float:
        """Return which share of the items that an epoch shows is only held to the base model."""
        shown = [item.repeats for item in self.order.items]
        return sum(shown[position] for position in self.prior_only) / sum(shown)


def headers_of(sets: Sequence[CachedSet]) -> list[CacheHeader]:
    """Return the entries of all sets, in order."""
    return [header for cached in sets for header in cached.headers]


def item_names(headers: Sequence[CacheHeader]) -> list[str]:
    """Return a name for each item, the stem where no other has it, and else as much of its path as tells it apart.

    The same photo may be in the data sets of two subjects, and a clip in several sizes.
    """
    names = [header.stem for header in headers]
    for longer in (_in_its_folder, _file_in_its_folder, _whole_path):
        counts = Counter(names)
        names = [name if counts[name] == 1 else longer(header) for name, header in zip(names, headers, strict=True)]
    return names


def _in_its_folder(header: CacheHeader) -> str:
    return f"{header.path.parent.name}/{header.stem}"


def _file_in_its_folder(header: CacheHeader) -> str:
    return f"{header.path.parent.name}/{header.path.stem}"


def _whole_path(header: CacheHeader) -> str:
    return str(header.path)


def cache_folders(config: Config) -> list[Path]:
    """Return the cache folder of each data set.

    Raises:
        UsageError: there is no data set, one has no folder, or two share one.
    """
    if not config.datasets:
        raise UsageError(
            "there is no dataset",
            fix=f"give `--config FILE` with [[datasets]], as for `blissmask cache`; {how_to_start(config.read_from)}",
        )
    folders = []
    for number, dataset in enumerate(config.datasets, 1):
        folder = dataset.cache_directory or dataset.image_directory or dataset.video_directory
        if folder is None:
            raise UsageError(
                f"dataset {number} has no cache folder", fix="set `cache_directory` for it, as for `blissmask cache`"
            )
        folders.append(folder)
    refuse_shared_folders(folders)
    return folders


def choose_family(model: ModelSection, folders: Sequence[Path]) -> FamilyForTask:
    """Return the family and task that the user named, or else those that the caches remember.

    Raises:
        UsageError: the family is not known, or has no such task.
        CacheError: the caches remember different families.
    """
    name, task = model.arch, model.task
    if name is None or task is None:
        remembered = remembered_family(folders, named=name)
        if remembered is not None:
            name, task = name or remembered[0], task or remembered[1]
    if name is None:
        raise UsageError(
            "the model family is not known",
            fix=Hint("give `--arch NAME`, or run `{command}` first: caches remember it", "cache"),
        )
    return load_family(name).for_task(task or "")


def read_sets(config: Config, folders: Sequence[Path], family: FamilyForTask) -> list[CachedSet]:
    """Read the headers of the whole cache.

    Raises:
        UsageError: there is nothing to learn from.
        CacheError: entries are missing, foreign or damaged.
    """
    sets = []
    for number, (folder, dataset) in enumerate(zip(folders, config.datasets, strict=True), 1):
        cached = read_set(
            number,
            folder,
            family,
            batch_size=dataset.batch_size,
            repeats=dataset.num_repeats,
            prior_only=dataset.prior,
        )
        sets.append(cached)
    if all(cached.prior_only for cached in sets):
        raise UsageError(
            "all data sets are `prior`, so there is nothing to learn",
            fix="add the photos of the subject, without `prior`",
        )
    return sets


def put_in_order(config: Config, sets: Sequence[CachedSet], left_out: Sequence[int]) -> TrainingData:
    """Choose the items to hold out, and put the others into batches.

    Args:
        config: names the share to hold out.
        sets: the caches.
        left_out: positions of the items to leave out.

    Raises:
        UsageError: everything would be held out.
    """
    items = [item for cached in sets for item in cached.bucketed_items()]
    share, seed = config.train.validation_split, config.train.seed
    # What teaches nothing says nothing when it is held out.
    apart = {*left_out, *prior_positions(sets)}
    held_out = choose_held_out(len(items), share, seed=seed, left_out=apart)
    used = len(items) - len(apart)
    if len(held_out) == used:
        raise UsageError(
            f"`validation_split = {share}` holds out all {used} cache entries", fix="lower it, or cache more items"
        )
    return TrainingData(
        sets=tuple(sets),
        order=BatchOrder(without(items, {*held_out, *left_out}), seed),
        held_out=held_out,
        left_out=tuple(left_out),
    )
