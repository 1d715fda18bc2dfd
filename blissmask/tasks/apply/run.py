"""Run `apply`: keep the weights of the subject and set everybody else to 0.

H, W: rows and columns.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blissmask.config.sections.mask_sections import ApplySection
from blissmask.dataset.discover import media_of_mask
from blissmask.errors import MaskError, Problem
from blissmask.masks.refine import grow
from blissmask.masks.resize import resize_labels
from blissmask.masks.weighted_mask import INSTANCE_THRESHOLD, keep_subject
from blissmask.media.mask_picture import read_mask_picture
from blissmask.media.png import read_note, write_png_grey
from blissmask.plurals import counted, verb
from blissmask.processes import this_process
from blissmask.tasks.apply.apply_sheet import write_apply_sheet
from blissmask.tasks.apply.plan import COMMAND, ApplyPlan, settings_of
from blissmask.tasks.mask_files.output_notes import keep_copy, make_note
from blissmask.tasks.run.plan import PlannedItem, RunContext, Summary, Table, places_of
from blissmask.tasks.run.shares import in_plan_order
from blissmask.tasks.run.wording import absent_notice
from blissmask.tasks.run.workers import begin, carry_out

_LISTED = 12
"""Masks in the table of the summary, those that lost most; `--json` has all."""


@dataclass(frozen=True, slots=True)
class _Applied:
    """What one pair came to: share of the weight that was removed, weight left, and doubts, each with its mask file."""

    removed: float
    weight: float
    doubts: tuple[str, ...]


def run(plan: ApplyPlan, context: RunContext) -> Summary:
    """Write the masks, then the contact sheet when one is wanted.

    Raises:
        MaskError: subject masks are missing and ``missing`` is ``error``; nothing is written then.
        MachineError, StoppedError: as ``workers.work_through``.
    """
    if plan.unpaired:
        raise MaskError(
            f"no subject mask for {counted(len(plan.unpaired), 'weighted mask')}",
            where=places_of(plan.unpaired),
            fix="make them with `blissmask instance`, or say what to do with `--missing zero`, "
            "`copy` (keeps bystanders) or `skip`",
        )
    summary = begin(plan)
    apply = functools.partial(_apply, options=plan.options)
    done_by_key = {item.key: done for item, done in carry_out(plan, apply, context, summary, phase="Applying")}
    results = in_plan_order(plan, done_by_key)
    emptied = [key for key, done in results.items() if done.weight == 0]
    summary.details["weights"] = {
        key: {"removed": round(done.removed, 4), "mean_weight": round(done.weight, 4)} for key, done in results.items()
    }
    summary.details["emptied"] = emptied
    if results:
        summary.tables.append(_table(results))
    if emptied:
        summary.warnings.append(_emptied_warning(plan.subject, emptied))
    doubtful = [doubt for done in results.values() for doubt in done.doubts]
    if doubtful:
        what = f"{counted(len(doubtful), 'mask')} may not hold what was meant"
        summary.warnings.append(Problem(what, places_of(doubtful), "use 8-bit grey PNG masks"))
    sheet = plan.options.sheet
    if sheet is not None and this_process().speaks:
        failed = {failure.key for failure in summary.failures}
        finished = [item for item in plan.items if item.key not in failed and item.target.is_file()]
        write_apply_sheet(sheet, finished, plan.photos, plan.tiers, context, training_area=plan.training_area)
    return summary


def _apply(item: PlannedItem, options: ApplySection) -> _Applied:
    # `cache` asks whether the mask of a Live Photo is of its photo or of its video.
    media = media_of_mask(read_note(item.inputs[0]))
    note = make_note(COMMAND, item.inputs, settings_of(item.inputs, options), **({"media": media} if media else {}))
    masks = [read_mask_picture(path) for path in item.inputs]
    grey_HW = masks[0].to_grey()
    if len(masks) > 1:
        instance_HW = resize_labels(masks[1].to_grey(), (grey_HW.shape[1], grey_HW.shape[0]))
        kept_HW = keep_subject(grey_HW, _grown(instance_HW, options.grow))
    elif options.missing == "copy":
        kept_HW = grey_HW
    else:
        kept_HW = np.zeros_like(grey_HW)
    keep_copy(item.target)
    write_png_grey(item.target, kept_HW, note=note, seen=item.seen)
    before, after = float(grey_HW.mean()), float(kept_HW.mean())
    removed = 1 - after / before if before else 0.0
    doubts = [f"{path}: {mask.doubt}" for path, mask in zip(item.inputs, masks, strict=True) if mask.doubt]
    return _Applied(removed=removed, weight=after / 255, doubts=tuple(doubts))


def _grown(instance_HW: NDArray[np.uint8], pixels: int) -> NDArray[np.uint8]:
    subject_HW = grow(instance_HW > INSTANCE_THRESHOLD, pixels)
    return subject_HW.astype(np.uint8) * np.uint8(255)


def _emptied_warning(subject: str, emptied: Sequence[str]) -> Problem:
    if subject:
        return absent_notice([subject], emptied)
    them = verb(len(emptied), "it", "them")
    what = f"{counted(len(emptied), 'mask')} came out empty; nothing would be learned from {them}"
    return Problem(what, tuple(emptied), "check the subject masks, or leave these photos out")


def _table(results: Mapping[str, _Applied]) -> Table:
    most = sorted(results.items(), key=lambda result: -result[1].removed)
    rows = [(key, f"{done.removed:.1%}", f"{done.weight:.3f}") for key, done in most[:_LISTED]]
    if len(most) > _LISTED:
        rows.append((f"and {len(most) - _LISTED} more", "", ""))
    removed = sum(done.removed for done in results.values()) / len(results)
    weight = sum(done.weight for done in results.values()) / len(results)
    return Table(
        title="Weight removed",
        columns=("Mask", "Removed", "Mean weight left"),
        rows=tuple(rows),
        footer=("mean", f"{removed:.1%}", f"{weight:.3f}"),
    )
