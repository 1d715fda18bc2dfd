"""Show what will be trained: photos at their bucket crops, masks over them, and weights on the latent grid.

Of a clip, one latent frame in its middle is shown. H, W: rows and columns at training size; 3 = RGB.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blissmask.config.model import Config
from blissmask.dataset.captions.caption_file import caption_of
from blissmask.dataset.captions.caption_words import fill_in, words_for, zoom_caption
from blissmask.dataset.frame_source import read_rgb
from blissmask.dataset.item import MaskSource
from blissmask.dataset.mask_source import NAMES
from blissmask.dataset.pixel_mask import PixelMask, full_mask, mean_mask
from blissmask.errors import InputError, Problem, UsageError
from blissmask.masks.latent import causal_groups
from blissmask.media.overlay import PLAIN, fit_size, shrink, tier_labels
from blissmask.media.sheets.card import Badness, Card, Measure, SheetText
from blissmask.plurals import counted
from blissmask.tasks.cache.planned_entries import LatentEntry
from blissmask.tasks.cache.reading.entry_pixels import read_mask, read_pixels
from blissmask.tasks.cache.reading.mask_weights import has_moving_mask, read_frame_masks
from blissmask.tasks.mask_files.contact_sheet import check_sheet, draw_sheet, tier_legend, with_own_sheet
from blissmask.tasks.remarks.remark import Remark, shorts_by_media
from blissmask.tasks.run.plan import RunContext
from blissmask.tasks.run.wording import pixels_text

_MUCH_CUT = 0.2
"""A photo that loses this share of its area to the crop needs a look: a face at the edge may be gone."""


def check_cache_sheet(config: Config) -> list[Problem]:
    """Refuse a sheet that cannot be written; return warnings about it.

    Raises:
        UsageError: as ``contact_sheet.check_sheet``, or nothing is encoded that could be shown.
    """
    sheet = with_own_sheet(config.cache).sheet
    if sheet is None:
        return []
    if config.cache.text_only:
        raise UsageError("`--sheet` shows pictures, and `--text-only` encodes none", fix="leave one of them out")
    named = [
        (data.image_directory, data.video_directory, data.mask_directory, data.control_directory)
        for data in config.datasets
    ]
    check_sheet(sheet, [folder for folders in named for folder in folders if folder is not None])
    if not config.run.dry_run:
        return []
    fix = "leave `--dry-run` out; the sheet is finished before any model is loaded, and Ctrl-C then stops the run"
    return [Problem("a dry run writes nothing, so there will be no contact sheet", (str(sheet),), fix)]


def write_cache_sheet(
    sheet: Path, entries: Sequence[LatentEntry], remarks: Iterable[Remark], context: RunContext
) -> None:
    """Write the sheet, fresh entries included; one that cannot be read is named and left out.

    Args:
        sheet: the file.
        entries: the cards.
        remarks: what the plan found odd about items; the cards show it.
        context: as ``contact_sheet.draw_sheet`` takes it.

    Raises:
        InputError, MachineError, StoppedError: as ``contact_sheet.draw_sheet``.
    """
    legend = tier_legend(entries[0].dataset.tiers) if any(entry.has_mask for entry in entries) else ()
    shown = ("at training size", "tiers", "latent grid") if legend else ("at training size", "latent grid")
    text = SheetText(f"To be trained, {counted(len(entries), 'item')}", shown, legend, worst="most cut away")
    several_sets = len({entry.dataset.number for entry in entries}) > 1
    card_of = functools.partial(_card, shorts=shorts_by_media(remarks), several_sets=several_sets)
    draw_sheet(sheet, entries, card_of, text, context, name=_key_of)


def _key_of(entry: LatentEntry) -> str:
    return entry.key


def _card(entry: LatentEntry, side: int, *, shorts: Mapping[Path, Sequence[str]], several_sets: bool = False) -> Card:
    rgb_HW3, drawn, mask = _middle_of_clip(entry) if entry.is_moving else _picture(entry)
    size_wh, latent = entry.geometry.size_wh, entry.latent
    weights_1fhw, _ = mask.on_grid((size_wh[1] // latent.mask_stride, size_wh[0] // latent.mask_stride))
    shown_wh = fit_size(size_wh, (side, side))
    if entry.has_mask:
        grey_HW = np.rint(drawn.weights_fHW[0] * 255).astype(np.uint8)
        labels_HW = tier_labels(grey_HW, shown_wh, entry.dataset.tiers)
    else:
        labels_HW = np.full(shown_wh[::-1], PLAIN, dtype=np.uint8)
    cut = _share_cut(entry)
    found = _remarks(entry, mask, cut)
    odd = shorts.get(entry.item.media.path, ())
    measures = _measures(entry, mask, cut)
    if several_sets:
        measures = (_data_set(entry), *measures)
    return Card(
        name=_name(entry),
        photo_HW3=shrink(rgb_HW3, shown_wh),
        labels_HW=labels_HW,
        weights_hw=weights_1fhw[0, 0],
        measures=measures,
        remarks=(*found, *odd),
        badness=Badness(max(found.values(), default=1.0 if odd else 0.0), number=cut),
        caption=_caption(entry),
    )


def _caption(entry: LatentEntry) -> str | None:
    """Return the caption as it is trained, or why it cannot be read; None without one, as ``--latents-only`` allows."""
    section, path = entry.dataset.section, entry.item.caption_path
    if path is not None and not path.exists():
        return None
    try:
        caption = caption_of(entry.item, section.caption_style or "text")
    except InputError as error:
        return f"({error.as_one().what})"
    return zoom_caption(entry.item, fill_in(caption, words_for(section)), section)


def _name(entry: LatentEntry) -> str:
    name = entry.item.media.path.name
    if entry.item.zoom:
        return f"{name} zoom {entry.item.zoom}"
    return f"{name} frames {entry.frames}" if entry.frames else name


def _picture(entry: LatentEntry) -> tuple[NDArray[np.uint8], PixelMask, PixelMask]:
    pixels = read_pixels(entry, None)
    mask = pixels.reading.mask or full_mask(entry.geometry)
    return pixels.rgb_FHW3[0], mask, mask


def _middle_of_clip(entry: LatentEntry) -> tuple[NDArray[np.uint8], PixelMask, PixelMask]:
    """Return the middle frame of a clip, its own mask, and the mean of the masks in its latent frame."""
    geometry, numbers = entry.geometry, entry.frame_indices
    groups = causal_groups(len(numbers), entry.latent.temporal_stride)
    indices = [numbers[position] for position in groups[len(groups) // 2]]
    rgb_HW3 = geometry.fit_rgb(next(read_rgb(entry.item.media.path, [indices[len(indices) // 2]])))
    if not has_moving_mask(entry):
        mask = read_mask(entry, None).mask or full_mask(geometry)
        return rgb_HW3, mask, mask
    stills = list(read_frame_masks(entry, indices))
    return rgb_HW3, stills[len(stills) // 2], mean_mask(stills)


def _share_cut(entry: LatentEntry) -> float:
    # A zoom leaves things out on purpose.
    if entry.item.zoom:
        return 0.0
    return 1.0 - entry.geometry.kept_share


def _remarks(entry: LatentEntry, mask: PixelMask, cut: float) -> dict[str, float]:
    """Return what is wrong with an entry, worst first, and how bad it is: above 1, as what the plan found odd."""
    remarks = {}
    if mask.mean_weight == 0.0:
        remarks["mask zero everywhere" if entry.frames is None else "mask zero in the middle"] = 4.0
    if entry.mask_source is MaskSource.FULL:
        remarks["no mask"] = 3.0
    if cut >= _MUCH_CUT:
        remarks[f"{cut:.0%} cut away"] = 2.0
    return remarks


def _data_set(entry: LatentEntry) -> Measure:
    """Return which data set an entry is of: two of them may hold the same photos, for two subjects."""
    number = entry.dataset.number
    subjects = "".join(f", {name}" for name in entry.dataset.section.subject)
    return Measure(f"data set {number}{subjects}", "data set", number)


def _measures(entry: LatentEntry, mask: PixelMask, cut: float) -> tuple[Measure, ...]:
    """Return the line of a card: sizes, what the crop cuts away, where the mask comes from, its mean weight."""
    source_wh = entry.geometry.source_wh
    sizes = f"{pixels_text(source_wh)} -> {pixels_text(entry.geometry.size_wh)}"
    measures = [Measure(sizes, "size of the photo", source_wh[0] * source_wh[1])]
    if entry.is_moved and not entry.item.zoom:
        measures.append(Measure("crop follows the subject"))
    # Less than half a percent would read "0%".
    if cut >= 0.005:
        measures.append(Measure(f"{cut:.0%} cut away", "cut away", cut))
    if entry.mask_source:
        measures.append(Measure(NAMES[entry.mask_source]))
        measures.append(Measure(f"mean weight {mask.mean_weight:.2f}", "mean weight", mask.mean_weight))
    return tuple(measures)
