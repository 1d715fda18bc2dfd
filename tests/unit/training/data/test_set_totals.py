"""What is counted of a data set while its items are read."""

import torch

from blissmask.masks.tiers import WeightTier
from blissmask.training.data.items import TrainingItem
from blissmask.training.data.set_totals import SetTotals
from tests.builders.training import header_of, stripes


def item(latents_Cfhw, *, regions=None):
    return TrainingItem("a", latents_Cfhw, None, None, regions, {}, mass=1.0)


def totals_of(*entries, triggers=()):
    """Count entries, each a caption, a geometry and region shares."""
    totals, latents_Cfhw = SetTotals(triggers), torch.zeros(16, 1, 4, 6)
    for caption, geometry, regions in entries:
        header = header_of(latents_Cfhw, **{"blissmask.geometry": geometry})
        totals.add(header, item(latents_Cfhw, regions=regions), caption=caption, stride=8)
    return totals


def test_sizes_are_those_of_the_files_and_what_is_enlarged_is_counted():
    totals = totals_of(
        ("", "24x16 -> 48x32, crop 48x32+0+0", None),
        ("", "300x200 -> 48x32, crop 48x32+0+0", None),
        ("", "another trainer's", None),
    )
    assert (totals.smallest_wh, totals.largest_wh, totals.enlarged) == ((24, 16), (300, 200), 1)
    assert totals.sizes == {(48, 32): 3}
    assert totals.shares is None


def test_captions_are_told_apart_and_the_trigger_is_a_whole_word():
    captions = ["ohwx at sea", "OHWX at sea", "ohwx at sea", "ohwxes", " "]
    totals = totals_of(*((caption, "", None) for caption in captions), triggers=("ohwx",))
    assert (len(totals.captions), totals.with_trigger, totals.without_caption) == (4, 3, 1)


def test_regions_are_shares_of_the_picture_over_the_items_that_tell_them():
    faceless = torch.zeros(4, 1, 4, 6)
    faceless[1] = 1.0
    totals = totals_of(("", "", stripes(1, 4, 6)), ("", "", faceless), ("", "", None))
    shares = totals.shares
    assert (shares[WeightTier.FACE], shares[WeightTier.BODY]) == (0.125, 0.625)
    assert (totals.with_regions, totals.without_face) == (2, 1)
