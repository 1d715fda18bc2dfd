"""Run `masks`: write the weighted masks, then the contact sheet."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from blissmask.media.overlay import tier_labels
from blissmask.media.sheets.card import SheetText
from blissmask.plurals import counted
from blissmask.processes import this_process
from blissmask.tasks.mask_files.clip_forms import remove_replaced
from blissmask.tasks.mask_files.contact_sheet import SheetEntry, tier_legend, write_contact_sheet
from blissmask.tasks.mask_files.licences import note_licences
from blissmask.tasks.masks.maker import write_mask
from blissmask.tasks.masks.plan import MasksPlan
from blissmask.tasks.masks.report import (
    HEAD_CUT,
    IN_FRONT,
    LEAST,
    NOBODY,
    ODD_PHOTO,
    SEVERAL_PEOPLE,
    Seen,
    coverage_table,
    look_remarks,
    mean_coverage,
    measures_of,
    seen_in,
    told_shares,
    warnings_about,
)
from blissmask.tasks.remarks.remark import as_problems, shorts_by_media
from blissmask.tasks.run.plan import Action, Explanation, PlannedItem, RunContext, Summary
from blissmask.tasks.run.workers import begin, carry_out


def run(plan: MasksPlan | Explanation, context: RunContext) -> Summary:
    """Write the masks, then the contact sheet when one is wanted.

    Raises:
        MachineError, StoppedError: as ``workers.work_through``.
    """
    if isinstance(plan, Explanation):
        return plan.summary()
    summary = begin(plan)
    if plan.having(Action.WRITE):
        note_licences(plan.weights, context.reporter)
    write = functools.partial(write_mask, maker=plan.maker, making=plan.making)
    for _ in carry_out(plan, write, context, summary, phase="Masking"):
        pass
    if not this_process().speaks:
        return summary
    failed = {failure.key for failure in summary.failures}
    finished = [item for item in plan.items if item.key not in failed]
    remove_replaced(finished, plan.forms, plan.making)
    found = {item.key: seen_in(item.target, plan.options.tiers) for item in finished}
    seen = {key: known for key, known in found.items() if known is not None}
    photos = [(item, seen[item.key]) for item in finished if item.key in seen]
    looks = look_remarks({item.inputs[0]: known for item, known in photos})
    _count(summary, plan, seen)
    summary.warnings += as_problems(looks)
    odd = shorts_by_media(looks + plan.remarks)
    summary.details["odd_photos"] = {str(path): list(shorts) for path, shorts in odd.items()}
    if plan.options.sheet is not None:
        entries = _sheet_entries(photos, odd)
        _write_sheet(plan.options.sheet, plan, entries, context)
    return summary


def _count(summary: Summary, plan: MasksPlan, seen: Mapping[str, Seen]) -> None:
    """Put into ``summary`` how much of the photos is what, and which items need a look."""
    summary.tables.append(coverage_table(list(seen.values()), plan.options.tiers))
    summary.warnings += warnings_about(seen, sheet=plan.options.sheet)
    summary.details |= {
        **plan.details,
        "mean_coverage": told_shares(mean_coverage(list(seen.values()))),
        "without_person": [key for key, result in seen.items() if result.people == 0],
        "without_face": [key for key, result in seen.items() if result.faces == 0],
        "body_of_nobody": [key for key, result in seen.items() if NOBODY in result.remarks],
        "several_people": [key for key, result in seen.items() if SEVERAL_PEOPLE in result.remarks],
        "head_cut_off": [key for key, result in seen.items() if HEAD_CUT in result.remarks],
        "thing_in_a_body": [key for key, result in seen.items() if IN_FRONT in result.remarks],
        "empty_masks": [key for key, result in seen.items() if result.covered == 0],
    }


def _write_sheet(path: Path, plan: MasksPlan, entries: Sequence[SheetEntry], context: RunContext) -> None:
    tiers = plan.options.tiers
    heading, columns = f"Weighted masks, {counted(len(entries), 'item')}", ("photo", "tiers", "latent grid")
    text = SheetText(heading, columns, tier_legend(tiers), worst=LEAST)
    labels_of = functools.partial(tier_labels, tiers=tiers)
    write_contact_sheet(path, entries, text, labels_of, context, training_area=plan.training_area)


def _sheet_entries(
    photos: Iterable[tuple[PlannedItem, Seen]], shorts: Mapping[Path, tuple[str, ...]]
) -> list[SheetEntry]:
    entries = []
    for item, seen in photos:
        media = item.inputs[0]
        odd, badness = shorts.get(media, ()), seen.badness
        if odd:
            badness = replace(badness, remark=max(badness.remark, ODD_PHOTO))
        entries.append(
            SheetEntry(
                name=media.name,
                media=media,
                mask=item.target,
                measures=measures_of(seen),
                remarks=(*seen.remarks, *odd),
                badness=badness,
            )
        )
    return entries
