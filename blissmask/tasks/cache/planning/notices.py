"""Warn before a data set is encoded: what a user should know of its masks, clips, crops and captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from blissmask.config.sections.dataset_section import DatasetSection
from blissmask.dataset.captions.caption_file import DEFAULT_EXTENSION, extension_advice, other_captions
from blissmask.dataset.captions.caption_orders import order_count
from blissmask.dataset.clip_ranges import round_frames, rounded_targets
from blissmask.dataset.item import MaskSource, MediaKind
from blissmask.dataset.mask_source import full_weight_warning, missing_file_warning, orphan_warning
from blissmask.errors import Problem
from blissmask.plurals import counted, verb
from blissmask.tasks.cache.cached_dataset import CachedDataset
from blissmask.tasks.cache.planned_entries import LatentEntry, rate_text
from blissmask.tasks.cache.planning.scan import Scanned
from blissmask.tasks.run.wording import about, pixels_text

_RATE_TOLERANCE = 0.02
"""29.97 and 30 frames per second are one rate; 24 and 25 are two."""
_MUCH_FASTER = 1.2
"""A video this many times as fast as the model's rate shows clear slow motion when all frames are kept."""
_LITTLE_KEPT = 0.1
"""A crop that keeps less than this share of a picture no longer shows what is in it."""


def warnings(scanned: Scanned) -> list[Problem]:
    """Return what a user should know before the run."""
    return [
        *scanned.collected.warnings,
        *_masks(scanned),
        *_clips(scanned),
        *_crops(scanned),
        *_zooms(scanned),
        *_profiles(scanned),
        *_foreign(scanned.entries),
        *_captions(scanned),
    ]


def _masks(scanned: Scanned) -> list[Problem]:
    section = scanned.dataset.section
    full = list(
        dict.fromkeys(entry.item.media.path for entry in scanned.entries if entry.mask_source is MaskSource.FULL)
    )
    problems = []
    if full and section.mask_directory:
        problems.append(missing_file_warning(full, section.mask_directory))
    if full:
        problems.append(full_weight_warning(full))
    problems += _subjects(scanned)
    default = section.default_mask
    if lent := [entry.item for entry in scanned.entries if default and default in entry.mask_files]:
        problems.append(about(lent, "{} without a mask of its own, trained with `default_mask`", f"it is {default}"))
    if scanned.collected.orphan_masks:
        problems.append(orphan_warning(scanned.collected.orphan_masks))
    return problems


def _subjects(scanned: Scanned) -> list[Problem]:
    """Tell items of several subjects in which some of them have no mask file: they are taken for not being there."""
    lacking: dict[str, None] = {}
    for entry in scanned.entries:
        pairs = zip(entry.dataset.section.several, entry.subject_files, strict=False)
        names = [name for name, file in pairs if file is None]
        if names:
            lacking[f"{entry.item.media.path}: none of {' and '.join(names)}"] = None
    if not lacking:
        return []
    what = f"{counted(len(lacking), 'item')} without a mask of one of several subjects, who counts as not being there"
    return [Problem(what, tuple(lacking), "`blissmask instance` and `apply` make the masks of each")]


def _clips(scanned: Scanned) -> list[Problem]:
    dataset = scanned.dataset
    problems = []
    if scanned.too_short:
        longest = max(dataset.section.target_frames)
        problems.append(
            about(scanned.too_short, "{} too short for any clip", f"`target_frames` asks for up to {longest} frames")
        )
    if scanned.damaged:
        what = f"{counted(len(scanned.damaged), 'video')} with frames that cannot be decoded"
        where = tuple(f"{item.media.path}: {_numbers_text(numbers)}" for item, numbers in scanned.damaged)
        problems.append(Problem(what, where, "export them again; clips that need these frames fail"))
    if scanned.hdr:
        what = f"{counted(len(scanned.hdr), 'video')} in HDR; without tone mapping the colours are pale"
        where = tuple(f"{item.media.path}: {curve}" for item, curve in scanned.hdr)
        problems.append(Problem(what, where, "export them in SDR"))
    return [*problems, *_partly_short(scanned), *_rounded_frames(dataset), *_rates(scanned)]


def _numbers_text(numbers: Sequence[int]) -> str:
    """Return ``frame 4`` or ``3 frames, the first is 4``."""
    return f"frame {numbers[0]}" if len(numbers) == 1 else f"{len(numbers)} frames, the first is {numbers[0]}"


def _partly_short(scanned: Scanned) -> list[Problem]:
    """Name the videos that are long enough for some of ``target_frames`` and not for others."""
    dataset = scanned.dataset
    if dataset.kind is MediaKind.IMAGE or dataset.section.frame_extraction == "full":
        return []
    lengths: dict[Path, set[int]] = {}
    for entry in scanned.entries:
        if entry.frames is not None:
            lengths.setdefault(entry.item.media.path, set()).add(entry.frames.frame_count)
    problems = []
    for length in rounded_targets(dataset.section.target_frames, dataset.family.latent.temporal_stride):
        short = [str(path) for path, found in lengths.items() if length not in found]
        if short:
            what = (
                f"{counted(len(short), 'video')} {verb(len(short), 'is', 'are')} too short for clips of {length} frames"
            )
            fps = dataset.family.default_fps
            seconds = f"{length} frames at {rate_text(fps)} fps are {length / fps:.1f} seconds"
            fix = f"only shorter clips are cut from them; {seconds}"
            problems.append(Problem(what, tuple(short), fix))
    return problems


def _rounded_frames(dataset: CachedDataset) -> list[Problem]:
    stride = dataset.family.latent.temporal_stride
    if dataset.kind is not MediaKind.VIDEO or dataset.section.frame_extraction == "full":
        return []
    changed = [
        f"{frames} becomes {round_frames(frames, stride)}"
        for frames in dataset.section.target_frames
        if frames != round_frames(frames, stride)
    ]
    what = f"`target_frames` are rounded to {stride}k+1: {', '.join(changed)}"
    return [Problem(what, (), f"the VAE of `{dataset.family.name}` encodes no other lengths")] if changed else []


def _rates(scanned: Scanned) -> list[Problem]:
    """Name videos whose own rate is not the rate they are read at.

    Without ``source_fps`` all frames are kept, as in musubi-tuner. Videos slower than the model's rate are then not
    named: frames are never repeated, so no setting would mend them.
    """
    family, source = scanned.dataset.family, scanned.dataset.section.source_fps
    moving = [entry for entry in scanned.entries if entry.frames and entry.frames.frame_count > 1]
    rates = {entry.item.media.path: entry.facts.fps for entry in moving if entry.facts.fps}
    uneven = {entry.item.media.path for entry in moving if entry.facts.is_uneven}
    own_rate = rate_text(family.default_fps)
    if source is None:
        wrong = {path: fps for path, fps in rates.items() if fps > family.default_fps * _MUCH_FASTER}
        faster = f"faster than the {own_rate} fps of `{family.name}`"
        what = f"{{}} {faster}; with all frames kept, motion becomes slow motion"
        fix = f"set `source_fps` to the rate of the videos, and frames are dropped to {own_rate} per second"
    else:
        wrong = {path: fps for path, fps in rates.items() if abs(fps / source - 1) > _RATE_TOLERANCE}
        # Frames of uneven videos are chosen by their times, whatever rate is given.
        wrong = {path: fps for path, fps in wrong.items() if path not in uneven}
        what = f"{{}} at another rate than `source_fps`, {rate_text(source)}; frames are dropped as if it were right"
        fix = "give videos of other rates a data set of their own, with their own `source_fps`"
    problems = []
    if wrong:
        where = tuple(f"{path}: {rate_text(fps)} fps" for path, fps in wrong.items())
        be = f"{counted(len(wrong), 'video')} {verb(len(wrong), 'is', 'are')}"
        problems.append(Problem(what.format(be), where, fix))
    if uneven and source is None:
        what = (
            f"{counted(len(uneven), 'video')} of a variable rate; with all frames kept, motion speeds up and slows down"
        )
        fix = f"set `source_fps`, and the frames nearest to each of {own_rate} times a second are taken"
        problems.append(Problem(what, tuple(map(str, sorted(uneven))), fix))
    return problems


def _crops(scanned: Scanned) -> list[Problem]:
    much_cut = {entry.item.media.path: entry for entry in scanned.entries if entry.geometry.kept_share < _LITTLE_KEPT}
    if not much_cut:
        return []
    what = f"{counted(len(much_cut), 'item')} {verb(len(much_cut), 'loses', 'lose')} nearly everything to the crop"
    where = tuple(
        f"{path}: {pixels_text(entry.facts.size_wh)} to {pixels_text(entry.geometry.size_wh)}"
        for path, entry in much_cut.items()
    )
    buckets = "" if len(scanned.dataset.buckets.sizes) > 1 else "set `enable_bucket = true`, or "
    return [Problem(what, where, f"{buckets}leave out what is extremely wide or tall")]


def _zooms(scanned: Scanned) -> list[Problem]:
    """Name data sets whose `zoom` does nothing."""
    if not scanned.dataset.section.zoom:
        return []
    if scanned.dataset.kind is MediaKind.VIDEO:
        return [Problem("`zoom` is for photos; videos are trained whole", (), "")]
    if scanned.entries and not any(entry.has_mask for entry in scanned.entries):
        return [Problem("`zoom` needs masks, and this data set has none", (), "set `mask_directory` or `alpha_mask`")]
    return []


def _profiles(scanned: Scanned) -> list[Problem]:
    found = {entry.item.media.path: entry.facts.profile for entry in scanned.entries if entry.facts.profile}
    if not found:
        return []
    what = f"{counted(len(found), 'photo')} with another colour profile than sRGB"
    where = tuple(f"{path}: {profile}" for path, profile in found.items())
    return [Problem(what, where, "nothing to do; the colours are converted to sRGB, as every model knows them")]


def _foreign(entries: Sequence[LatentEntry]) -> list[Problem]:
    foreign = [entry.path for entry in entries if entry.reason == "made by another tool"]
    if not foreign:
        return []
    what = f"{counted(len(foreign), 'cache file')} of another tool {verb(len(foreign), 'is', 'are')} replaced"
    return [Problem(what, tuple(map(str, foreign)), "choose another `cache_directory` to keep them")]


def _captions(scanned: Scanned) -> list[Problem]:
    return [*_lent_captions(scanned), *_shuffled(scanned)]


def _lent_captions(scanned: Scanned) -> list[Problem]:
    """Name the items that get the caption of the data set, each once."""
    section = scanned.dataset.section
    lent = [text.item for text in scanned.texts if text.item.has_default_caption]
    others = other_captions((item.media, section.caption_directory or item.media.path.parent) for item in lent)
    some_have_their_own = len(lent) < len(scanned.texts)
    problems = _captions_of_other_names(others, section, some_are_read=some_have_their_own) if others else []
    without = [item for item in lent if item.media.path not in others]
    if without and some_have_their_own:
        problems.append(
            about(
                without,
                "{} without a caption file",
                f"they get `{section.caption}`; a file that says what is not to be learned is better",
            )
        )
    return problems


def _captions_of_other_names(
    others: Mapping[Path, Path], section: DatasetSection, *, some_are_read: bool
) -> list[Problem]:
    """Name the files that look like captions of items that get the caption of the data set instead.

    Args:
        others: such files by the path of the media, at least one.
        section: of the data set.
        some_are_read: whether other items have their captions, which another extension would leave unread.
    """
    what = f"{counted(len(others), 'caption file')} {verb(len(others), 'is', 'are')} not read, for the name"
    extension = section.caption_extension or DEFAULT_EXTENSION
    where = [f"{other}: {path.stem}{extension} is looked for" for path, other in others.items()]
    advice = "rename such files" if some_are_read else extension_advice(others)
    return [Problem(what, tuple(where), f"{advice}; `caption` takes their place now")]


def _shuffled(scanned: Scanned) -> list[Problem]:
    """Name the items whose captions have one order only."""
    section = scanned.dataset.section
    if not section.shuffle_caption:
        return _unused_order_options(section)
    # The template of a zoom stays where it is, whatever commas it has.
    photos = [text for text in scanned.texts if not text.item.zoom]
    fixed = [text.item for text in photos if order_count(text.caption, keep_tokens=section.keep_tokens, most=2) == 1]
    if not fixed:
        return []
    fix = "`shuffle_caption` is for captions of tags with commas between them"
    return [about(fixed, "{} whose caption has one order only", fix)]


def _unused_order_options(section: DatasetSection) -> list[Problem]:
    """Name the options of `shuffle_caption` that were given without it."""
    defaults = DatasetSection.model_fields
    names = [
        f"`{name}`" for name in ("keep_tokens", "caption_orders") if getattr(section, name) != defaults[name].default
    ]
    if not names:
        return []
    what = f"{' and '.join(names)} {verb(len(names), 'changes', 'change')} nothing without `shuffle_caption`"
    return [Problem(what, (), "set `shuffle_caption = true`, or leave them out")]
