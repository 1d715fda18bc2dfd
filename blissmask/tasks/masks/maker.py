"""From a photo or video to its weighted mask: ask the backend, finish the outlines, give tiers their values.

H, W: rows and columns; h, w: those inside the black bars of a film; 3 = RGB.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blissmask.config.sections.mask_sections import MasksSection
from blissmask.masks.bars import find_content
from blissmask.masks.heads import cut_heads
from blissmask.masks.refine import coverage, feather, finish, move_outline, to_tiers
from blissmask.masks.tiers import TIERS, WeightTier
from blissmask.masks.weighted_mask import tier_labels_to_grey
from blissmask.media.image import read_header, read_image
from blissmask.media.likeness import likeness_of
from blissmask.media.overlay import fit_size, shrink
from blissmask.media.png import write_png_grey
from blissmask.media.video import read_frames, read_info
from blissmask.parsing.parts_backend import PartsBackend
from blissmask.tasks.mask_files.clips import MaskOfFrame, sampled, write_clip
from blissmask.tasks.mask_files.media_plan import Making, is_video
from blissmask.tasks.mask_files.output_notes import keep_copy, read_number
from blissmask.tasks.masks.report import mean_coverage, read_seen, told_shares
from blissmask.tasks.run.plan import PlannedItem
from blissmask.vision.faces.sideways import BEST_SIDE, lies_on_its_side


class MaskMaker:
    """Turns RGB pictures into weighted masks, from several threads.

    Args:
        backend: the semantic backend; called by one thread at a time unless it is ``thread_safe``.
        tiers: tier of each of its classes.
        options: how outlines are finished and which values are written.
    """

    def __init__(self, backend: PartsBackend, tiers: Sequence[WeightTier], options: MasksSection) -> None:
        self._backend, self._tiers, self._options = backend, tiers, options
        self._turn = contextlib.nullcontext() if backend.thread_safe else threading.Lock()

    def make(
        self, rgb_HW3: NDArray[np.uint8], look: Callable[[NDArray[np.uint8]], Mapping[str, object]] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, object]]:
        """Return the 8-bit mask and what was seen, with what ``look`` finds in the picture.

        Seen are ``people``, ``faces`` and ``limbs``, how many people show a limb (None when the backend does not count
        them), ``in_front``, the share that may be things in front of a body (None likewise), ``cut_heads``, how many
        heads the frame cuts, and ``coverage`` by tier.
        """
        looked = {} if look is None else look(rgb_HW3)
        content = find_content(rgb_HW3)
        with self._turn:
            parsed = self._backend.parse([np.ascontiguousarray(content.of(rgb_HW3))])[0]
        # The photo is no longer needed, and a large one takes more than all that follows.
        del rgb_HW3
        options = self._options
        in_front = None if parsed.in_front is None else round(parsed.in_front, 4)
        counts = {"people": parsed.people, "faces": parsed.faces, "limbs": parsed.limbs, "in_front": in_front}
        tiers_hw = to_tiers(parsed.labels_HW, self._tiers)
        # Nor are its classes.
        del parsed
        tiers_hw = finish(tiers_hw, min_pixels=round(options.min_area * tiers_hw.size))
        # Before outlines are moved: a head that has grown to the frame is not cut.
        cut = cut_heads(tiers_hw)
        tiers_hw = move_outline(tiers_hw, options.grow)
        grey_hw = feather(tier_labels_to_grey(tiers_hw, options.tiers), options.feather)
        grey_HW = content.within(grey_hw, bars=options.tiers.value(WeightTier.BACKGROUND))
        tiers_HW = content.within(tiers_hw, bars=TIERS.index(WeightTier.BACKGROUND))
        shares = told_shares(coverage(tiers_HW))
        return grey_HW, {**counts, "cut_heads": cut, "coverage": shares, **looked}


def write_mask(item: PlannedItem, maker: MaskMaker, making: Making) -> None:
    """Write the mask of one photo or video.

    Args:
        item: the photo or video, and where its mask goes.
        maker: turns pictures into masks.
        making: how masks are made, as their notes record it.

    Raises:
        MediaError: the photo or video cannot be read.
        MachineError: the mask cannot be written.
    """
    source = item.inputs[0]
    note = making.note_for(source)
    if making.is_clip(source):
        masks = _lazy_masks(source, maker, making.video_every)
        write_clip(item.target, note, masks, force=making.force, summarise=_over_frames, seen=item.seen)
        return
    if is_video(source):
        grey_HW, seen = _static_mask(source, maker)
    else:
        look = functools.partial(_look, was_turned=read_header(source).was_turned)
        grey_HW, seen = maker.make(read_image(source).rgb_HW3, look)
    keep_copy(item.target)
    write_png_grey(item.target, grey_HW, note={**note, **seen}, seen=item.seen)


def _look(rgb_HW3: NDArray[np.uint8], *, was_turned: bool) -> dict[str, object]:
    """Return what `cache` finds out about a photo, too: whether it lies on its side, and by what to know it again."""
    height, width = rgb_HW3.shape[:2]
    small_hw3 = shrink(rgb_HW3, fit_size((width, height), (BEST_SIDE, BEST_SIDE)))
    likeness = likeness_of(small_hw3)
    return {
        "on_its_side": not was_turned and lies_on_its_side(small_hw3),
        "likeness": None if likeness is None else str(likeness),
    }


def _lazy_masks(video: Path, maker: MaskMaker, every: int) -> Iterator[Callable[[], MaskOfFrame]]:
    """Yield for each frame a function that makes its mask; frames between two that are looked at share one result."""
    make: Callable[[], MaskOfFrame]
    for number, rgb_HW3 in enumerate(read_frames(video)):
        if number % every == 0:
            make = functools.cache(functools.partial(maker.make, rgb_HW3))
        yield make


def _static_mask(video: Path, maker: MaskMaker) -> MaskOfFrame:
    """Return the per-pixel maximum over sampled frames: whatever the subject crosses counts."""
    indices = sampled(read_info(video, count=True).frame_count)
    results = [maker.make(rgb_HW3) for rgb_HW3 in read_frames(video, indices)]
    return np.maximum.reduce([grey_HW for grey_HW, _ in results]), _over_frames([seen for _, seen in results])


def _over_frames(seen: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """Sum up what was seen in the frames of a clip: the most people and so on, the mean coverage."""
    parts = [part for frame in seen if (part := read_seen(frame)) is not None]
    shares = told_shares(mean_coverage(parts))
    counts = {name: _most(seen, name) for name in ("people", "faces", "limbs", "cut_heads", "in_front")}
    return {**counts, "coverage": shares}


def _most(seen: Sequence[Mapping[str, object]], name: str) -> float | None:
    counts = [count for frame in seen if (count := read_number(frame.get(name))) is not None]
    return max(counts, default=None)
