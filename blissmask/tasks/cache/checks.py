"""Find what is wrong with a data set before the first encode: refusals that stop the run, warnings, and masks that do not fit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from blissmask.cachefile.freshness import Redo
from blissmask.dataset.frames import round_frames
from blissmask.dataset.item import DatasetItem, MaskSource, MediaKind
from blissmask.dataset.mask_source import full_weight_warning, missing_file_warning, orphan_warning, required_problem
from blissmask.errors import InputError, MaskError, Problem
from blissmask.tasks.cache.entry import Entry
from blissmask.tasks.cache.outcome import empty_warning, mask_place
from blissmask.tasks.cache.pixels import mask_is_moving, mask_size, read_mask
from blissmask.tasks.cache.recipe import Recipe
from blissmask.tasks.cache.scan import Scanned
from blissmask.tasks.framing import framing_problem
from blissmask.tasks.wording import counted, verb

_MAX_NAME_BYTES = 255


@dataclass(frozen=True, slots=True)
class MaskCheck:
    """What looking at one mask told.

    Attributes:
        entry: with the mean weight filled in.
        problem: why the entry cannot be made; None when it can.
    """

    entry: Entry
    problem: Problem | None = None


def refusals(scanned: Scanned) -> list[Problem]:
    """Return what must be mended before anything of the data set is encoded."""
    recipe = scanned.recipe
    problems = []
    if recipe.section.require_mask:
        bare = [str(entry.item.media.path) for entry in scanned.entries if entry.mask_source in (None, MaskSource.FULL)]
        has_folder = recipe.section.mask_directory is not None
        if bare:
            problems.append(required_problem(list(dict.fromkeys(bare)), has_folder=has_folder, takes_alpha=recipe.section.alpha_mask))
    if scanned.without_caption:
        fix = "write them, an empty file for no caption; or leave captions for later with `--latents-only`"
        problems.append(_about(scanned.without_caption, "no caption for {}", fix))
    problems += _shared_paths(scanned)
    return [*problems, *_control_counts(scanned)]


def warnings(scanned: Scanned) -> list[Problem]:
    """Return what a user should know before the run."""
    recipe = scanned.recipe
    full = [entry.item.media.path for entry in scanned.entries if entry.mask_source is MaskSource.FULL]
    full = list(dict.fromkeys(full))
    problems = []
    if full and recipe.section.mask_directory:
        problems.append(missing_file_warning(full, recipe.section.mask_directory))
    if full:
        problems.append(full_weight_warning(full))
    default = recipe.section.default_mask
    if lent := [entry.item for entry in scanned.entries if default and entry.mask_path == default]:
        problems.append(_about(lent, "{} without a mask of its own, trained with `default_mask`", f"it is {default}"))
    if scanned.collected.orphan_masks:
        problems.append(orphan_warning(scanned.collected.orphan_masks))
    if scanned.too_short:
        longest = max(recipe.section.target_frames)
        problems.append(_about(scanned.too_short, "{} too short for any clip", f"`target_frames` asks for up to {longest} frames"))
    problems += _rounded_frames(recipe)
    foreign = [entry.path for entry in scanned.entries if entry.reason == "made by another tool"]
    if foreign:
        what = f"{counted(len(foreign), 'cache file')} of another tool {verb(len(foreign), 'is', 'are')} replaced"
        problems.append(Problem(what, tuple(map(str, foreign)), "choose another `cache_directory` to keep them"))
    if recipe.section.shuffle_caption and scanned.texts:
        problems.append(Problem("`shuffle_caption` draws one order per caption, since embeddings are cached", (), ""))
    return problems


def check_masks(entries: Sequence[Entry], jobs: int) -> list[MaskCheck]:
    """Look at the masks of the entries that will be averaged anew, several at a time; the others are returned as they are.

    Still masks are decoded, so that empty ones are known before a model is loaded. Of masks with frames only the header is read.
    """
    unseen = [entry for entry in entries if entry.redo in (Redo.MASK, Redo.LATENTS) and entry.mask_source not in (None, MaskSource.FULL)]
    with ThreadPoolExecutor(jobs, thread_name_prefix="blissmask-masks") as pool:
        checks = {check.entry.path: check for check in pool.map(_check_mask, unseen)}
    return [checks.get(entry.path) or MaskCheck(entry) for entry in entries]


def empty_masks(checks: Iterable[MaskCheck]) -> list[Problem]:
    """Name masks that are zero everywhere; nothing would be learned from their items."""
    return empty_warning([mask_place(check.entry) for check in checks if check.entry.mean_weight == 0.0])


def _check_mask(entry: Entry) -> MaskCheck:
    try:
        path = entry.mask_path
        if path is not None:
            if problem := framing_problem("image", entry.facts.size_wh, "mask", mask_size(path)):
                raise MaskError(problem, where=[path], fix="make the mask from this picture, at any size with the same shape")
            if mask_is_moving(path):
                return MaskCheck(entry)
        mask, _, _ = read_mask(entry, None)
    except InputError as error:
        return MaskCheck(entry, error.problems[0])
    assert mask is not None
    return MaskCheck(replace(entry, mean_weight=mask.mean_weight))


def _shared_paths(scanned: Scanned) -> list[Problem]:
    """Refuse two items with one cache file, and names that no file system takes."""
    owners: dict[str, Path] = {}
    shared: dict[str, None] = {}
    long: dict[str, None] = {}
    for path, item in [*((entry.path, entry.item) for entry in scanned.entries), *((text.path, text.item) for text in scanned.texts)]:
        name, media = path.name, item.media.path
        first = owners.setdefault(name, media)
        if first != media:
            shared |= {str(first): None, str(media): None}
        if len(name.encode()) > _MAX_NAME_BYTES:
            long[str(media)] = None
    problems = []
    if shared:
        problems.append(Problem("two items would share one cache file", tuple(shared), "rename one of each"))
    if long:
        problems.append(Problem("file names too long for a cache file", tuple(long), "shorten them to 200 bytes"))
    return problems


def _control_counts(scanned: Scanned) -> list[Problem]:
    recipe = scanned.recipe
    arch = recipe.model.arch
    if recipe.one_frame:
        fewest = most = len(recipe.one_frame.clean_indices)
    else:
        fewest, most = arch.control_range
    wrong = [entry.item for entry in scanned.entries if not fewest <= len(entry.item.control_paths) <= most]
    if not wrong:
        return []
    if not most:
        return [_about(wrong, f"{{}} with control pictures, and `{arch.name}` takes none", "remove `control_directory`")]
    expected = str(fewest) if fewest == most else f"{fewest} to {most}"
    return [_about(wrong, f"{{}} without the {expected} control pictures that `{arch.name}` takes", "check `control_directory`")]


def _rounded_frames(recipe: Recipe) -> list[Problem]:
    stride = recipe.model.arch.latent.temporal_stride
    targets = recipe.section.target_frames if recipe.kind is MediaKind.VIDEO and recipe.section.frame_extraction != "full" else []
    changed = [f"{frames} becomes {round_frames(frames, stride)}" for frames in targets if frames != round_frames(frames, stride)]
    what = f"`target_frames` are rounded to {stride}k+1: {', '.join(changed)}"
    return [Problem(what, (), f"the VAE of `{recipe.model.arch.name}` encodes no other lengths")] if changed else []


def _about(items: Sequence[DatasetItem], what: str, fix: str) -> Problem:
    paths = list(dict.fromkeys(str(item.media.path) for item in items))
    return Problem(what.format(counted(len(paths), "item")), tuple(paths), fix)
