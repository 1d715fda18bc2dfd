"""The sheet of ranked items: each with its photo, where that is on this machine, its loss weights and its losses."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blissmask.cachefile.entry import CacheHeader
from blissmask.cachefile.layout import as_unicode
from blissmask.config.dataset_section import DatasetSection
from blissmask.dataset.captions.caption_file import caption_of
from blissmask.dataset.collect import collect
from blissmask.dataset.item import DatasetItem, MediaKind
from blissmask.dataset.item_keys import zoom_stem
from blissmask.errors import BlissmaskError, InputError, UsageError
from blissmask.media.image import read_image
from blissmask.media.overlay import PLAIN, fit_size, shrink
from blissmask.media.sheets.card import Card, Measure, SheetText
from blissmask.media.video import read_frames, read_info
from blissmask.tasks.mask_files.contact_sheet import draw_sheet
from blissmask.tasks.rank_items.outliers import WHOLE, Judged, percent
from blissmask.tasks.run.plan import RunContext
from blissmask.tasks.train.plan import TrainPlan
from blissmask.training.data.items import TrainingItem
from blissmask.training.data.prefetch import ItemStore


def draw_item_sheet(
    path: Path,
    judged: Sequence[Judged],
    positions: Mapping[str, int],
    planned: TrainPlan,
    store: ItemStore,
    *,
    title: str,
    context: RunContext,
) -> None:
    """Write the sheet; an item whose photo cannot be read is named and left out.

    Args:
        path: the sheet.
        judged: its items.
        positions: of the items in the training, by name.
        planned: the training.
        store: reads the items.
        title: at the top.
        context: as ``contact_sheet.draw_sheet`` takes it.

    Raises:
        InputError, MachineError, StoppedError: as ``contact_sheet.draw_sheet``.
    """
    photos = _photos(planned)
    shown = []
    for each in judged:
        position = positions[each.loss.name]
        shown.append(_Shown(each, planned.data.headers[position], position, photos.get(position)))
    text = SheetText(title, ("photo", "photo", "loss weights"))
    draw_sheet(path, shown, functools.partial(_card, store=store), text, context, name=_name_of)


@dataclass(frozen=True, slots=True)
class _Photo:
    """A photo or video, and the data set that it is in."""

    item: DatasetItem
    section: DatasetSection

    def caption(self) -> str:
        """Return its caption, or why there is none: that may be what is wrong with the item."""
        try:
            return caption_of(self.item, self.section.caption_style or "text")
        except BlissmaskError as error:
            return f"({error.as_one().what})"


@dataclass(frozen=True, slots=True)
class _Shown:
    """An item on the sheet."""

    judged: Judged
    header: CacheHeader
    position: int
    photo: _Photo | None


def _name_of(shown: _Shown) -> str:
    return shown.judged.loss.name


def _photos(planned: TrainPlan) -> dict[int, _Photo]:
    """Return the photo or video of each position, of data sets whose folders are on this machine."""
    found: dict[int, _Photo] = {}
    first = 0
    for cached in planned.data.sets:
        section = planned.config.datasets[cached.number - 1]
        try:
            items = collect(section, cached.number).items
        except (InputError, UsageError):
            items = ()
        by_stem = {as_unicode(item.media.stem): item for item in items}
        by_stem |= {zoom_stem(stem, kind): item for stem, item in by_stem.items() for kind in section.zoom}
        for place, header in enumerate(cached.headers):
            if header.stem in by_stem:
                found[first + place] = _Photo(by_stem[header.stem], section)
        first += len(cached.headers)
    return found


def _card(shown: _Shown, side: int, *, store: ItemStore) -> Card:
    loss = shown.judged.loss
    rgb_HW3 = _picture(shown)
    size_wh = fit_size((rgb_HW3.shape[1], rgb_HW3.shape[0]), (side, side))
    measures = [
        Measure(f"loss {loss.trained[WHOLE]:.4f}", "loss", loss.trained[WHOLE]),
        Measure(f"without the LoRA {loss.base[WHOLE]:.4f}", "loss without", loss.base[WHOLE]),
    ]
    for part in loss.trained:
        learned = loss.learned(part)
        if learned is not None:
            name = "learned" if part == WHOLE else f"{part} learned"
            measures.append(Measure(f"{name} {percent(learned)}", name, learned))
    return Card(
        name=loss.name,
        photo_HW3=shrink(rgb_HW3, size_wh),
        labels_HW=np.full(size_wh[::-1], PLAIN, dtype=np.uint8),
        weights_hw=_weights(store.item(shown.position)),
        measures=tuple(measures),
        remarks=shown.judged.remarks,
        badness=shown.judged.badness,
        caption=None if shown.photo is None else shown.photo.caption(),
    )


def _picture(shown: _Shown) -> NDArray[np.uint8]:
    if shown.photo is None:
        # The sheet shows numbers and weights all the same.
        return np.full((*(8 * side for side in shown.header.latent_shape[2:]), 3), 232, dtype=np.uint8)
    path = shown.photo.item.media.path
    if shown.photo.item.media.kind is not MediaKind.VIDEO:
        return read_image(path).rgb_HW3
    return next(read_frames(path, [read_info(path, count=True).frame_count // 2]))


def _weights(item: TrainingItem) -> NDArray[np.float32]:
    """Return loss weights on the latent grid, the mean over frames; 1 without a mask."""
    if item.weights_1fhw is None:
        return np.ones(tuple(item.latents_Cfhw.shape[-2:]), dtype=np.float32)
    return item.weights_1fhw[0].float().mean(dim=0).numpy()
