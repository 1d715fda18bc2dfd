"""`apply`: keep the weights of the subject and set everybody else to 0."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blissmask.config.masks import ApplySection
from blissmask.config.model import Config
from blissmask.dataset.discover import match_masks
from blissmask.errors import InputError, MaskError, Problem
from blissmask.masks.refine import grow
from blissmask.masks.resize import resize_labels
from blissmask.masks.weighted_mask import INSTANCE_THRESHOLD, keep_subject
from blissmask.media.image import read_mask_picture, read_size
from blissmask.media.png import write_png_grey
from blissmask.storage.content import without_links
from blissmask.tasks.mask_files.clip_forms import both_forms_warning, other_form
from blissmask.tasks.mask_files.output_notes import decide, kept_warning, make_note
from blissmask.tasks.run.folders import refuse_output_in_place, required
from blissmask.tasks.run.plan import Action, Plan, PlannedItem, RunContext, Summary, Table, places_of
from blissmask.tasks.run.wording import counted, framing_problem, pixels_text, verb
from blissmask.tasks.run.workers import begin, carry_out

COMMAND = "apply"
_MISSING = "no subject mask"
_LISTED = 12


@dataclass(slots=True)
class ApplyPlan(Plan):
    """What `apply` will do; ``options`` say how."""

    options: ApplySection = field(default_factory=ApplySection)


@dataclass(frozen=True, slots=True)
class _Pair:
    """A weighted mask (of a photo, or of one frame of a clip) and its subject mask, if there is one."""

    key: str
    weighted: Path
    instance: Path | None
    output: Path


@dataclass(frozen=True, slots=True)
class _Applied:
    """What one pair came to: share of the weight that was removed, weight left, and doubts about the inputs."""

    removed: float
    weight: float
    doubt: str


def plan(config: Config) -> ApplyPlan:
    """Pair weighted masks with subject masks and decide item by item.

    Raises:
        UsageError: a folder is not given, or the output is one of the inputs.
        InputError: a folder cannot be read, holds no masks, or two masks have one name.
    """
    options = config.apply
    weighted_folder, instance_folder, output = required(
        "apply",
        {"weighted_masks": options.weighted_masks, "instance_masks": options.instance_masks, "output": options.output},
    )
    refuse_output_in_place(output, {"weighted masks": weighted_folder, "instance masks": instance_folder})
    weighted, instances = match_masks(weighted_folder, videos=True), match_masks(instance_folder, videos=True)
    for found in (weighted, instances):
        for key in [key for key, path in found.items() if without_links(path) == without_links(output)]:
            del found[key]
    if not weighted:
        raise InputError("no masks in the folder", where=[weighted_folder])
    result = ApplyPlan(COMMAND, outputs=(output,), options=options)
    for pair in _pairs(weighted, instances, output):
        result.items.append(pair if isinstance(pair, PlannedItem) else _decide(pair, result, force=config.run.force))
    result.warnings += [
        *_orphans(weighted, instances),
        *_without_frames(weighted, result.items),
        *_both_forms(weighted, output),
    ]
    result.warnings += [*kept_warning(result.items), *_copies(result)]
    return result


def run(plan: ApplyPlan, context: RunContext) -> Summary:
    """Write the masks.

    Raises:
        MaskError: subject masks are missing and ``missing`` is ``error``; nothing is written then.
        MachineError, StoppedError: as ``workers.work_through``.
    """
    missing = [item for item in plan.items if item.reason.startswith(_MISSING) and item.action is Action.FAIL]
    if missing:
        raise MaskError(
            f"no subject mask for {counted(len(missing), 'weighted mask')}",
            where=places_of([item.inputs[0] for item in missing]),
            fix="make them with `blissmask instance`, or say what to do with `--missing zero`, `copy` (keeps bystanders) or `skip`",
        )
    summary = begin(plan)
    results = {
        item.key: done
        for item, done in carry_out(plan, lambda item: _apply(item, plan), context, summary, phase="Applying")
    }
    summary.details["items"] = {
        key: {"removed": round(done.removed, 4), "mean_weight": round(done.weight, 4)} for key, done in results.items()
    }
    summary.details["emptied"] = emptied = [key for key, done in results.items() if done.weight == 0]
    if results:
        summary.tables.append(_table(results))
    if emptied:
        what = f"{counted(len(emptied), 'mask')} came out empty; nothing would be learned from {verb(len(emptied), 'it', 'them')}"
        summary.warnings.append(Problem(what, places_of(emptied), "check the subject masks, or leave these photos out"))
    doubtful = [f"{key}: {done.doubt}" for key, done in results.items() if done.doubt]
    if doubtful:
        summary.warnings.append(
            Problem(
                f"{counted(len(doubtful), 'mask')} may not hold what was meant",
                places_of(doubtful),
                "use 8-bit grey PNG masks",
            )
        )
    return summary


def _pairs(weighted: dict[str, Path], instances: dict[str, Path], output: Path) -> Iterator[_Pair | PlannedItem]:
    """Yield the pairs in order; a clip's folder of frames becomes one pair per frame."""
    for key, path in weighted.items():
        instance = instances.get(key)
        if not path.is_dir():
            if instance is not None and instance.is_dir():
                reason = "the weighted mask is one for the whole clip, the subject masks one per frame; make both with the same `--video-masks`"
                yield PlannedItem(path.stem, Action.FAIL, reason, (path, instance))
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


def _decide(pair: _Pair, result: ApplyPlan, *, force: bool) -> PlannedItem:
    inputs = (pair.weighted,) if pair.instance is None else (pair.weighted, pair.instance)
    try:
        action, reason = _look(pair, inputs, result, force=force)
    except InputError as error:
        action, reason = Action.FAIL, error.problems[0].what
    return PlannedItem(pair.key, action, reason, inputs, pair.output)


def _look(pair: _Pair, inputs: tuple[Path, ...], result: ApplyPlan, *, force: bool) -> tuple[Action, str]:
    policy = result.options.missing
    if pair.instance is None and policy in ("error", "skip"):
        return (Action.FAIL if policy == "error" else Action.SKIP), _MISSING
    if pair.output.parent.is_symlink() and pair.output.parent != result.outputs[0]:
        return (
            Action.FAIL,
            f"`{pair.output.parent.name}` is a symbolic link in the output folder; nothing is written through it",
        )
    notes = []
    weighted_wh = read_size(pair.weighted)
    if pair.instance is None:
        notes.append(f"{_MISSING}: {'an all-zero mask' if policy == 'zero' else 'copied with all bystanders'}")
    else:
        instance_wh = read_size(pair.instance)
        if problem := framing_problem("weighted mask", weighted_wh, "subject mask", instance_wh):
            return Action.FAIL, problem
        if weighted_wh != instance_wh:
            notes.append(f"subject mask resized from {pixels_text(instance_wh)}")
    action, reason = decide(pair.output, COMMAND, inputs, _settings(inputs, result.options), force=force)
    if action is not Action.WRITE:
        return action, reason
    return action, ", ".join([pixels_text(weighted_wh), *notes, *([reason] if reason else [])])


def _settings(inputs: tuple[Path, ...], options: ApplySection) -> dict[str, object]:
    """Return what decides the pixels of one mask besides its inputs: ``missing`` only where there is no subject mask."""
    return {"grow": options.grow} if len(inputs) > 1 else {"missing": options.missing}


def _apply(item: PlannedItem, plan: ApplyPlan) -> _Applied:
    note = make_note(COMMAND, item.inputs, _settings(item.inputs, plan.options))
    weighted = read_mask_picture(item.inputs[0])
    grey_HW = weighted.to_grey()
    doubt = weighted.doubt
    if len(item.inputs) > 1:
        instance_HW = resize_labels(read_mask_picture(item.inputs[1]).to_grey(), (grey_HW.shape[1], grey_HW.shape[0]))
        kept_HW = keep_subject(grey_HW, _grown(instance_HW, plan.options.grow))
    else:
        kept_HW = grey_HW if plan.options.missing == "copy" else np.zeros_like(grey_HW)
    assert item.output is not None
    write_png_grey(item.output, kept_HW, note=note)
    before, after = float(grey_HW.mean()), float(kept_HW.mean())
    return _Applied(1 - after / before if before else 0.0, after / 255, doubt)


def _grown(instance_HW: NDArray[np.uint8], pixels: int) -> NDArray[np.uint8]:
    subject_HW = grow(instance_HW > INSTANCE_THRESHOLD, pixels)
    return subject_HW.astype(np.uint8) * np.uint8(255)


def _orphans(weighted: dict[str, Path], instances: dict[str, Path]) -> list[Problem]:
    orphans = [path for key, path in instances.items() if key not in weighted]
    if not orphans:
        return []
    what = f"{counted(len(orphans), 'subject mask')} without a weighted mask"
    return [Problem(what, places_of(orphans), "check the names, or make the weighted masks with `blissmask masks`")]


def _without_frames(weighted: dict[str, Path], items: Sequence[PlannedItem]) -> list[Problem]:
    """Name the folders of weighted masks in which nothing is and that have no subject masks: whether they are clips cannot be seen."""
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
    """Name the masks of an earlier run that stand beside those to be written because the weighted masks have changed their form."""
    forms = []
    for path in weighted.values():
        frames = path.is_dir()
        # The name of a folder has no suffix.
        forms.append(other_form(output / path.name, path.name if frames else path.stem, frames=frames))
    return both_forms_warning(
        [form for form in forms if form is not None], "`cache` refuses both; remove those from before"
    )


def _copies(result: ApplyPlan) -> list[Problem]:
    copied = [item.inputs[0] for item in result.items if len(item.inputs) == 1 and item.action is Action.WRITE]
    if not copied or result.options.missing != "copy":
        return []
    return [
        Problem(
            f"{counted(len(copied), 'mask')} copied without a subject mask; every bystander stays", places_of(copied)
        )
    ]


def _table(results: dict[str, _Applied]) -> Table:
    most = sorted(results.items(), key=lambda result: -result[1].removed)
    rows = tuple((key, f"{done.removed:.1%}", f"{done.weight:.3f}") for key, done in most[:_LISTED])
    if len(most) > _LISTED:
        rows += ((f"and {len(most) - _LISTED} more", "", ""),)
    removed = sum(done.removed for done in results.values()) / len(results)
    weight = sum(done.weight for done in results.values()) / len(results)
    return Table(
        "Weight removed", ("Mask", "Removed", "Mean weight left"), rows, ("mean", f"{removed:.1%}", f"{weight:.3f}")
    )
