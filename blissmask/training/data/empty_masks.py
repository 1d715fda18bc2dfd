"""Items without anything to learn: their weight is 0 everywhere, as in photos in which the subject was not found.

A floor would turn such a mask into one weight everywhere, and the weighted mean of a constant is the plain mean: the
item would be trained at full strength. Without a floor it would take steps in which nothing is learned. So these items
are left out of the order of the batches.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from blissmask.cachefile.entry import CacheHeader
from blissmask.cachefile.metadata import read_mean_weight
from blissmask.cachefile.read_entry import load_mask
from blissmask.errors import CacheError, Problem
from blissmask.plurals import verb
from blissmask.training.data.cached_set import CachedSet, prior_positions
from blissmask.training.data.items import shows_no_regions
from blissmask.training.data.tier_values import tiers_of
from blissmask.training.weighting.loss import EMPTY_MASS, weight_masses
from blissmask.training.weighting.rule import WeightRule

_MEND = "mend the masks and cache again"


@dataclass(frozen=True, slots=True)
class EmptyItems:
    """What was decided.

    Attributes:
        left_out: positions of the items that are neither trained nor validated on.
        warnings: one that names all empty items, or none.
    """

    left_out: tuple[int, ...] = ()
    warnings: tuple[Problem, ...] = ()


def leave_out_empty(
    sets: Sequence[CachedSet],
    weights: WeightRule | None,
    wanted: Literal["skip", "train", "error"],
    *,
    shown_frames: int,
) -> EmptyItems:
    """Find the items whose weight is 0 everywhere, and decide about them.

    Args:
        sets: the caches.
        weights: None when the mask loss is off; then every item is trained, whatever its mask.
        wanted: ``empty_mask`` of [mask_loss].
        shown_frames: the family's; see ``Task.shown_frames``.

    Raises:
        CacheError: there are such items and ``wanted`` is ``error``, or nothing else is left; or a mask cannot be read.
    """
    if weights is None:
        return EmptyItems()
    headers = [header for cached in sets for header in cached.headers]
    # Items that are only held to the base model are to teach nothing.
    apart = prior_positions(sets)
    empty = tuple(at for at in empty_items(headers, weights, shown_frames=shown_frames) if at not in apart)
    if not empty:
        return EmptyItems()
    entries = len(headers) - len(apart)
    have, are = verb(len(empty), "has", "have"), verb(len(empty), "is", "are")
    what = f"{len(empty)} of {entries} cache entries {have} weight 0 everywhere"
    where = tuple(str(headers[position].path) for position in empty)
    if wanted == "error":
        fix = f"{_MEND}, or leave such items out with `--empty-mask skip`"
        raise CacheError(f"{what}, and `empty_mask` is `error`", where=where, fix=fix)
    if wanted == "train":
        what += f" and {are} trained all the same: by a floor at full strength, without one not at all"
        return EmptyItems(warnings=(Problem(what, where, f"{_MEND}, or leave `--empty-mask train` out"),))
    if len(empty) == entries:
        raise CacheError(f"{what}, so there is nothing to learn", where=where, fix=_MEND)
    what += f" and nothing to learn from, and {are} left out"
    # Where several subjects are learned, a photo without one of them is as it should be.
    fix = f"those that show the subject: {_MEND}; the others are rightly left out"
    return EmptyItems(left_out=empty, warnings=(Problem(what, where, fix),))


def empty_items(headers: Iterable[CacheHeader], rule: WeightRule, *, shown_frames: int = 0) -> tuple[int, ...]:
    """Return the positions of the entries whose mask leaves nothing to learn, ascending.

    Most entries of ours are decided by their header. The masks of the others are read: of clips whose first frame is
    only shown, of caches of other tools, and wherever a tier was given a weight of its own.

    Args:
        headers: the whole data set.
        rule: how mask weights become loss weights.
        shown_frames: the family's; see ``Task.shown_frames``.

    Raises:
        CacheError: a mask cannot be read.
    """
    return tuple(
        position for position, header in enumerate(headers) if _is_empty(header, rule, shown_frames=shown_frames)
    )


def _is_empty(header: CacheHeader, rule: WeightRule, *, shown_frames: int) -> bool:
    if not header.has_weights:
        return False
    mean_weight = read_mean_weight(header.metadata)
    if mean_weight == 0:
        return True
    channels, frames = header.latent_shape[:2]
    # As in `items.make_item`: a picture predicts its only frame.
    shown = shown_frames if frames > shown_frames else 0
    # By what the user weighs tiers with, and before any floor, as the mask itself.
    unfloored = dataclasses.replace(rule, min_weight=0.0)
    if mean_weight is not None and not shown and not rule.own_weights:
        return False
    mask = load_mask(header)
    assert mask.weights_1fhw is not None
    # The mask itself decides, before any floor: what the floor makes of a zero is no reason to train an item.
    if not bool(mask.weights_1fhw[:, shown:].any()):
        return True
    if not rule.own_weights:
        return False
    if shows_no_regions(header):
        mask = dataclasses.replace(mask, regions_4fhw=None)
    weights_1fhw = unfloored.for_masks_of(tiers_of(header, rule.tiers)).loss_weights(mask)[:, shown:]
    return float(weight_masses(weights_1fhw.unsqueeze(0), channels)) <= EMPTY_MASS
