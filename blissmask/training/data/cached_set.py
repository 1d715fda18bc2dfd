"""The data set in the cache, and every fault of it that file headers show, before a model is loaded."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from blissmask.cachefile.entry import CacheHeader
from blissmask.cachefile.file_names import parse_text_name
from blissmask.cachefile.metadata import GEOMETRY, OURS, read_mean_weight
from blissmask.cachefile.read_file import read_metadata
from blissmask.cachefile.read_headers import list_headers
from blissmask.cachefile.tensor_keys import MASK_CONTENTS
from blissmask.errors import CacheError, Hint, Problem, UsageError
from blissmask.families.family import FamilyForTask
from blissmask.masks.tiers import WeightTier
from blissmask.plurals import counted, verb
from blissmask.storage.content import shared_places
from blissmask.training.data.batch_order import BucketedItem
from blissmask.training.data.items import shows_no_regions
from blissmask.training.weighting.prior import PriorRule
from blissmask.training.weighting.rule import WeightRule

_CONTENT_KEYS = ("mask_source", "mean_weight", "tiers", GEOMETRY, "frames", "vae")
"""Metadata keys that depend on the entry's content, and not on where its files lie or when they were written."""
_REGIONS = "mask_regions"


@dataclass(frozen=True, slots=True)
class CachedSet:
    """One data set's cache.

    Attributes:
        number: of the data set in the configuration, from 1.
        folder: its cache folder.
        headers: its entries, sorted by file name.
        batch_size, repeats: of the data set.
        prior_only: whether its items are held to the base model, and teach nothing.
    """

    number: int
    folder: Path
    headers: tuple[CacheHeader, ...]
    batch_size: int
    repeats: int
    prior_only: bool = False

    def bucketed_items(self) -> list[BucketedItem]:
        """Return every entry as the order of batches knows it; a bucket's entries have the same contents and shapes."""
        kinds: dict[BucketedItem, BucketedItem] = {}
        items = []
        for header in self.headers:
            bucket = (self.number, _shapes(header))
            item = BucketedItem(bucket=bucket, repeats=self.repeats, batch_size=self.batch_size)
            # There may be millions of entries, and there are few buckets.
            items.append(kinds.setdefault(item, item))
        return items


def _shapes(header: CacheHeader) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Return name and shape of what an entry holds, the mask aside: entries with and without one may share a batch."""
    return tuple(sorted((name, shape) for name, (_, shape) in header.contents.items() if name not in MASK_CONTENTS))


def remembered_family(folders: Sequence[Path], *, named: str | None = None) -> tuple[str, str] | None:
    """Return the (family, task) that caches of ours were made for; None when no file names one.

    Args:
        folders: cache folders; each may hold the caches of several families.
        named: the family that the user named; files of other families are passed over.

    Raises:
        CacheError: the folders hold caches of different families.
    """
    found: dict[tuple[str, str], Path] = {}
    for folder in folders:
        # The end of the file name stands for the family, so one file of each is read.
        seen = set()
        for path in sorted(folder.glob("*.safetensors")) if folder.is_dir() else []:
            suffix = path.stem.removesuffix("_te").rpartition("_")[2]
            if suffix in seen:
                continue
            metadata = read_metadata(path)
            if f"{OURS}arch" not in metadata or f"{OURS}task" not in metadata:
                continue
            seen.add(suffix)
            if named in (None, metadata[f"{OURS}arch"]):
                found.setdefault((metadata[f"{OURS}arch"], metadata[f"{OURS}task"]), path)
    if len({family for family, _ in found}) > 1:
        places = [f"{path}: {family}" for (family, _), path in found.items()]
        raise CacheError(
            "the data sets were cached for different model families", where=places, fix="say which with `--arch NAME`"
        )
    return next(iter(found), None)


def prior_positions(sets: Sequence[CachedSet]) -> frozenset[int]:
    """Return the positions of the items that are held to the base model and teach nothing, over all sets in order."""
    kinds = [cached.prior_only for cached in sets for _ in cached.headers]
    return frozenset(position for position, prior_only in enumerate(kinds) if prior_only)


def read_set(
    number: int, folder: Path, family: FamilyForTask, *, batch_size: int, repeats: int, prior_only: bool = False
) -> CachedSet:
    """List one cache folder.

    Raises:
        CacheError: there are no entries, entries of another family or task, damaged files, or captions that were not
            cached; names all of them.
    """
    headers = list_headers(folder, family.cache_suffix) if folder.is_dir() else []
    if not headers:
        _refuse_empty(number, folder, family)
    foreign = [header.path for header in headers if _is_foreign(header, family)]
    without_text = [header.text_path for header in headers if not header.text_path.is_file()]
    odd = [header.path for header in headers if header.path not in foreign and not _fits_grid(header, family)]
    problems = _problem("cached for another model family", foreign, family)
    problems += _problem("latents of a size that the family cannot train", odd, family)
    problems += _other_tasks(headers, family)
    problems += _problem("no cached caption", without_text, family)
    if problems:
        raise CacheError.several(problems)
    return CachedSet(
        number=number,
        folder=folder,
        headers=tuple(headers),
        batch_size=batch_size,
        repeats=repeats,
        prior_only=prior_only,
    )


def identify(sets: Sequence[CachedSet]) -> str:
    """Return a short hash of the entries' names, shapes and content; a copy in other folders has the same.

    Training states hold it, so the hashed text must not change.
    """
    facts = []
    for cached in sets:
        for header in cached.headers:
            content = tuple(header.metadata.get(f"{OURS}{name}", "") for name in _CONTENT_KEYS)
            facts.append((header.path.name, header.latent_shape, sorted(header.contents), *content))
            if cached.prior_only:
                facts[-1] = (*facts[-1], "prior")
    return hashlib.sha256(repr(facts).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def check_masks(
    sets: Sequence[CachedSet], rule: WeightRule | None, prior: PriorRule | None, *, scale: float, recache: str
) -> list[Problem]:
    """Check that the cache holds the masks that the settings need, and return the warnings.

    Args:
        sets: the whole data set.
        rule: None when the mask loss is off.
        prior: None when nothing is held to the base model.
        scale: ``mask_loss_scale``, which has no effect.
        recache: the arguments of `blissmask cache` that make the cache again.

    Raises:
        CacheError: the mask loss is on and a data set has no masks, or region shares are needed and missing.
    """
    sets = [cached for cached in sets if not cached.prior_only]
    headers = [header for cached in sets for header in cached.headers]
    masked = [header for header in headers if header.has_weights]
    if rule is None:
        return _unused_masks(masked, len(headers))
    _refuse_unmasked_sets(sets, recache)
    if rule.needs_regions:
        _refuse_missing_regions(masked, recache)
    warnings = []
    bare = [header for header in headers if not header.has_weights]
    if bare:
        what = verb(len(bare), "has no mask and counts", "have no mask and count")
        warnings.append(
            Problem(
                f"{len(bare)} of {len(headers)} cache entries {what} as full weight",
                _places([header.path for header in bare]),
            )
        )
    if scale != 1:
        warnings.append(
            Problem(
                "--mask_loss_scale has no effect: the weighted mean divides it out",
                fix="use `--mask-gamma` or `--mask-min-weight` instead",
            )
        )
    if prior is None and not (rule.min_weight or rule.own_weights.get(WeightTier.BACKGROUND)):
        warnings.append(
            Problem(
                "the picture is unconstrained outside the mask: weight 0 is not the same as leaving it alone",
                fix="hold it to the base model with `--prior-preservation-weight 1` (best in our study),\n"
                "or train it a little with `--mask-min-weight 0.05`",
            )
        )
    return warnings


def commonest_sizes(headers: Iterable[CacheHeader], stride: int) -> tuple[str, ...]:
    """Return ``WIDTHxHEIGHT`` of the training pictures, the commonest first."""
    sizes = Counter(f"{header.latent_shape[3] * stride}x{header.latent_shape[2] * stride}" for header in headers)
    return tuple(size for size, _ in sizes.most_common())


def _unused_masks(masked: Sequence[CacheHeader], entries: int) -> list[Problem]:
    if not masked:
        return []
    what = verb(len(masked), "has a mask", "have masks")
    return [
        Problem(
            f"{len(masked)} of {entries} cache entries {what} that this training ignores",
            fix="give `--use-mask-loss` to weigh the loss by them, e.g. with `--mask-preset person-prior`",
        )
    ]


def _refuse_unmasked_sets(sets: Sequence[CachedSet], recache: str) -> None:
    unmasked = [cached for cached in sets if not any(header.has_weights for header in cached.headers)]
    if not unmasked:
        return
    places = []
    for cached in unmasked:
        count, example = len(cached.headers), cached.headers[0].path.name
        were = verb(count, "entry was", "entries were")
        places.append(f"{count} of {count} {were} written without masks in {cached.folder}, e.g. {example}")
    numbers = ", ".join(str(cached.number) for cached in unmasked)
    raise CacheError(
        "FATAL: --use_mask_loss is enabled but batch has no mask_weights!",
        where=places,
        fix=Hint(
            f"set `alpha_mask` or `mask_directory` for dataset {numbers}, then run\n{{command}}", "cache", recache
        ),
    )


def _refuse_missing_regions(masked: Sequence[CacheHeader], recache: str) -> None:
    without = [
        header.path
        for header in masked
        # Masks without regions: full weight of items that had no mask, and empty masks whose 0 is no tier's value.
        if _REGIONS not in header.contents and not shows_no_regions(header) and read_mean_weight(header.metadata) != 0
    ]
    if without:
        raise CacheError(
            "these settings need the share of face, body, hair and background in each latent cell, "
            "and some cache entries lack it",
            where=_places(without),
            fix=Hint(
                "use masks that hold only tier values (no feather, no JPEG) and run\n{command}\n"
                "or leave out `--mask-transform pixel` and the weights per region",
                "cache",
                recache,
            ),
        )


def _refuse_empty(number: int, folder: Path, family: FamilyForTask) -> None:
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    others = [path for path in files if parse_text_name(path.name, family.cache_suffix) is None]
    if others:
        raise CacheError(
            f"the cache of dataset {number} is of another model family than `{family.name}`",
            where=_places(others),
            fix=Hint("run `{command}`, or train the family it was made for", "cache", f"--arch {family.name}"),
        )
    raise CacheError(
        f"the cache of dataset {number} is empty",
        where=[folder],
        fix=Hint("run `{command}` first, or train with `--prepare`", "cache", f"--arch {family.name}"),
    )


def _is_foreign(header: CacheHeader, family: FamilyForTask) -> bool:
    named = header.metadata.get("architecture", family.metadata_name)
    return named != family.metadata_name or header.latent_shape[0] != family.latent.channels


def _fits_grid(header: CacheHeader, family: FamilyForTask) -> bool:
    """Return whether the latents are whole patches of the denoiser, and at least one."""
    patch = family.latent.grid_multiple // family.latent.spatial_stride
    _, frames, rows, columns = header.latent_shape
    return frames > 0 and all(side > 0 and side % patch == 0 for side in (rows, columns))


def _other_tasks(headers: Sequence[CacheHeader], family: FamilyForTask) -> list[Problem]:
    """Return the problem of entries that were cached for other tasks; caches of other tools do not name a task."""
    others: dict[str, list[Path]] = {}
    for header in headers:
        made_for = header.metadata.get(f"{OURS}task", family.task_name)
        if made_for != family.task_name:
            others.setdefault(made_for, []).append(header.path)
    problems = []
    for made_for, paths in others.items():
        what = f"cached for the task `{made_for}`, and `{family.task_name}` is to be trained"
        problems += _problem(what, paths, family, f" --task {family.task_name}")
    return problems


def _problem(what: str, paths: Sequence[Path], family: FamilyForTask, more: str = "") -> list[Problem]:
    """Return one problem that names ``paths``; none when there are no paths."""
    if not paths:
        return []
    entries = counted(len(paths), "cache entry", "cache entries")
    fix = Hint("run `{command}`", "cache", f"--arch {family.name}{more}")
    return [Problem(f"{entries}: {what}", _places(paths), fix)]


def _places(paths: Sequence[Path]) -> tuple[str, ...]:
    return tuple(str(path) for path in paths)


def refuse_shared_folders(folders: Sequence[Path]) -> None:
    """Raise UsageError when two data sets have one cache folder: each would train on the entries of both."""
    shared = shared_places(folders)
    if shared:
        raise UsageError("two datasets share one cache folder", where=shared, fix="give each its own `cache_directory`")
