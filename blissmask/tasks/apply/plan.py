"""Plan `apply`: pair weighted masks with subject masks, and decide about weighted masks that have none."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from blissmask.config.model import Config
from blissmask.config.sections.mask_sections import ApplySection
from blissmask.dataset.discover import match_live_photos, match_masks
from blissmask.errors import InputError, MaskError, Problem, UsageError
from blissmask.masks.tiers import TierTable
from blissmask.media.image import read_size
from blissmask.plurals import counted, verb
from blissmask.storage.content import without_links
from blissmask.storage.seen import states_of
from blissmask.tasks.apply.apply_sheet import Photos, find_photos, without_photo
from blissmask.tasks.mask_files.clip_forms import both_forms_warning, other_form
from blissmask.tasks.mask_files.contact_sheet import check_sheet, training_area, with_own_sheet
from blissmask.tasks.mask_files.output_notes import decide, kept_warning
from blissmask.tasks.run.folders import refuse_output_in_place, required
from blissmask.tasks.run.plan import Action, Plan, PlannedItem, places_of
from blissmask.tasks.run.wording import framing_problem, pixels_text

COMMAND = "apply"
_MISSING = "no subject mask"
_ONE_FOR_MANY = (
    "the weighted mask is one for the whole clip, the subject masks one per frame; "
    "make both with the same `--video-masks`"
)


@dataclass(slots=True, kw_only=True)
class ApplyPlan(Plan):
    """What `apply` will do.

    Attributes:
        options: the section of the configuration.
        unpaired: weighted masks for which ``--missing error`` misses the subject mask; a run refuses them all at once.
        photos: what the masks were made of, for the contact sheet.
        tiers: the values that weighted masks were made with.
        training_area: pixels of a training picture, for the latent grid on the contact sheet.
        subject: which of the [[subjects]] the output is of; empty where there is one subject without a name.
    """

    options: ApplySection
    unpaired: list[Path]
    photos: Photos
    tiers: TierTable
    training_area: int
    subject: str


@dataclass(frozen=True, slots=True)
class _Pair:
    """A weighted mask (of a photo, or of one frame of a clip) and its subject mask, if there is one."""

    key: str
    weighted: Path
    instance: Path | None
    output: Path


def outputs(config: Config) -> tuple[Path, ...]:
    """Return the folder that is written to.

    Raises:
        UsageError: a folder is not given, or the output is one of the inputs.
    """
    return (_folders(config)[-1],)


def plan(config: Config) -> ApplyPlan:
    """Pair weighted masks with subject masks and decide item by item.

    Raises:
        UsageError: a folder is not given, or the output is one of the inputs.
        InputError: a folder cannot be read, holds no masks, or two masks have one name.
    """
    options = with_own_sheet(config.apply)
    weighted_folder, instance_folder, output = _folders(config)
    photos_folder = _photos_folder(config)
    shown_folders = [] if photos_folder is None else [photos_folder]
    check_sheet(options.sheet, [weighted_folder, instance_folder, output, *shown_folders])
    photos_shown = _photos_shown(photos_folder if options.sheet else None, given=options.input is not None)
    weighted, instances = match_masks(weighted_folder, videos=True), match_masks(instance_folder, videos=True)
    photos = match_live_photos(weighted_folder)
    for found in (weighted, instances):
        for key in [key for key, path in found.items() if without_links(path) == without_links(output)]:
            del found[key]
    if not weighted:
        raise InputError("no masks in the folder", where=[weighted_folder])
    items: list[PlannedItem] = []
    unpaired: list[Path] = []
    still = {key: path for key, path in instances.items() if not path.is_dir()} | match_live_photos(instance_folder)
    for pair in itertools.chain(_pairs(photos, still, output), _pairs(weighted, instances, output)):
        if isinstance(pair, PlannedItem):
            items.append(pair)
            continue
        items.append(_decide(pair, output, options, force=config.run.force))
        if pair.instance is None and options.missing == "error":
            unpaired.append(pair.weighted)
    return ApplyPlan(
        command=COMMAND,
        items=items,
        outputs=(output,),
        warnings=[
            *_orphans(weighted, instances),
            *_without_frames(weighted, items),
            *_both_forms({key: path for key, path in weighted.items() if key not in photos}, output),
            *kept_warning(items),
            *_copies(items, options),
            *(without_photo(photos_shown, items) if options.sheet else []),
        ],
        options=options,
        unpaired=unpaired,
        photos=photos_shown,
        tiers=config.masks.tiers,
        training_area=training_area(config),
        # As `prepare.for_subject` names the folders.
        subject=next((subject.name for subject in config.subjects if subject.name == output.name), ""),
    )


def _photos_folder(config: Config) -> Path | None:
    """Return the folder of the photos: the one given, else that of the commands before, where it is here."""
    if config.apply.input is not None:
        return config.apply.input
    read = (config.instance.input, config.masks.input)
    return next((folder for folder in read if folder is not None and folder.is_dir()), None)


def _photos_shown(folder: Path | None, *, given: bool) -> Photos:
    """Return the photos for the sheet; none where a folder that was not given for it cannot be read or holds none."""
    try:
        return find_photos(folder)
    except InputError:
        if given:
            raise
        # The plan warns of every mask without its photo.
        return find_photos(None)


def _folders(config: Config) -> tuple[Path, Path, Path]:
    """Return the folders of weighted masks, of subject masks and of results."""
    options = config.apply
    given = {
        "weighted_masks": options.weighted_masks,
        "instance_masks": options.instance_masks,
        "output": options.output,
    }
    weighted, instances, output = required(config, COMMAND, given)
    if without_links(weighted) == without_links(instances):
        raise UsageError(
            "the folder of weighted masks is also that of subject masks",
            where=[weighted],
            fix="`blissmask masks` makes the first, `blissmask instance` the second, each in a folder of its own",
        )
    refuse_output_in_place(output, {"weighted masks": weighted, "instance masks": instances})
    return weighted, instances, output


def _pairs(weighted: dict[str, Path], instances: dict[str, Path], output: Path) -> Iterator[_Pair | PlannedItem]:
    """Yield the pairs in order; a clip's folder of frames becomes one pair per frame."""
    for key, path in weighted.items():
        instance = instances.get(key)
        if not path.is_dir():
            if instance is not None and instance.is_dir():
                yield PlannedItem(path.stem, Action.FAIL, _ONE_FOR_MANY, (path, instance))
            else:
                yield _Pair(path.stem, path, instance, output / f"{path.stem}.png")
            continue
        subjects = match_masks(instance) if instance is not None and instance.is_dir() else None
        frames = match_masks(path)
        if not frames and instance is not None and (subjects is None or subjects):
            yield PlannedItem(
                path.name, Action.FAIL, "the clip's folder of weighted masks holds no frames", (path, instance)
            )
        for frame_key, frame in frames.items():
            subject = instance if subjects is None else subjects.get(frame_key)
            yield _Pair(f"{path.name}/{frame.stem}", frame, subject, output / path.name / f"{frame.stem}.png")


def _decide(pair: _Pair, folder: Path, options: ApplySection, *, force: bool) -> PlannedItem:
    """Decide about one pair; ``folder`` is the output folder."""
    inputs = (pair.weighted,) if pair.instance is None else (pair.weighted, pair.instance)
    states = states_of(inputs, pair.output)
    try:
        action, reason = _action_for(pair, inputs, folder, options, force=force)
    except InputError as error:
        return PlannedItem(pair.key, Action.FAIL, inputs=inputs, output=pair.output).failing(error.as_one())
    states = states if action is Action.WRITE else b""
    return PlannedItem(pair.key, action, reason, inputs, pair.output, states=states)


def _action_for(
    pair: _Pair, inputs: tuple[Path, ...], folder: Path, options: ApplySection, *, force: bool
) -> tuple[Action, str]:
    """Return what to do with a pair, and why; raises InputError when it cannot be done."""
    policy = options.missing
    if pair.instance is None and policy == "error":
        raise MaskError(_MISSING, where=[pair.weighted])
    if pair.instance is None and policy == "skip":
        return Action.SKIP, _MISSING
    if pair.output.parent.is_symlink() and pair.output.parent != folder:
        what = "a symbolic link in the output folder; nothing is written through it"
        raise InputError(what, where=[pair.output.parent])
    notes = []
    weighted_wh = read_size(pair.weighted)
    if pair.instance is None:
        notes.append(f"{_MISSING}: {'an all-zero mask' if policy == 'zero' else 'copied with all bystanders'}")
    else:
        instance_wh = read_size(pair.instance)
        if problem := framing_problem("weighted mask", weighted_wh, "subject mask", instance_wh):
            raise MaskError(problem, where=inputs)
        if weighted_wh != instance_wh:
            notes.append(f"subject mask resized from {pixels_text(instance_wh)}")
    action, reason = decide(pair.output, COMMAND, inputs, settings_of(inputs, options), force=force)
    if action is not Action.WRITE:
        return action, reason
    if reason:
        notes.append(reason)
    return action, ", ".join([pixels_text(weighted_wh), *notes])


def settings_of(inputs: tuple[Path, ...], options: ApplySection) -> dict[str, object]:
    """Return what decides the pixels of one mask besides its inputs.

    Args:
        inputs: the weighted mask, and the subject mask where there is one.
        options: ``grow`` counts only with a subject mask, ``missing`` only without.
    """
    return {"grow": options.grow} if len(inputs) > 1 else {"missing": options.missing}


def _orphans(weighted: dict[str, Path], instances: dict[str, Path]) -> list[Problem]:
    orphans = [path for key, path in instances.items() if key not in weighted]
    if not orphans:
        return []
    what = f"{counted(len(orphans), 'subject mask')} without a weighted mask"
    return [Problem(what, places_of(orphans), "check the names, or make the weighted masks with `blissmask masks`")]


def _without_frames(weighted: dict[str, Path], items: Sequence[PlannedItem]) -> list[Problem]:
    """Name the empty folders of weighted masks that have no subject masks: they may be clips or not."""
    used = {place for item in items for place in (item.inputs[0], item.inputs[0].parent)}
    empty = [path for path in weighted.values() if path not in used and path.is_dir()]
    if not empty:
        return []
    what = (
        f"{counted(len(empty), 'folder')} among the weighted masks without a mask in {verb(len(empty), 'it', 'them')}"
    )
    return [
        Problem(what, places_of(empty), "make the masks of these clips with `blissmask masks`, or remove the folders")
    ]


def _both_forms(weighted: dict[str, Path], output: Path) -> list[Problem]:
    """Name the masks of an earlier run in one form that stand beside those to be written in the other form."""
    forms = []
    for path in weighted.values():
        frames = path.is_dir()
        # The name of a folder has no suffix.
        forms.append(other_form(output / path.name, path.name if frames else path.stem, frames=frames))
    return both_forms_warning(
        [form for form in forms if form is not None], "`cache` refuses both; remove those from before"
    )


def _copies(items: Sequence[PlannedItem], options: ApplySection) -> list[Problem]:
    copied = [item.inputs[0] for item in items if len(item.inputs) == 1 and item.action is Action.WRITE]
    if not copied or options.missing != "copy":
        return []
    what = f"{counted(len(copied), 'mask')} copied without a subject mask; every bystander stays"
    return [Problem(what, places_of(copied))]
