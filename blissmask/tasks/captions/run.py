"""Run `cache --captions`: describe the photos, and write the captions beside them."""

from __future__ import annotations

import functools
import json

from blissmask.dataset.captions.caption_words import without_trigger
from blissmask.media.image import read_image
from blissmask.networks.caption_model import CaptionModel
from blissmask.storage.atomic import write_bytes
from blissmask.tasks.captions.plan import CaptionForm, CaptionsPlan
from blissmask.tasks.run.plan import Action, PlannedItem, RunContext, Summary, Table
from blissmask.tasks.run.workers import begin, carry_out

PLACEHOLDER = "{trigger}"
_SHOWN = 5
"""Captions in the summary, so that one sees at once what the model writes."""


def run(plan: CaptionsPlan, context: RunContext) -> Summary:
    """Write the captions that are missing.

    Raises:
        ModelError, MissingPackageError: the model cannot be loaded.
        MachineError, StoppedError: captions that are written are kept.
    """
    summary = begin(plan)
    summary.details["captions"] = 0
    if not plan.having(Action.WRITE):
        return summary
    model = CaptionModel(plan.folder, device=plan.device)
    write = functools.partial(_write, model=model, plan=plan)
    written = [
        (item.inputs[0].name, text)
        for item, text in carry_out(plan, write, context, summary, phase="Describing photos")
    ]
    if written:
        summary.tables.append(Table("", ("Photo", "Caption"), tuple(written[:_SHOWN])))
    summary.details["captions"] = len(written)
    return summary


def _write(item: PlannedItem, *, model: CaptionModel, plan: CaptionsPlan) -> str:
    """Describe one photo, publish its caption and return it."""
    form = plan.forms[item.key]
    text = in_form(model.describe(read_image(item.inputs[0]).rgb_HW3, form.prompt), form)
    content = json.dumps({"caption": text}, ensure_ascii=False) if form.style == "json" else text
    write_bytes(item.target, f"{content}\n".encode(), seen=item.seen)
    return text


def in_form(answer: str, form: CaptionForm) -> str:
    """Return what a model says as a caption: the trigger is a placeholder, and is in front where the model left it out.

    So another trigger later needs no other captions.
    """
    if not form.trigger or PLACEHOLDER in answer:
        return answer
    return without_trigger(answer, {form.trigger: PLACEHOLDER}) or f"{PLACEHOLDER}, {answer}"
