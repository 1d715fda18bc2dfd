"""`masks --retouch`: mend weighted masks by hand, on a page."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from blissmask.config.model import Config
from blissmask.config.sections.mask_sections import MasksSection
from blissmask.dataset.discover import find_media
from blissmask.masks.tiers import TierTable
from blissmask.media.overlay import TIER_COLOURS, tier_labels
from blissmask.media.sheets.card import SheetText
from blissmask.tasks.mask_files.contact_sheet import tier_legend, training_area
from blissmask.tasks.mask_files.media_plan import is_video, keys_of
from blissmask.tasks.masks.plan import COMMAND, folders_to_do
from blissmask.tasks.masks.report import LEAST, measures_of, seen_in
from blissmask.tasks.retouch.desk import NO_MASK, Described, Kind, RetouchItem
from blissmask.tasks.retouch.retouching import page_title, plan_retouch, refuse_unfit, retouch, videos_warning
from blissmask.tasks.run.plan import Plan, RunContext, Summary


@dataclass(slots=True, kw_only=True)
class RetouchPlan(Plan):
    """What is shown; fields as in ``masks.plan.MasksPlan``."""

    options: MasksSection
    training_area: int
    videos: int


def outputs(config: Config) -> tuple[Path, ...]:
    """Return the folders that are written to. Raises UsageError when folders are missing or wrong."""
    pairs, _ = folders_to_do(config)
    return tuple(dict.fromkeys(pair.output for pair in pairs))


def plan(config: Config) -> RetouchPlan:
    """Find the photos and their masks.

    Raises:
        UsageError: folders are missing or wrong.
        InputError: a folder cannot be read or holds nothing.
        MissingPackageError: the server's packages are missing.
    """
    options = config.masks
    refuse_unfit(explain=options.explain, quiet=config.run.quiet)
    pairs, warnings = folders_to_do(config)
    items, shown = [], []
    for pair in pairs:
        media = find_media(pair.input, videos=True, shared="one mask", live_photos=True)
        for file, key in zip(media, keys_of(media), strict=True):
            shown.append(file.path)
            if not is_video(file.path):
                name = f"{pair.input.name}/{key}" if len(pairs) > 1 else key
                items.append(plan_retouch(file.path, pair.output / f"{file.stem}.png", name))
    return RetouchPlan(
        command=COMMAND,
        items=items,
        outputs=outputs(config),
        warnings=[*warnings, *videos_warning(shown)],
        options=options,
        training_area=training_area(config),
        videos=sum(map(is_video, shown)),
    )


def run(plan: RetouchPlan, context: RunContext) -> Summary:
    """Serve the page until it is finished. Raises MachineError when no port can be opened."""
    tiers = plan.options.tiers
    values = (tiers.background, *(tiers.value(tier) for tier in TIER_COLOURS))
    kind = Kind(values, functools.partial(tier_labels, tiers=tiers), functools.partial(_describe, tiers=tiers))
    title = page_title("Weighted masks", len(plan.items), videos=plan.videos)
    text = SheetText(title, ("photo", "tiers", "latent grid"), tier_legend(tiers), worst=LEAST)
    return retouch(plan.items, kind, text, context, command=COMMAND, training_area=plan.training_area)


def _describe(item: RetouchItem, *, tiers: TierTable) -> Described:
    seen = seen_in(item.mask, tiers)
    if seen is None:
        return NO_MASK
    return Described(measures_of(seen), seen.remarks, seen.badness)
