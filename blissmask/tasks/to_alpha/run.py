"""Run `to-alpha`: put masks into the alpha channel of the photos, colours untouched, and copy the captions."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blissmask.dataset.captions.caption_file import caption_path
from blissmask.errors import MediaError
from blissmask.masks.resize import resize_labels, resize_weights
from blissmask.media.image import read_stored
from blissmask.media.mask_picture import MaskPicture, read_mask_picture
from blissmask.media.png import read_note, write_png_rgba
from blissmask.storage import atomic
from blissmask.storage.content import content_hash
from blissmask.storage.limits import MOST_CAPTION, refuse_larger
from blissmask.storage.ordinary import read_bytes
from blissmask.storage.seen import Seen
from blissmask.tasks.mask_files.output_notes import keep_copy, make_note
from blissmask.tasks.run.plan import PlannedItem, RunContext, Summary
from blissmask.tasks.run.shares import in_plan_order
from blissmask.tasks.run.workers import begin, carry_out
from blissmask.tasks.to_alpha.plan import COMMAND, AlphaPlan, warning_of


@dataclass(frozen=True, slots=True)
class _Converted:
    """One photo that was written.

    Attributes:
        caption: what became of its caption: "copied", "same", "kept", or "" where there is none.
        mask: its file.
        doubt: why the mask may not be what was meant; empty when there is no doubt.
        empty: whether the mask is zero everywhere.
        white: whether it is 255 everywhere.
    """

    caption: str
    mask: Path
    doubt: str
    empty: bool
    white: bool


def run(plan: AlphaPlan, context: RunContext) -> Summary:
    """Write the RGBA photos and their captions.

    Raises:
        MachineError, StoppedError: as ``workers.work_through``.
    """
    summary = begin(plan)
    convert = functools.partial(_convert, caption_extension=plan.caption_extension)
    done_by_key = {item.key: done for item, done in carry_out(plan, convert, context, summary, phase="Converting")}
    results = in_plan_order(plan, done_by_key)
    copied = [key for key, done in results.items() if done.caption == "copied"]
    kept = [key for key, done in results.items() if done.caption == "kept"]
    empty = [key for key, done in results.items() if done.empty]
    white = [done.mask for done in results.values() if done.white]
    doubtful = [f"{done.mask}: {done.doubt}" for done in results.values() if done.doubt]
    summary.details |= {"captions_copied": len(copied), "captions_kept": kept, "empty_masks": empty}
    what = "edited in the output folder or not ours, kept"
    summary.warnings += warning_of(kept, "caption", what, "remove it there to have it copied again")
    what = "zero everywhere, from which nothing would be learned"
    emptied = [done.mask for done in results.values() if done.empty]
    summary.warnings += warning_of(emptied, "mask", what, "check the masks, or leave such photos out")
    what = "white everywhere, so nothing is masked"
    summary.warnings += warning_of(white, "mask", what, "make the masks again with `blissmask masks`")
    summary.warnings += warning_of(doubtful, "mask", "perhaps not what was meant", "use 8-bit grey PNG masks")
    return summary


def _convert(item: PlannedItem, caption_extension: str) -> _Converted:
    photo, mask, *captions = item.inputs
    note = make_note(COMMAND, item.inputs, {})
    picture, mask_picture = read_stored(photo), read_mask_picture(mask)
    alpha_HW = _to_alpha(mask_picture, picture.size_wh)
    picture.set_alpha(alpha_HW)
    # Otherwise a caption would be copied beside a photo that is not written, and count as somebody else's next time.
    item.seen.check()
    # The caption first: the PNG's note is what says that the item is finished.
    copied = [_copy_caption(caption, item.target, caption_extension) for caption in captions]
    keep_copy(item.target)
    write_png_rgba(item.target, picture.image, note=note, icc_profile=picture.icc_profile, seen=item.seen)
    return _Converted(
        caption="".join(copied),
        mask=mask,
        doubt=mask_picture.doubt,
        empty=not alpha_HW.any(),
        white=int(alpha_HW.min()) == 255,
    )


def _to_alpha(mask: MaskPicture, size_wh: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the mask at the photo's size in 8 bits: averaged where it shrinks, repeated where it grows."""
    height, width = mask.values_HW.shape
    if width <= size_wh[0] and height <= size_wh[1]:
        # Repeating makes no new values, so it needs no floats.
        return resize_labels(mask.to_grey(), size_wh)
    resized_HW = resize_weights(mask.weights(), size_wh)
    return np.rint(resized_HW * 255).astype(np.uint8)


def _copy_caption(source: Path, output: Path, extension: str) -> str:
    """Copy a caption beside ``output`` unless someone edited the one there; return "copied", "same" or "kept"."""
    target = caption_path(output, extension)
    seen = Seen.now((source,), target)
    if target.is_symlink():
        return "kept"
    if target.exists():
        present = content_hash(target)
        if present == content_hash(source):
            return "same"
        if present != _copied_before(output):
            return "kept"
    try:
        refuse_larger(source, MOST_CAPTION)
        text = read_bytes(source)
    except OSError as error:
        raise MediaError(f"the caption cannot be read: {error.strerror or error}", where=[source]) from error
    atomic.write_bytes(target, text, seen=seen)
    return "copied"


def _copied_before(output: Path) -> str:
    """Return the hash of the caption that an earlier run copied, from the note of its photo; else an empty text."""
    note = read_note(output) if output.is_file() else None
    inputs = note.content.get("inputs") if note else None
    if not isinstance(inputs, list) or len(inputs) < 3 or not isinstance(inputs[2], dict):
        return ""
    return str(inputs[2].get("hash", ""))
