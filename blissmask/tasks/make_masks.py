"""`masks`: turn photos and videos into weighted masks: face 255, body 128, hair 80, background 0."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blissmask.config.masks import MasksSection
from blissmask.config.model import Config
from blissmask.dataset.discover import find_media
from blissmask.dataset.item import MediaFile, MediaKind
from blissmask.dataset.names import VIDEO_SUFFIXES
from blissmask.errors import InputError
from blissmask.events import Noted
from blissmask.masks.combine import tier_labels_to_grey
from blissmask.masks.outline import coverage, finish, to_tiers
from blissmask.masks.refine import feather
from blissmask.masks.tiers import WeightTier
from blissmask.media.image import read_image, read_size
from blissmask.media.overlay import TIER_COLOURS, Colour, overlay_tiers
from blissmask.media.png import read_note, write_png_grey
from blissmask.media.sheet import SheetText
from blissmask.media.video import read_frames, read_info
from blissmask.parsing.protocol import Parsed, PartsBackend
from blissmask.parsing.registry import PARSING
from blissmask.tasks.carry_out import begin, carry_out
from blissmask.tasks.clips import decide_clip, read_clip_results, sampled, write_clip
from blissmask.tasks.contact_sheet import SheetEntry, refuse_other_suffix, write_contact_sheet
from blissmask.tasks.folders import FolderPair, pairs_to_do
from blissmask.tasks.freshness import decide, kept_warning, make_note
from blissmask.tasks.mask_classes import explanation, refuse_non_commercial, tier_values, tiers_of_classes
from blissmask.tasks.mask_report import Seen, coverage_table, mean_coverage, numbers_of, read_seen, warnings_about
from blissmask.tasks.plan import Action, Plan, PlannedItem, RunContext, Summary
from blissmask.tasks.wording import counted

COMMAND = "masks"


@dataclass(slots=True)
class MasksPlan(Plan):
    """What `masks` will do. ``settings`` decide the pixels; ``maker`` makes them."""

    maker: MaskMaker | None = None
    settings: dict[str, object] = field(default_factory=dict)
    config: Config = field(default_factory=Config)


class MaskMaker:
    """Turns RGB pictures into weighted masks, from several threads.

    Args:
        backend: the semantic backend; called by one thread at a time unless it says that it is ``thread_safe``.
        tiers: tier of each of its classes.
        options: how outlines are finished and which values are written.
    """

    def __init__(self, backend: PartsBackend, tiers: Sequence[WeightTier], options: MasksSection) -> None:
        self._backend, self._tiers, self._options = backend, tiers, options
        self._turn = contextlib.nullcontext() if getattr(backend, "thread_safe", False) else threading.Lock()

    def make(self, rgb_HW3: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], dict[str, object]]:
        """Return the 8-bit mask and what was seen: ``people``, ``faces`` (None when not counted) and ``coverage`` by tier."""
        with self._turn:
            parsed: Parsed = self._backend.parse([rgb_HW3])[0]
        options = self._options
        labels_HW = to_tiers(parsed.labels_HW, self._tiers)
        tiers_HW = finish(labels_HW, min_pixels=round(options.min_area * labels_HW.size), grow_pixels=options.grow)
        grey_HW = feather(tier_labels_to_grey(tiers_HW, options.tiers), options.feather)
        shares = {tier.value: round(share, 5) for tier, share in coverage(tiers_HW).items()}
        return grey_HW, {"people": parsed.people, "faces": parsed.faces, "coverage": shares}


def plan(config: Config) -> MasksPlan:
    """Find the photos and videos and decide item by item; with ``explain``, only say what the backend's classes become.

    Raises:
        UsageError: folders or classes are missing or wrong, or the licence of the weights is.
        InputError: a folder cannot be read, holds nothing, or two files have one name.
    """
    options = config.masks
    refuse_other_suffix(options.sheet)
    backend = PARSING.load(options.backend).backend(options)
    refuse_non_commercial(backend.licence, options.backend, commercial_only=options.commercial_only)
    tiers = tiers_of_classes(backend, options.map)
    table, details = explanation(options, backend, tiers)
    if options.explain:
        return MasksPlan(COMMAND, tables=[table], details=details, config=config)
    pairs, warnings = pairs_to_do(config, "masks", options.input, options.output)
    result = MasksPlan(
        COMMAND,
        outputs=tuple(dict.fromkeys(pair.output for pair in pairs)),
        warnings=warnings,
        details=details,
        maker=MaskMaker(backend, tiers, options),
        settings=_settings(options, backend, details["classes"]),
        config=config,
    )
    for pair in pairs:
        for media in find_media(pair.input, videos=True, shared="one mask"):
            result.items.append(_decide(media, pair, result, several=len(pairs) > 1))
    result.warnings += kept_warning(result.items)
    return result


def run(plan: MasksPlan, context: RunContext) -> Summary:
    """Write the masks, then the contact sheet when one is wanted.

    Raises:
        MachineError, StoppedError: as ``workers.work_through``.
    """
    maker = plan.maker
    if maker is None:
        return Summary(plan.command, tables=list(plan.tables), details=dict(plan.details))
    summary = begin(plan)
    context.reporter.emit(Noted(f"backend {plan.config.masks.backend}, {plan.settings['backend']}"))
    for _ in carry_out(plan, lambda item: _make(item, maker, plan), context, summary, phase="Masking"):
        pass
    failed = {failure.key for failure in summary.failures}
    finished = [item for item in plan.items if item.key not in failed]
    seen = {item.key: result for item in finished if (result := read_seen(_remembered(item))) is not None}
    options = plan.config.masks
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
        text = SheetText(f"Weighted masks, {counted(len(seen), 'item')}", ("photo", "tiers", "latent grid"), _legend(options))
        draw = functools.partial(overlay_tiers, tiers=options.tiers)
        write_contact_sheet(options.sheet, _sheet_entries(finished, seen), text, draw, plan.config, context)
    return summary


def _legend(options: MasksSection) -> tuple[tuple[str, Colour], ...]:
    return tuple((f"{tier.value} {options.tiers.value(tier)}", colour) for tier, colour in TIER_COLOURS.items())


def _sheet_entries(items: Sequence[PlannedItem], seen: Mapping[str, Seen]) -> list[SheetEntry]:
    return [
        SheetEntry(
            item.inputs[0].name, item.inputs[0], item.output, numbers_of(seen[item.key]), seen[item.key].remarks, seen[item.key].badness
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


def _is_clip(source: Path, options: MasksSection) -> bool:
    return source.suffix.lower() in VIDEO_SUFFIXES and options.video_masks == "frames"


def _video_settings(plan: MasksPlan) -> dict[str, object]:
    return {**plan.settings, "video_every": plan.config.masks.video_every}


def _decide(media: MediaFile, pair: FolderPair, plan: MasksPlan, *, several: bool) -> PlannedItem:
    key = f"{pair.input.name}/{media.stem}" if several else media.stem
    frames = _is_clip(media.path, plan.config.masks)
    output = pair.output / (media.stem if frames else f"{media.stem}.png")
    force = plan.config.run.force
    try:
        if media.kind is MediaKind.IMAGE:
            size_wh, count = read_size(media.path), ""
            action, reason = decide(output, COMMAND, (media.path,), plan.settings, force=force)
        else:
            info = read_info(media.path)
            size_wh, count = info.size_wh, f", {counted(info.frame_count, 'frame')}"
            decide_video = decide_clip if frames else _decide_static
            action, reason = decide_video(output, COMMAND, media.path, _video_settings(plan), force=force)
    except InputError as error:
        return PlannedItem(key, Action.FAIL, error.problems[0].what, (media.path,), output)
    if action is Action.WRITE:
        reason = f"{size_wh[0]}x{size_wh[1]}{count}{f', {reason}' if reason else ''}"
    return PlannedItem(key, action, reason, (media.path,), output)


def _decide_static(output: Path, command: str, video: Path, settings: Mapping[str, object], *, force: bool) -> tuple[Action, str]:
    return decide(output, command, (video,), settings, force=force)


def _make(item: PlannedItem, maker: MaskMaker, plan: MasksPlan) -> None:
    source, output = item.inputs[0], item.output
    assert output is not None
    if _is_clip(source, plan.config.masks):
        _make_frames(source, output, maker, plan)
    elif source.suffix.lower() in VIDEO_SUFFIXES:
        note = make_note(COMMAND, (source,), _video_settings(plan))
        grey_HW, seen = _static_mask(source, maker)
        write_png_grey(output, grey_HW, note={**note, **seen})
    else:
        note = make_note(COMMAND, (source,), plan.settings)
        grey_HW, seen = maker.make(read_image(source).rgb_HW3)
        write_png_grey(output, grey_HW, note={**note, **seen})


def _make_frames(video: Path, folder: Path, maker: MaskMaker, plan: MasksPlan) -> None:
    masks = _lazy_masks(video, maker, plan.config.masks.video_every)
    settings, force = _video_settings(plan), plan.config.run.force
    write_clip(folder, COMMAND, video, settings, masks, force=force, summarise=_over_frames)


def _lazy_masks(video: Path, maker: MaskMaker, every: int) -> Iterator[Callable[[], tuple[NDArray[np.uint8], dict[str, object]]]]:
    """Yield for each frame a function that makes its mask; the frames between two that are looked at share one result."""
    make: Callable[[], tuple[NDArray[np.uint8], dict[str, object]]]
    for number, rgb_HW3 in enumerate(read_frames(video)):
        if number % every == 0:
            make = functools.cache(functools.partial(maker.make, rgb_HW3))
        yield make


def _static_mask(video: Path, maker: MaskMaker) -> tuple[NDArray[np.uint8], Mapping[str, object]]:
    """Return the per-pixel maximum over sampled frames: whatever the subject crosses counts."""
    indices = sampled(read_info(video).frame_count)
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


def _remembered(item: PlannedItem) -> Mapping[str, object]:
    """Return what the note of a finished output remembers; empty when it is not ours."""
    output = item.output
    assert output is not None
    if output.is_dir():
        return read_clip_results(output)
    note = read_note(output) if output.is_file() else None
    return note.content if note is not None else {}
