"""The sheet of ranked items: each as it is trained, with its tiers, its loss weights and its losses.

H, W: rows and columns of a photo as it is shown; f, h, w: frames, rows and columns of the latents; 3 = RGB, 4 =
regions.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blissmask.cachefile.entry import CacheHeader
from blissmask.cachefile.file_names import as_unicode
from blissmask.cachefile.metadata import CAPTION, GEOMETRY, OURS
from blissmask.cachefile.read_file import read_metadata
from blissmask.cachefile.tensor_keys import MASK_REGIONS, MASK_SUBREGIONS
from blissmask.dataset.collect import collect
from blissmask.dataset.geometry import cover, read_geometry
from blissmask.dataset.item import DatasetItem, MediaKind
from blissmask.dataset.item_keys import zoom_stem
from blissmask.errors import InputError, UsageError
from blissmask.masks.resize import resize_labels
from blissmask.masks.tiers import TIERS
from blissmask.media.image import read_image
from blissmask.media.overlay import PLAIN, TIER_COLOURS, fit_size, shrink, tier_label
from blissmask.media.sheets.card import Badness, Card, Measure, SheetText
from blissmask.media.video import read_frames, read_info
from blissmask.tasks.mask_files.contact_sheet import draw_sheet
from blissmask.tasks.rank_items.outliers import WHOLE, Judged, percent
from blissmask.tasks.run.plan import RunContext
from blissmask.tasks.run.wording import number_text
from blissmask.tasks.train.train_plan import TrainPlan
from blissmask.training.data.items import TrainingItem
from blissmask.training.data.prefetch import ItemStore

_REGIONS = {MASK_REGIONS, MASK_SUBREGIONS}
_GREY = 232
"""Of the place of a photo that is not here."""


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
    photos, stride = _photos(planned), planned.family.latent.spatial_stride
    shown = []
    for each in judged:
        position = positions[each.loss.name]
        shown.append(_Shown(each, planned.data.headers[position], position, photos.get(position), stride))
    # Without regions there is nothing to draw over a photo.
    has_regions = any(not _REGIONS.isdisjoint(each.header.contents) for each in shown)
    columns = ("as trained", "tiers", "loss weights") if has_regions else ("as trained", "loss weights")
    legend = tuple((tier.value, colour) for tier, colour in TIER_COLOURS.items()) if has_regions else ()
    text = SheetText(title, columns, legend, worst="least learned")
    draw_sheet(path, shown, functools.partial(_card, store=store), text, context, name=_name_of)


@dataclass(frozen=True, slots=True)
class _Shown:
    """An item on the sheet; ``photo`` is None where it is not on this machine, ``stride`` is that of the latents."""

    judged: Judged
    header: CacheHeader
    position: int
    photo: DatasetItem | None
    stride: int


def _name_of(shown: _Shown) -> str:
    return shown.judged.loss.name


def _photos(planned: TrainPlan) -> dict[int, DatasetItem]:
    """Return the photo or video of each position, of data sets whose folders are on this machine."""
    found: dict[int, DatasetItem] = {}
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
                found[first + place] = by_stem[header.stem]
        first += len(cached.headers)
    return found


def _card(shown: _Shown, side: int, *, store: ItemStore) -> Card:
    loss = shown.judged.loss
    rgb_HW3, item = _picture(shown), store.item(shown.position)
    size_wh = fit_size((rgb_HW3.shape[1], rgb_HW3.shape[0]), (side, side))
    measures = [
        Measure(f"loss {number_text(loss.trained[WHOLE])}", "loss", loss.trained[WHOLE]),
        Measure(f"without the LoRA {number_text(loss.base[WHOLE])}", "loss without", loss.base[WHOLE]),
    ]
    for part in loss.trained:
        learned = loss.learned(part)
        if learned is not None:
            name = "learned" if part == WHOLE else f"{part} learned"
            measures.append(Measure(f"{name} {percent(learned)}", name, learned))
    return Card(
        name=loss.name,
        photo_HW3=shrink(rgb_HW3, size_wh),
        labels_HW=_labels(item, size_wh),
        weights_hw=_weights(item),
        measures=tuple(measures),
        remarks=shown.judged.remarks,
        badness=Badness(shown.judged.badness, number=-(loss.learned(WHOLE) or 0.0)),
        # As it is trained, not as it stands beside the photo now.
        caption=read_metadata(shown.header.text_path).get(CAPTION),
    )


def _picture(shown: _Shown) -> NDArray[np.uint8]:
    """Return the photo, or the middle frame of a clip, at its training size; plain grey where there is none here."""
    rows, columns = shown.header.latent_shape[2:]
    size_wh = (columns * shown.stride, rows * shown.stride)
    if shown.photo is None:
        # The sheet shows numbers, tiers and weights all the same.
        return np.full((*size_wh[::-1], 3), _GREY, dtype=np.uint8)
    rgb_HW3 = _read(shown.photo)
    source_wh = (rgb_HW3.shape[1], rgb_HW3.shape[0])
    cached = read_geometry(shown.header.metadata.get(f"{OURS}{GEOMETRY}", ""))
    if cached is not None and cached.source_wh == source_wh:
        return cached.fit_rgb(rgb_HW3)
    # Caches of other trainers do not say how a photo was fitted; it is what they all do.
    return cover(source_wh, size_wh).fit_rgb(rgb_HW3)


def _read(photo: DatasetItem) -> NDArray[np.uint8]:
    path = photo.media.path
    if photo.media.kind is not MediaKind.VIDEO:
        return read_image(path).rgb_HW3
    return next(read_frames(path, [read_info(path, count=True).frame_count // 2]))


def _labels(item: TrainingItem, size_wh: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the tier that most of each latent cell is, of the middle frame; see ``sheets.card.Card``."""
    if item.regions_4fhw is None:
        return np.full(size_wh[::-1], PLAIN, dtype=np.uint8)
    middle_4hw = item.regions_4fhw[:, item.regions_4fhw.shape[1] // 2]
    labels = np.array([tier_label(tier) for tier in TIERS], dtype=np.uint8)
    return resize_labels(labels[middle_4hw.argmax(dim=0).numpy()], size_wh)


def _weights(item: TrainingItem) -> NDArray[np.float32]:
    """Return loss weights on the latent grid, the mean over frames; 1 without a mask."""
    if item.weights_1fhw is None:
        return np.ones(tuple(item.latents_Cfhw.shape[-2:]), dtype=np.float32)
    return item.weights_1fhw[0].float().mean(dim=0).numpy()
