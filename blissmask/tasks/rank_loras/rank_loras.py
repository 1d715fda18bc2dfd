"""`train --rank-loras`: draw the same prompts with every LoRA, measure the pictures and the held-out items, and rank.

A LoRA whose pictures are there, drawn from the same files, prompts and model, is not drawn again. H, W: rows and
columns; 3 = RGB.
"""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from blissmask.errors import InputError, StoppedError, UsageError
from blissmask.events import Advanced, PhaseFinished, PhaseStarted, Warned
from blissmask.masks.tiers import WeightTier
from blissmask.media.image import read_image
from blissmask.parsing.embedded import EmbeddedParts
from blissmask.people.subject_likeness import LikenessMeter, SubjectsSummary
from blissmask.plurals import counted
from blissmask.storage import atomic
from blissmask.storage.content import file_sha256
from blissmask.storage.ordinary import read_text
from blissmask.tasks.rank_loras.place import place_kept
from blissmask.tasks.rank_loras.plan import BASE, SHEET, RankPlan
from blissmask.tasks.rank_loras.result import Result, faceless_warnings, ranked, ranking_tables
from blissmask.tasks.rank_loras.sheet import write_sheet
from blissmask.tasks.ranking.candidates import Candidate
from blissmask.tasks.ranking.loaded_model import bring_to_device, load_candidate, load_model, refuse_no_numbers
from blissmask.tasks.run.plan import Failure, RunContext, Summary
from blissmask.tasks.run.workers import begin
from blissmask.tasks.train.data.read_items import open_store
from blissmask.tasks.train.memory.fit_memory import explained_out_of_memory
from blissmask.tasks.train.previews.draw import Previews, draw_pictures, open_previews
from blissmask.tasks.train.previews.measure import measure_drawn, open_meter
from blissmask.tasks.train.saving.page.rankings import LORAS, renew_rankings
from blissmask.tasks.train.train_lora import learner_plan_of
from blissmask.training.data.prefetch import ItemStore
from blissmask.training.device import find_device
from blissmask.training.experts import Learner
from blissmask.training.validation import HeldOut, validate


@dataclass(frozen=True, slots=True)
class _Ranker:
    """What every LoRA is looked at with."""

    plan: RankPlan
    learners: Sequence[Learner]
    previews: Previews | None
    meter: LikenessMeter | None
    store: ItemStore
    device: torch.device
    context: RunContext


def run(plan: RankPlan, context: RunContext) -> Summary:
    """Draw, measure, rank.

    Raises:
        ModelError: the model cannot be loaded.
        MachineError: it does not fit into the memory, or the disk is full.
        StoppedError: a signal asked to stop; the LoRA that are finished are not drawn again.
    """
    summary = begin(plan)
    with explained_out_of_memory(plan.training.config, plan.training.data.sets):
        ranker = _open(plan, context)
        # Before a LoRA is loaded, the freshly made one changes nothing: this is the base model.
        base = _look(ranker, Candidate(BASE, ()), base=None)
        results = []
        context.reporter.emit(PhaseStarted("Ranking", len(plan.candidates), "LoRA"))
        for candidate in plan.candidates:
            try:
                load_candidate(ranker.learners, candidate)
                results.append(_look(ranker, candidate, base=base))
            except InputError as error:
                summary.failures.append(Failure(candidate.name, error.as_one()))
                continue
            context.reporter.emit(Advanced(1, candidate.name))
        context.reporter.emit(PhaseFinished("Ranking"))
    order = ranked(results)
    _conclude(plan, order, base, summary)
    if problem := renew_rankings(plan.training.names):
        context.reporter.emit(Warned(problem))
    return summary


def _open(plan: RankPlan, context: RunContext) -> _Ranker:
    """Load what draws and measures.

    Raises:
        UsageError: no photo shows the subject's face, and nothing is held out.
    """
    training = plan.training
    device = find_device(training.config.model.device)
    learner_plan = learner_plan_of(training, device)
    # Encoders first, as in a training: they need the memory that the denoisers take.
    previews = open_previews(training, plan.previews, learner_plan, context)
    meter = None if training.likeness is None else open_meter(training.likeness, context)
    if meter is None and not training.data.held_out:
        raise UsageError(
            "there is nothing to rank by: no photo shows one clear face of the subject, and nothing is held out",
            fix="name other photos with `--likeness-reference`, or set `validation_split` as for the training",
        )
    store = open_store(training)
    learners = load_model(training, learner_plan, store, context)
    if previews is not None:
        previews.follow(learners)
    return _Ranker(plan, learners, previews, meter, store, device, context)


def _look(ranker: _Ranker, candidate: Candidate, *, base: Result | None) -> Result:
    """Draw and measure one candidate, or read what an earlier run found.

    Raises:
        MediaError: a picture that an earlier run drew is damaged.
        ModelError: the losses are no numbers.
        StoppedError: a signal asked to stop.
    """
    pictures = _pictures(ranker, candidate)
    path = ranker.plan.folder / f"{candidate.name}.json"
    fingerprint = _fingerprint(ranker, candidate)
    if _read_fingerprint(path) != fingerprint:
        for picture in pictures:
            picture.unlink(missing_ok=True)
    if ranker.previews is not None:
        due = [None if picture.is_file() else picture for picture in pictures]
        draw_pictures(ranker.previews, ranker.learners, ranker.context, due)
    _refuse_to_go_on(ranker.context)
    there = [picture if picture.is_file() else None for picture in pictures]
    likeness, measured = _measure(ranker, pictures)
    held_out = _held_out_loss(ranker)
    refuse_no_numbers(held_out, candidate.files)
    result = Result(
        name=candidate.name,
        pictures=tuple(there),
        likeness=likeness,
        place=None if base is None else _place(there, base.pictures),
        held_out=held_out,
        measured=measured,
    )
    atomic.write_text(path, json.dumps({"drawn_from": fingerprint, **result.to_json(), **measured}, indent=1) + "\n")
    return result


def _refuse_to_go_on(context: RunContext) -> None:
    """Raise StoppedError when a signal asked to stop: some pictures may be missing."""
    if signal := context.stop_signal():
        raise StoppedError(
            "the ranking was stopped; the LoRA that are finished are not drawn again",
            signal_number=signal,
            fix="run the same command again to continue",
        )


def _pictures(ranker: _Ranker, candidate: Candidate) -> list[Path]:
    files = []
    for number, preview in enumerate(ranker.plan.previews.previews):
        suffix = "png" if preview.settings.frame_count == 1 else "mp4"
        files.append(ranker.plan.folder / f"{candidate.name}_{number:02d}_{preview.settings.seed}.{suffix}")
    return files


def _fingerprint(ranker: _Ranker, candidate: Candidate) -> str:
    """Return what names all that the pictures are drawn from."""
    facts = {
        "lora": candidate.content(),
        "model": [learner.denoiser.identity for learner in ranker.learners],
        "prompts": [
            {**asdict(preview), "pictures": [file_sha256(path) for path in preview.pictures]}
            for preview in ranker.plan.previews.previews
        ],
        "preview_dit": str(ranker.plan.training.config.previews.preview_dit),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _read_fingerprint(path: Path) -> object:
    if not path.is_file():
        return None
    try:
        document = json.loads(read_text(path))
    except (ValueError, RecursionError):
        return None
    return document.get("drawn_from") if isinstance(document, dict) else None


def _measure(ranker: _Ranker, pictures: Sequence[Path]) -> tuple[SubjectsSummary | None, Mapping[str, object]]:
    likeness = ranker.plan.training.likeness
    if ranker.meter is None or likeness is None:
        return None, {}
    drawn = likeness.drawn(ranker.plan.previews.previews, pictures)
    measured, summary = measure_drawn(ranker.meter, drawn, folder=ranker.plan.folder)
    return summary, measured


def _place(pictures: Sequence[Path | None], base: Sequence[Path | None]) -> float | None:
    """Return how much of the asked places is left, the mean over the pictures that show one; clips are left out."""
    parts = EmbeddedParts()
    found = []
    for drawn, before in zip(pictures, base, strict=True):
        if drawn is None or before is None or drawn.suffix != ".png":
            continue
        rgb_HW3, base_HW3 = read_image(drawn).rgb_HW3, read_image(before).rgb_HW3
        kept = place_kept(rgb_HW3, base_HW3, _nobody(parts, rgb_HW3), _nobody(parts, base_HW3))
        if kept is not None:
            found.append(kept)
    return statistics.fmean(found) if found else None


def _nobody(parts: EmbeddedParts, rgb_HW3: NDArray[np.uint8]) -> NDArray[np.bool_]:
    (parsed,) = parts.parse([rgb_HW3])
    background = [at for at, name in enumerate(parts.classes) if parts.tiers[name] is WeightTier.BACKGROUND]
    return np.isin(parsed.labels_HW, background)


def _held_out_loss(ranker: _Ranker) -> dict[str, float]:
    """Return the loss of the held-out items in each region, the mean over the experts; empty where none are."""
    training = ranker.plan.training
    if not training.data.held_out:
        return {}
    held_out = HeldOut(
        positions=training.data.held_out, item=ranker.store.item, rule=training.rule, device=ranker.device
    )
    found: dict[str, list[float]] = {}
    for learner in ranker.learners:
        bring_to_device(learner, ranker.learners, training, ranker.device)
        for name, value in validate(learner, held_out).items():
            found.setdefault(name, []).append(float(value))
    return {name: statistics.fmean(values) for name, values in found.items()}


def _conclude(plan: RankPlan, order: Sequence[Result], base: Result, summary: Summary) -> None:
    """Write the results and the sheet, and put the table into the summary; where nothing could be ranked, neither."""
    if not order:
        # The ranking before this one is worth more than the base model alone.
        summary.headline, summary.destination = "Ranked no LoRA file", ""
        return
    document = {"ranking": [result.to_json() for result in order], "base": base.to_json()}
    atomic.write_text(plan.folder / LORAS, json.dumps(document, indent=1) + "\n")
    prompts = [preview.prompt for preview in plan.previews.previews]
    write_sheet(plan.folder / SHEET, [*order, base], prompts)
    summary.written = len(order)
    summary.headline = f"Ranked {counted(len(order), 'LoRA file')}"
    summary.destination = str(plan.folder / SHEET)
    summary.details |= document
    summary.tables += ranking_tables(order, base)
    summary.warnings += faceless_warnings(order)
