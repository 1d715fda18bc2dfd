"""`masks`: turn photos and videos into weighted masks: face 255, body 128, hair 80, background 0."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blissmask.config.masks import MasksSection
from blissmask.config.model import Config
from blissmask.dataset.discover import find_media, unread_warning
from blissmask.dataset.item import MediaFile
from blissmask.errors import InputError
from blissmask.masks.tiers import TierTable
from blissmask.masks.weighted_mask import measure
from blissmask.media.image import read_grey, read_image
from blissmask.media.overlay import overlay_tiers
from blissmask.media.png import read_note, write_png_grey
from blissmask.media.sheet_pages import SheetText
from blissmask.media.video import read_frames, read_info
from blissmask.parsing.parts_backend import PARSING, PartsBackend
from blissmask.tasks.mask_files.clip_forms import OtherForms, remove_replaced, settle_forms
from blissmask.tasks.mask_files.clips import read_clip_results, sampled, write_clip
from blissmask.tasks.mask_files.contact_sheet import SheetEntry, check_sheet, tier_legend, write_contact_sheet
from blissmask.tasks.mask_files.licences import Weights, licence_table, refuse_non_commercial, tell, to_json
from blissmask.tasks.mask_files.media_plan import Making, is_video, plan_media
from blissmask.tasks.mask_files.output_notes import kept_warning
from blissmask.tasks.masks.classes import explanation, tier_values, tiers_of_classes
from blissmask.tasks.masks.maker import MaskMaker
from blissmask.tasks.masks.report import Seen, coverage_table, mean_coverage, numbers_of, read_seen, warnings_about
from blissmask.tasks.run.folders import FolderPair, pairs_to_do
from blissmask.tasks.run.plan import Plan, PlannedItem, RunContext, Summary
from blissmask.tasks.run.wording import counted
from blissmask.tasks.run.workers import begin, carry_out

COMMAND = "masks"


@dataclass(slots=True)
class MasksPlan(Plan):
    """What `masks` will do; ``maker`` and ``making`` are None when it only explains.

    ``forms`` are the clips' masks to be replaced.
    """

    maker: MaskMaker | None = None
    making: Making | None = None
    weights: tuple[Weights, ...] = ()
    forms: OtherForms = field(default_factory=OtherForms)
    config: Config = field(default_factory=Config)


def plan(config: Config) -> MasksPlan:
    """Find the photos and videos and decide item by item; with ``explain``, only say what the backend's classes become.

    Raises:
        UsageError: folders or classes are missing or wrong, or the licence of the weights is.
        InputError: a folder cannot be read, holds nothing, or two files have one name.
    """
    options = config.masks
    backend = PARSING.load(options.backend).backend(options)
    weights = (Weights("--backend", options.backend, backend.identity, backend.licence),)
    refuse_non_commercial(weights, commercial_only=options.commercial_only)
    tiers = tiers_of_classes(backend, options.map)
    table, details = explanation(options, backend, tiers)
    details["licences"] = to_json(weights)
    if options.explain:
        return MasksPlan(COMMAND, tables=[table, licence_table(weights)], details=details, config=config)
    pairs, warnings = pairs_to_do(config, "masks", options.input, options.output)
    check_sheet(options.sheet, [folder for pair in pairs for folder in (pair.input, pair.output)])
    settings = _settings(options, backend, details["classes"])
    frames = options.video_masks == "frames"
    making = Making(COMMAND, settings, to_json(weights), options.video_every, frames=frames, force=config.run.force)
    result = MasksPlan(
        COMMAND,
        outputs=tuple(dict.fromkeys(pair.output for pair in pairs)),
        warnings=warnings,
        details=details,
        maker=MaskMaker(backend, tiers, options),
        making=making,
        weights=weights,
        config=config,
    )
    found = {pair: find_media(pair.input, videos=True, shared="one mask") for pair in pairs}
    result.items, result.forms = settle_forms(_decided(found, making), making)
    result.warnings += [
        problem for pair, media in found.items() for problem in unread_warning(pair.input, media, videos=True)
    ]
    result.warnings += [*result.forms.warning(), *kept_warning(result.items)]
    return result


def run(plan: MasksPlan, context: RunContext) -> Summary:
    """Write the masks, then the contact sheet when one is wanted.

    Raises:
        MachineError, StoppedError: as ``workers.work_through``.
    """
    maker, making = plan.maker, plan.making
    if maker is None or making is None:
        return Summary(plan.command, tables=list(plan.tables), details=dict(plan.details))
    summary = begin(plan)
    tell(plan.weights, context.reporter)
    for _ in carry_out(plan, lambda item: _make(item, maker, making), context, summary, phase="Masking"):
        pass
    failed = {failure.key for failure in summary.failures}
    finished = [item for item in plan.items if item.key not in failed]
    remove_replaced(finished, plan.forms, making)
    options = plan.config.masks
    seen = {item.key: result for item in finished if (result := _seen_in(item, options.tiers)) is not None}
    summary.tables.append(coverage_table(list(seen.values()), options.tiers))
    summary.warnings += warnings_about(seen)
    summary.details |= {
        **plan.details,
        "items": len(seen),
        "mean_coverage": {tier.value: round(share, 5) for tier, share in mean_coverage(list(seen.values())).items()},
        "without_person": [key for key, result in seen.items() if result.people == 0],
        "without_face": [key for key, result in seen.items() if result.faces == 0],
        "empty_masks": [key for key, result in seen.items() if result.covered == 0],
    }
    if options.sheet is not None:
        text = SheetText(
            f"Weighted masks, {counted(len(seen), 'item')}",
            ("photo", "tiers", "latent grid"),
            tier_legend(options.tiers),
        )
        draw = functools.partial(overlay_tiers, tiers=options.tiers)
        write_contact_sheet(options.sheet, _sheet_entries(finished, seen), text, draw, plan.config, context)
    return summary


def _decided(found: Mapping[FolderPair, Sequence[MediaFile]], making: Making) -> list[PlannedItem]:
    """Decide item by item; with several folders their names are part of the keys."""
    several = len(found) > 1
    return [
        plan_media(file, pair.output, f"{pair.input.name}/{file.stem}" if several else file.stem, making)
        for pair, media in found.items()
        for file in media
    ]


def _sheet_entries(items: Sequence[PlannedItem], seen: Mapping[str, Seen]) -> list[SheetEntry]:
    return [
        SheetEntry(
            item.inputs[0].name,
            item.inputs[0],
            item.output,
            numbers_of(seen[item.key]),
            seen[item.key].remarks,
            seen[item.key].badness,
        )
        for item in items
        if item.key in seen and item.output is not None
    ]


def _settings(options: MasksSection, backend: PartsBackend, classes: object) -> dict[str, object]:
    return {
        "backend": backend.identity,
        "classes": classes,
        "tiers": tier_values(options.tiers),
        "grow": options.grow,
        "feather": options.feather,
        "min_area": options.min_area,
    }


def _make(item: PlannedItem, maker: MaskMaker, making: Making) -> None:
    source, output = item.inputs[0], item.output
    assert output is not None
    note = making.note_for(source)
    if making.is_clip(source):
        masks = _lazy_masks(source, maker, making.video_every)
        write_clip(output, note, masks, force=making.force, summarise=_over_frames)
        return
    grey_HW, seen = _static_mask(source, maker) if is_video(source) else maker.make(read_image(source).rgb_HW3)
    write_png_grey(output, grey_HW, note={**note, **seen})


def _lazy_masks(
    video: Path, maker: MaskMaker, every: int
) -> Iterator[Callable[[], tuple[NDArray[np.uint8], dict[str, object]]]]:
    """Yield for each frame a function that makes its mask; the frames between two that are looked at share one result."""
    make: Callable[[], tuple[NDArray[np.uint8], dict[str, object]]]
    for number, rgb_HW3 in enumerate(read_frames(video)):
        if number % every == 0:
            make = functools.cache(functools.partial(maker.make, rgb_HW3))
        yield make


def _static_mask(video: Path, maker: MaskMaker) -> tuple[NDArray[np.uint8], Mapping[str, object]]:
    """Return the per-pixel maximum over sampled frames: whatever the subject crosses counts."""
    indices = sampled(read_info(video, count=True).frame_count)
    results = [maker.make(rgb_HW3) for rgb_HW3 in read_frames(video, indices)]
    return np.maximum.reduce([grey_HW for grey_HW, _ in results]), _over_frames([seen for _, seen in results])


def _over_frames(seen: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """Sum up what was seen in the frames of a clip: the most people and faces, the mean coverage."""
    parts = [part for frame in seen if (part := read_seen(frame)) is not None]
    shares = {tier.value: round(share, 5) for tier, share in mean_coverage(parts).items()}
    return {"people": _most(seen, "people"), "faces": _most(seen, "faces"), "coverage": shares}


def _most(seen: Sequence[Mapping[str, object]], name: str) -> int | None:
    counts = [count for frame in seen if isinstance(count := frame.get(name), int)]
    return max(counts, default=None)


def _seen_in(item: PlannedItem, tiers: TierTable) -> Seen | None:
    """Return what is known of a finished output: what its note remembers, or what a mask made or edited by hand shows."""
    output = item.output
    assert output is not None
    if output.is_dir():
        return read_seen(read_clip_results(output))
    if not output.is_file():
        return None
    note = read_note(output)
    remembered = read_seen(note.content) if note is not None else None
    if remembered is not None and note is not None and note.untouched:
        return remembered
    try:
        measured = measure(read_grey(output), tiers).coverage
    except InputError:
        return None
    return Seen(measured, remembered.people if remembered else None, remembered.faces if remembered else None)
