"""`to-alpha`: put masks into the alpha channel of the photos, colours untouched."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from blissmask.config.dataset import DatasetSection
from blissmask.config.model import Config, complete
from blissmask.dataset.captions import DEFAULT_EXTENSION, caption_path
from blissmask.dataset.discover import find_media, holds_mask_labels, list_files, match_masks, unread_warning
from blissmask.dataset.item import MediaFile
from blissmask.dataset.item_keys import group_by_key, refuse_collisions
from blissmask.dataset.mask_source import missing_file_warning
from blissmask.errors import InputError, MediaError, Problem, UsageError
from blissmask.events import Noted
from blissmask.masks.resize import resize_weights
from blissmask.media.image import read_image, read_mask_picture, read_size
from blissmask.media.png import read_note, write_png_rgba
from blissmask.storage import atomic
from blissmask.storage.content import content_hash, without_links
from blissmask.tasks.mask_files.output_notes import FRESH, decide, kept_warning, make_note
from blissmask.tasks.run.folders import missing, refuse_output_in_place, required
from blissmask.tasks.run.plan import Action, Plan, PlannedItem, RunContext, Summary, places_of
from blissmask.tasks.run.wording import counted, framing_problem, pixels_text
from blissmask.tasks.run.workers import begin, carry_out

COMMAND = "to-alpha"


@dataclass(slots=True)
class AlphaPlan(Plan):
    """What `to-alpha` will do; copies of captions end in ``caption_extension``, whatever the case of their sources."""

    caption_extension: str = DEFAULT_EXTENSION


@dataclass(frozen=True, slots=True)
class _Folders:
    images: Path
    masks: Path
    output: Path
    captions: Path
    caption_extension: str
    captions_expected: bool


@dataclass(frozen=True, slots=True)
class _Converted:
    caption: str
    doubt: str
    empty: bool


def plan(config: Config) -> AlphaPlan:
    """Pair photos with masks and captions, and decide item by item.

    Folders that [to_alpha] leaves open are those of the image data set with the photos, else of the first one. Captions
    beside the photos are taken along when no caption folder is named.

    Raises:
        UsageError: a folder is not given, the output is one of the inputs, or the masks are the photos.
        InputError: a folder cannot be read, holds no photos, or two files have one name.
    """
    folders, warnings = _folders(config)
    photos = find_media(folders.images, shared="one mask and one output")
    warnings += unread_warning(folders.images, photos)
    masks = match_masks(folders.masks, beside_photos=_same(folders.masks, folders.images))
    captions = _captions(folders)
    result = AlphaPlan(
        COMMAND, outputs=(folders.output,), warnings=warnings, caption_extension=folders.caption_extension
    )
    for photo in photos:
        result.items.append(_decide(photo, masks.get(photo.key), captions.get(photo.key), folders, config))
    keys = {photo.key for photo in photos}
    bare = [photo.path for photo in photos if photo.key not in masks]
    if bare:
        result.warnings.append(missing_file_warning(bare, folders.masks))
    result.warnings += _name(
        [path for key, path in masks.items() if key not in keys], "mask", "without a photo", "check the names"
    )
    if folders.captions_expected:
        result.warnings += _name(
            [photo.path for photo in photos if photo.key not in captions], "photo", "without a caption"
        )
    result.warnings += kept_warning(result.items)
    return result


def run(plan: AlphaPlan, context: RunContext) -> Summary:
    """Write the RGBA photos and their captions.

    Raises:
        MachineError, StoppedError: as ``workers.work_through``.
    """
    summary = begin(plan)
    convert = functools.partial(_convert, caption_extension=plan.caption_extension)
    results = {item.key: done for item, done in carry_out(plan, convert, context, summary, phase="Converting")}
    copied = [key for key, done in results.items() if done.caption == "copied"]
    kept = [key for key, done in results.items() if done.caption == "kept"]
    empty = [key for key, done in results.items() if done.empty]
    doubtful = [f"{key}: {done.doubt}" for key, done in results.items() if done.doubt]
    summary.details |= {"captions_copied": len(copied), "captions_kept": kept, "empty_masks": empty}
    summary.warnings += [
        *_name(
            kept, "caption", "edited in the output folder or not ours, kept", "remove it there to have it copied again"
        ),
        *_name(
            empty,
            "mask",
            "zero everywhere; nothing would be learned from the photo",
            "check the mask, or leave the photo out",
        ),
        *_name(doubtful, "mask", "perhaps not what was meant", "use 8-bit grey PNG masks"),
    ]
    if summary.written:
        next_step = "then run `blissmask cache`, which notices what is stale"
        context.reporter.emit(
            Noted(f"to train from them, set `image_directory` to this folder and `alpha_mask = true`; {next_step}")
        )
    return summary


def _folders(config: Config) -> tuple[_Folders, list[Problem]]:
    """Return the folders of [to_alpha], or of a data set where it leaves them open, and what is to be said of them."""
    options = config.to_alpha
    dataset, warnings = _dataset(config)
    images, masks = options.image_directory or dataset.image_directory, options.mask_directory or dataset.mask_directory
    output = options.output_directory
    if output is None and config.run.dry_run and images is not None:
        output = images.parent / f"{images.name}_rgba"
        warnings.append(
            Problem(
                f"`--output-directory` is missing; this dry run takes {output}",
                fix=missing("to_alpha", "output_directory").fix,
            )
        )
    given = {"image_directory": images, "mask_directory": masks, "output_directory": output}
    image_folder, mask_folder, output_folder = required("to_alpha", given)
    refuse_output_in_place(
        output_folder,
        {"photos": image_folder, "masks": mask_folder, "captions": options.caption_directory or image_folder},
    )
    if _same(mask_folder, image_folder) and not holds_mask_labels(mask_folder):
        fix = "each would be its own mask; name the folder that `blissmask masks` or `apply` wrote"
        raise UsageError("the mask folder is the folder of the photos", where=[mask_folder], fix=fix)
    captions = options.caption_directory or image_folder
    extension = options.caption_extension
    if "caption_extension" not in options.model_fields_set and dataset.caption_extension:
        extension = dataset.caption_extension
    return _Folders(
        image_folder, mask_folder, output_folder, captions, extension, options.caption_directory is not None
    ), warnings


def _dataset(config: Config) -> tuple[DatasetSection, list[Problem]]:
    """Return the image data set with the photos that [to_alpha] names, else the first, and a warning about others that have masks."""
    named = config.to_alpha.image_directory
    datasets = [complete(dataset, config.general) for dataset in config.datasets if dataset.image_directory]
    if named is not None:
        fitting = (dataset for dataset in datasets if dataset.image_directory and _same(dataset.image_directory, named))
        return next(fitting, datasets[0] if datasets else DatasetSection()), []
    if not datasets:
        return DatasetSection(), []
    others = [
        dataset
        for dataset in datasets[1:]
        if dataset.mask_directory and dataset.image_directory != datasets[0].image_directory
    ]
    fix = "run it once for each, with `--image-directory` and an `--output-directory` of its own"
    left_out = list(dict.fromkeys(dataset.image_directory for dataset in others))
    return datasets[0], _name(left_out, "image data set", "left out; one is converted at a time", fix)


def _same(first: Path, second: Path) -> bool:
    return without_links(first) == without_links(second)


def _is_there(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _captions(folders: _Folders) -> Mapping[str, Path]:
    groups = group_by_key(list_files(folders.captions, frozenset({folders.caption_extension.lower()})))
    refuse_collisions(groups, shared="one photo as its captions")
    return {key: paths[0] for key, paths in groups.items()}


def _decide(
    photo: MediaFile, mask: Path | None, caption: Path | None, folders: _Folders, config: Config
) -> PlannedItem:
    inputs = tuple(path for path in (photo.path, mask, caption) if path is not None)
    output = folders.output / f"{photo.stem}.png"
    if mask is None:
        return PlannedItem(photo.stem, Action.FAIL, f"no mask in `{folders.masks}`", inputs, output)
    if config.to_alpha.skip_existing and output.exists():
        return PlannedItem(photo.stem, Action.SKIP, "already in output", inputs, output)
    try:
        image_wh, mask_wh = read_size(photo.path), read_size(mask)
        if problem := framing_problem("image", image_wh, "mask", mask_wh):
            return PlannedItem(photo.stem, Action.FAIL, problem, inputs, output)
        action, reason = decide(output, COMMAND, inputs, {}, force=config.run.force)
        if reason == FRESH and caption is not None and not _is_there(caption_path(output, folders.caption_extension)):
            action, reason = Action.WRITE, "the caption is missing"
    except InputError as error:
        return PlannedItem(photo.stem, Action.FAIL, error.problems[0].what, inputs, output)
    if action is Action.WRITE:
        resized = f"mask resized from {pixels_text(mask_wh)}" if mask_wh != image_wh else ""
        reason = ", ".join(text for text in (pixels_text(image_wh), resized, reason) if text)
    return PlannedItem(photo.stem, action, reason, inputs, output)


def _convert(item: PlannedItem, caption_extension: str) -> _Converted:
    photo, mask = item.inputs[:2]
    output = item.output
    assert output is not None
    note = make_note(COMMAND, item.inputs, {})
    picture, mask_picture = read_image(photo), read_mask_picture(mask)
    height, width = picture.rgb_HW3.shape[:2]
    alpha_HW = np.rint(resize_weights(mask_picture.weights_HW, (width, height)) * 255).astype(np.uint8)
    # The caption first: the PNG's note is what says that the item is finished.
    caption = (
        _copy_caption(item.inputs[2], output, caption_path(output, caption_extension)) if len(item.inputs) > 2 else ""
    )
    write_png_rgba(output, picture.rgb_HW3, alpha_HW, note=note, icc_profile=picture.icc_profile)
    return _Converted(caption, mask_picture.doubt, empty=not alpha_HW.any())


def _copy_caption(source: Path, output: Path, target: Path) -> str:
    """Copy a caption to ``target`` beside ``output`` unless someone edited the one there; return "copied", "same" or "kept"."""
    if target.is_symlink():
        return "kept"
    if target.exists():
        present = content_hash(target)
        if present == content_hash(source):
            return "same"
        if present != _copied_before(output):
            return "kept"
    try:
        text = source.read_bytes()
    except OSError as error:
        raise MediaError(f"the caption cannot be read: {error.strerror or error}", where=[source]) from error
    atomic.write_bytes(target, text)
    return "copied"


def _copied_before(output: Path) -> str:
    """Return the hash of the caption that an earlier run copied, from the note of its photo; empty when there is none."""
    note = read_note(output) if output.is_file() else None
    inputs = note.content.get("inputs") if note else None
    if not isinstance(inputs, list) or len(inputs) < 3 or not isinstance(inputs[2], dict):
        return ""
    return str(inputs[2].get("hash", ""))


def _name(names: Sequence[object], noun: str, what: str, fix: str = "") -> list[Problem]:
    return [Problem(f"{counted(len(names), noun)} {what}", places_of(names), fix)] if names else []
