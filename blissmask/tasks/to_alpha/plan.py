"""Plan `to-alpha`: which mask and which caption belongs to which photo, and where the results go."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from blissmask.config.model import Config
from blissmask.config.sections.dataset_section import DatasetSection
from blissmask.dataset.captions.caption_file import caption_path, extension_advice, other_captions
from blissmask.dataset.discover import find_media, holds_mask_labels, list_files, match_masks, unread_warning
from blissmask.dataset.item import MediaFile
from blissmask.dataset.item_keys import refuse_collisions, split_name, stem_key
from blissmask.dataset.mask_source import missing_file_warning
from blissmask.errors import InputError, Problem, UsageError
from blissmask.media.image import read_size
from blissmask.plurals import counted
from blissmask.storage.content import without_links
from blissmask.storage.seen import states_of
from blissmask.tasks.mask_files.output_notes import FRESH, decide, kept_warning
from blissmask.tasks.run.folders import missing, refuse_output_in_place, required
from blissmask.tasks.run.plan import Action, Plan, PlannedItem, places_of
from blissmask.tasks.run.wording import framing_problem, pixels_text

COMMAND = "to-alpha"


@dataclass(slots=True, kw_only=True)
class AlphaPlan(Plan):
    """What `to-alpha` will do.

    Attributes:
        caption_extension: what copies of captions end in, whatever the case of their sources.
    """

    caption_extension: str


@dataclass(frozen=True, slots=True)
class _Folders:
    """What is read and written.

    Attributes:
        images, masks, captions, output: the folders; captions may lie beside the photos.
        caption_extension: what captions end in.
        captions_expected: whether a folder of captions was named, so that every photo should have one.
    """

    images: Path
    masks: Path
    captions: Path
    output: Path
    caption_extension: str
    captions_expected: bool


def outputs(config: Config) -> tuple[Path, ...]:
    """Return the folder that is written to.

    Raises:
        UsageError: a folder is not given, the output is one of the inputs, or the masks are the photos.
    """
    folders, _ = _folders(config)
    return (folders.output,)


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
    items = [_decide(photo, masks.get(photo.key), captions.get(photo.key), folders, config) for photo in photos]
    keys = {photo.key for photo in photos}
    bare = [photo.path for photo in photos if photo.key not in masks]
    if bare:
        warnings.append(missing_file_warning(bare, folders.masks))
    orphans = [path for key, path in masks.items() if key not in keys]
    warnings += warning_of(orphans, "mask", "without a photo", "check the names")
    silent = [photo for photo in photos if photo.key not in captions]
    warnings += _other_captions(silent, folders)
    if folders.captions_expected:
        warnings += warning_of([photo.path for photo in silent], "photo", "without a caption")
    return AlphaPlan(
        command=COMMAND,
        items=items,
        outputs=(folders.output,),
        warnings=[*warnings, *kept_warning(items)],
        caption_extension=folders.caption_extension,
    )


def _folders(config: Config) -> tuple[_Folders, list[Problem]]:
    """Return the folders of [to_alpha], else those of a data set, and warnings about the choice."""
    options = config.to_alpha
    dataset, warnings = _dataset(config)
    images, masks = options.image_directory or dataset.image_directory, options.mask_directory or dataset.mask_directory
    if dataset.several and options.mask_directory is None:
        raise UsageError(
            "the data set has masks of several subjects, and a photo has one alpha channel",
            where=places_of([dataset.mask_directory]) if dataset.mask_directory else (),
            fix="name the masks of one, or of everybody, with `--mask-directory`",
        )
    output = options.output_directory
    if output is None and config.run.dry_run and images is not None:
        output = images.parent / f"{images.name}_rgba"
        what = f"`--output-directory` is missing; this dry run takes {output}"
        warnings.append(Problem(what, fix=missing(config, "to_alpha", "output_directory").fix))
    given = {"image_directory": images, "mask_directory": masks, "output_directory": output}
    image_folder, mask_folder, output_folder = required(config, "to_alpha", given)
    named_captions = options.caption_directory or dataset.caption_directory
    caption_folder = named_captions or image_folder
    refuse_output_in_place(output_folder, {"photos": image_folder, "masks": mask_folder, "captions": caption_folder})
    if _same(mask_folder, image_folder) and not holds_mask_labels(mask_folder):
        fix = "each would be its own mask; name the folder that `blissmask masks` or `apply` wrote"
        raise UsageError("the mask folder is the folder of the photos", where=[mask_folder], fix=fix)
    extension = options.caption_extension
    if "caption_extension" not in options.model_fields_set and dataset.caption_extension:
        extension = dataset.caption_extension
    folders = _Folders(
        images=image_folder,
        masks=mask_folder,
        captions=caption_folder,
        output=output_folder,
        caption_extension=extension,
        captions_expected=named_captions is not None,
    )
    return folders, warnings


def _dataset(config: Config) -> tuple[DatasetSection, list[Problem]]:
    """Return the image data set that lends its folders, and a warning about others that have masks.

    It is the one with the photos that [to_alpha] names, else the first; an empty one where there is none.
    """
    named = config.to_alpha.image_directory
    datasets = [dataset for dataset in config.datasets if dataset.image_directory]
    first = datasets[0] if datasets else DatasetSection()
    if named is not None:
        fitting = [data for data in datasets if data.image_directory and _same(data.image_directory, named)]
        return (fitting[0] if fitting else first), []
    others = [data for data in datasets[1:] if data.mask_directory and data.image_directory != first.image_directory]
    fix = "run it once for each, with `--image-directory` and an `--output-directory` of its own"
    left_out = list(dict.fromkeys(data.image_directory for data in others))
    return first, warning_of(left_out, "image data set", "left out; one is converted at a time", fix)


def warning_of(names: Sequence[object], noun: str, what: str, fix: str = "") -> list[Problem]:
    """Return a warning that counts and names items; an empty list when there are none."""
    return [Problem(f"{counted(len(names), noun)} {what}", places_of(names), fix)] if names else []


def _same(first: Path, second: Path) -> bool:
    return without_links(first) == without_links(second)


def _is_there(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _other_captions(silent: Sequence[MediaFile], folders: _Folders) -> list[Problem]:
    """Warn of captions that are not copied, since they end in something else."""
    others = other_captions((photo, folders.captions) for photo in silent)
    where = [f"{photo}: {caption.name}" for photo, caption in others.items()]
    return warning_of(where, "caption", "of another name, not copied", extension_advice(others) if others else "")


def _captions(folders: _Folders) -> Mapping[str, Path]:
    extension = folders.caption_extension.lower()
    groups: dict[str, list[Path]] = {}
    # An extension may be more than a suffix: `_words.txt`, `.png.txt`.
    for path in list_files(folders.captions, frozenset({split_name(f"name{extension}")[1]})):
        if path.name.lower().endswith(extension):
            groups.setdefault(stem_key(path.name[: -len(extension)]), []).append(path)
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
    states = states_of(inputs, output)
    try:
        image_wh, mask_wh = read_size(photo.path), read_size(mask)
        if problem := framing_problem("image", image_wh, "mask", mask_wh):
            return PlannedItem(photo.stem, Action.FAIL, problem, inputs, output)
        action, reason = decide(output, COMMAND, inputs, {}, force=config.run.force)
        if reason == FRESH and caption is not None and not _is_there(caption_path(output, folders.caption_extension)):
            action, reason = Action.WRITE, "the caption is missing"
    except InputError as error:
        return PlannedItem(photo.stem, Action.FAIL, inputs=inputs, output=output).failing(error.as_one())
    if action is Action.WRITE:
        resized = f"mask resized from {pixels_text(mask_wh)}" if mask_wh != image_wh else ""
        reason = ", ".join(filter(None, (pixels_text(image_wh), resized, reason)))
    states = states if action is Action.WRITE else b""
    return PlannedItem(photo.stem, action, reason, inputs, output, pixels=math.prod(image_wh), states=states)
