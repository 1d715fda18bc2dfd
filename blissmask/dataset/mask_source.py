"""Choose where mask weights come from: alpha channel, then mask file, then full weight; and word the warnings about it.

Source: the weighted mask guide, "Fallback Chain"; the messages use the words of its troubleshooting chapter.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from blissmask.dataset.item import MaskSource
from blissmask.errors import Problem
from blissmask.plurals import counted, verb

NAMES = {MaskSource.ALPHA: "alpha channel", MaskSource.FILE: "mask file", MaskSource.FULL: "none, full weight"}
"""The name of each source in tables, in the order in which the sources are tried."""

_NAMES_ARE_COMPARED = "names are compared without suffix, case and accent form"


def resolve_mask_source(*, alpha_mask: bool, has_alpha: bool, has_file: bool) -> MaskSource:
    """Return the source of an item's weights.

    Args:
        alpha_mask: whether the data set takes masks from alpha channels.
        has_alpha: whether the picture has an alpha channel or a transparent colour.
        has_file: whether there is a mask file for the item.
    """
    if alpha_mask and has_alpha:
        return MaskSource.ALPHA
    if has_file:
        return MaskSource.FILE
    return MaskSource.FULL


def missing_file_warning(names: Sequence[object], folder: object) -> Problem:
    """Warn of pictures (at least one) that have neither an alpha mask nor a file in the mask folder."""
    what = f"{counted(len(names), 'image')} {verb(len(names), 'has', 'have')} no matching mask file"
    fix = f"make masks with `blissmask masks`, or check the names in {folder}; {_NAMES_ARE_COMPARED}"
    return Problem(what, tuple(map(str, names)), fix)


def full_weight_warning(names: Sequence[object]) -> Problem:
    """Warn of items (at least one) that are trained at full weight although their data set has masks."""
    return Problem(
        f"{counted(len(names), 'item')} had no mask (no alpha + no file). Filled with full-weight (255)",
        tuple(map(str, names)),
        "set `require_mask = true` to stop here instead; `blissmask to-alpha --dry-run` shows what is missing",
    )


def required_problem(
    names: Sequence[object], *, has_folder: bool, takes_alpha: bool, orphans: Sequence[Path] = ()
) -> Problem:
    """Return the error for items (at least one) that lack the mask that ``require_mask`` demands.

    Args:
        names: the items.
        has_folder: whether the data set names a mask folder.
        takes_alpha: whether the data set takes masks from alpha channels.
        orphans: masks that belong to no item; most often they are the missing masks under other names.
    """
    what = str(names[0]) if len(names) == 1 else f"{len(names)} items"
    if not has_folder and not takes_alpha:
        fix = "add `mask_directory` or `alpha_mask = true` to the data set, or set `require_mask = false`"
    else:
        fix = "add the masks, or set `require_mask = false` to train these at full weight"
        if orphans:
            example = f"{len(orphans)} of the masks belong to no item, e.g. `{orphans[0].name}`"
            fix += f"\n{example}: a mask is called like its photo"
    return Problem(f"require_mask=true but no mask found for {what}", tuple(map(str, names)), fix)


def orphan_warning(names: Sequence[object]) -> Problem:
    """Warn of masks (at least one) that belong to no item."""
    what = f"{counted(len(names), 'mask')} {verb(len(names), 'has', 'have')} no photo"
    fix = "check the names; they are compared without suffix, case and accent form"
    return Problem(what, tuple(map(str, names)), fix)


def opaque_warning(pictures: Sequence[tuple[object, object | None]], *, inverted: bool) -> Problem:
    """Warn of alpha channels (at least one) that give full weight everywhere.

    Args:
        pictures: each picture and its mask file, which is not used; None when there is none.
        inverted: whether transparent is what counts.
    """
    what = f"{counted(len(pictures), 'alpha channel')} {verb(len(pictures), 'is', 'are')}"
    colour = "transparent" if inverted else "opaque"
    where = tuple(f"{picture}: {mask} is not used" if mask else str(picture) for picture, mask in pictures)
    if any(mask for _, mask in pictures):
        fix = "save these pictures without alpha, or leave `alpha_mask` out, and their mask files are used"
    else:
        fix = "put their masks in with `blissmask to-alpha`, or save them without alpha"
    return Problem(f"{what} {colour} everywhere, so nothing is masked", where, fix)
